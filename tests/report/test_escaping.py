"""Nothing that comes from data can become markup: not in the page, not in a drawing, not in the card."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from report.made_run import make
from report.page_text import PageText

from vlfeedback import report, tables
from vlfeedback.records import (
    Annotation,
    Answer,
    Dropped,
    Image,
    Instruction,
    ItemScore,
    PreferencePair,
    Rating,
    Response,
    Score,
)
from vlfeedback.report._card import escaped

EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)> --> ]]> $\\frac{x}$ & `code` | cell\n# title'


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which every free text is an attack."""
    path = make(tmp_path_factory.mktemp("hostile") / "run", instructions=4, stages=2).path
    (path / "run.toml").write_text(f"title = {json.dumps(EVIL)}\n", encoding="utf-8")
    image = Image("0" * 64, f"run:{'a' * 64}.png", 1, 1)
    asked = Instruction("i", EVIL, (image,), EVIL, EVIL, "refuse")
    made = [Response(name, "i", f"{EVIL}{name}", f"{EVIL}{name}{name * 3}", "stop") for name in "ab"]
    ratings = tuple(Rating(one.id, EVIL, 5 - n, EVIL) for n, one in enumerate(made))
    note = Annotation("n", "i", EVIL, EVIL, ("a", "b"), "ok", ratings, "")
    tables.write(path / "instructions.parquet", Instruction, [asked], room="source")
    tables.write(path / "responses.parquet", Response, made, room="decode")
    tables.write(path / "annotations.parquet", Annotation, [note], room="annotate")
    tables.write(path / "pairs.parquet", PreferencePair, [PreferencePair("p", "i", "a", "b", 1.0, EVIL)], room="pair")
    tables.write(
        path / "dropped" / "source.parquet", Dropped, [Dropped("source", "r", "bad_record", EVIL)], room="source"
    )
    names = (EVIL, f"{EVIL}+dpo", f"{EVIL}+{EVIL}", f"strong {EVIL}")
    scores = [Score(EVIL, EVIL, EVIL, n + 1.0, n + 0.5, n + 1.5, 9, 0, 0, name, EVIL) for n, name in enumerate(names)]
    items = [
        ItemScore(Answer(EVIL, EVIL, EVIL, EVIL, name, f"{EVIL}{n}", "stop"), "p", "accuracy", float(n == 1), "scored")
        for n, name in enumerate(names)
    ]
    scores += [Score(EVIL, "p", "accuracy", float(n == 1), None, None, 1, 0, 0, name) for n, name in enumerate(names)]
    tables.write(path / "scores.parquet", Score, scores, room="evaluate")
    tables.write(path / "item_scores.parquet", ItemScore, items, room="evaluate")
    row = {
        "benchmark": EVIL,
        "protocol": EVIL,
        "metric": EVIL,
        "base": EVIL,
        "difference": 1.0,
        "ci_low": 0.5,
        "ci_high": 2,
    }
    rows = [row | {"other": name, "p": 0.1, "mde": 1.0, "n": 9} for name in names[1:]]
    (path / "comparisons.json").write_text(json.dumps(rows), encoding="utf-8")
    (path / "checkpoint" / "<b>x").mkdir(parents=True)
    (path / "checkpoint" / "<b>x" / "train_log.jsonl").write_text(
        '{"step": 1, "loss": 0.7, "logratios\\u002fchosen": 1}\n'
    )
    report.write(path)
    return path


def test_the_page_has_no_foreign_markup(hostile: Path) -> None:
    html = (hostile / "report.html").read_text(encoding="utf-8")
    page = PageText(html)
    assert not any(tag == "script" or name.startswith("on") for tag, attrs in page.tags for name in attrs)
    assert all((attrs.get("src") or "data:").startswith("data:") for tag, attrs in page.tags if tag == "img")
    for section in (
        "cases",
        "examples-of-feedback",
        "mean-rating-per-model-and-aspect",
        "dropped-records",
        "instructions",
    ):
        assert "<script>alert(1)</script>" in page.texts[section]  # shown as text
    assert "cannot be shown" in page.texts["examples-of-feedback"]  # the picture is not there, and the page says so


def test_drawings_are_well_formed_and_keep_names_as_text(hostile: Path) -> None:
    found = sorted((hostile / "figures").glob("*.svg"))
    assert {file.stem for file in found} >= {
        "base_against_aligned",
        "rating_per_model",
        "rating_histograms",
        "controls",
    }
    for file in found:
        root = ElementTree.fromstring(file.read_text(encoding="utf-8"))
        kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert kinds <= {"svg", "g", "path", "text", "rect", "use", "defs", "clipPath"}
        assert not any(name.startswith("on") for element in root.iter() for name in element.attrib)
    names = ElementTree.fromstring(
        (hostile / "figures" / "rating_per_model.svg").read_text(encoding="utf-8")
    ).itertext()
    assert any(text.startswith("<script>") for text in names)


def test_the_card_has_no_foreign_markup(hostile: Path) -> None:
    card = (hostile / "README.md").read_text(encoding="utf-8")
    _, front, body = card.split("---\n", 2)
    assert f"pretty_name: {json.dumps(EVIL)}\n" in front
    assert "<script" not in body and "<img" not in body
    assert [line for line in body.splitlines() if line.startswith("# ")] == [f"# {escaped(EVIL)}"]
    for line in body.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (4, 5, 6)
    assert not re.search(r"(?<!\\)`(?!``)[^`]*code", body)


def test_one_cell_stays_one_cell() -> None:
    assert escaped("a|b`c`\n<b>*x*&") == "a\\|b\\`c\\` &lt;b&gt;\\*x\\*&amp;"
