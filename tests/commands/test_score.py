"""`vlfeedback score`: the files of each benchmark by its command line, and what is said on the terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from vlfeedback.cli import app
from vlfeedback.commands._score_text import show
from vlfeedback.commands.score import score
from vlfeedback.errors import ConfigError
from vlfeedback.evaluate.mme import MME, Line, write_folder

PATHS: dict[str, tuple[str, ...]] = {
    "mme": ("perception", "cognition", "subtasks.OCR.score", "subtasks.OCR.accuracy", "subtasks.OCR.accuracy_plus",
            "subtasks.OCR.questions", "subtasks.OCR.images", "subtasks.OCR.other", "se.perception", "se.cognition",
            "n_expected", "n_present", "complete"),
    "pope": ("splits.random.accuracy", "splits.random.precision", "splits.random.recall", "splits.random.f1",
             "splits.random.yes_ratio", "splits.random.n", "pooled.accuracy", "pooled.f1", "mean_f1", "se"),
    "mmhal": ("average", "average_readable", "hallucination_rate", "per_type.counting", "n_unparsable", "se"),
    "mmvet": ("total", "std", "runs", "capabilities.ocr", "combinations.math_ocr", "se"),
    "llava_bench": ("relative.all", "relative.conv", "relative.detail", "relative.complex", "n_unparsable", "se"),
}  # fmt: skip
"""Key paths of the JSON object that scripts rely on."""


def made(folder: Path, benchmark: str, *, whole: bool = True) -> list[str]:
    """Official files of a benchmark, all of it or a part, and the arguments that score them."""
    if benchmark == "mme":
        sizes = {**MME.perception, **MME.cognition}
        kept = sizes if whole else {"OCR": 20}
        lines = {
            name: [Line(f"{n}.png", f"{q}?", q, "Yes" if n % 3 else q) for n in range(count) for q in ("yes", "no")]
            for name, count in kept.items()
        }
        write_folder(folder, lines)
        return [str(folder)]
    if benchmark == "pope":
        files = [folder / f"{name}.json" for name in ("random", "popular", "adversarial")][: 3 if whole else 1]
        for file in files:
            listed = [
                {"question_id": n, "image": f"{n // 6}", "text": "?", "label": ("yes", "no")[n % 2],
                 "answer": "Yes" if n % 5 else "No"}
                for n in range(3000)
            ]  # fmt: skip
            file.write_text("\n".join(json.dumps(row) for row in listed))
        return [str(file) for file in files]
    rows: Any
    if benchmark == "mmhal":
        replies = ["Rating: 4", "Rating: 2", "**Rating:** 5"]
        rows = [
            {"choices": [{"message": {"content": replies[n % 3]}}], "model": "g"} for n in range(96 if whole else 9)
        ]
        (folder / "r.json").write_text(json.dumps(rows))
        return [str(folder / "r.json")]
    if benchmark == "mmvet":
        names = [f"v1_{n}" for n in range(218)]
        graded = names if whole else names[:100]
        (folder / "g.json").write_text(
            json.dumps({n: {"model": ["g"], "content": ["1.0"], "score": [1.0]} for n in graded})
        )
        (folder / "c.json").write_text(json.dumps({n: ["ocr", "math"] if n[-1] in "02" else ["rec"] for n in names}))
        return [str(folder / "g.json"), "--capabilities", str(folder / "c.json")]
    kinds = ["conv"] * 17 + ["detail"] * 15 + ["complex"] * 28
    rows = [{"question_id": n, "category": kind, "content": f"8 {n % 8}"} for n, kind in enumerate(kinds)]
    (folder / "r.jsonl").write_text("\n".join(json.dumps(row) for row in (rows if whole else rows[:40])))
    return [str(folder / "r.jsonl")]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["score", *arguments])


@pytest.mark.parametrize("benchmark", PATHS)
def test_json_is_one_object_with_the_promised_paths(tmp_path: Path, benchmark: str) -> None:
    done = run(benchmark, *made(tmp_path, benchmark), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    for path in PATHS[benchmark]:
        value = found
        for key in path.split("."):
            value = value[key]
        assert value is not None, path
    assert found["complete"] and found["protocol"] == f"{benchmark}/official"


@pytest.mark.parametrize("benchmark", PATHS)
def test_what_is_incomplete_is_scored_and_said_first_wherever_one_looks(tmp_path: Path, benchmark: str) -> None:
    arguments = made(tmp_path, benchmark, whole=False)
    done = run(benchmark, *arguments, "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["complete"] is False
    assert done.stderr.startswith("INCOMPLETE")
    assert run(benchmark, *arguments).stdout.lstrip().startswith("INCOMPLETE")


@pytest.mark.parametrize(
    ("benchmark", "digits"),
    [
        ("mme", ("perception", "102.50", "OCR")), ("pope", ("mean F1 of the splits: 0.6154", "0.5000", "0.8000")),
        ("mmhal", ("2.00", "3.00", "0.67", "32 unreadable", "differ on 33.3%", "judge: g")),
        ("mmvet", ("total", "100.0", "math + ocr", "standard deviation 0.0")),
        ("llava_bench", ("all", "conv", "60 of 60")),
    ],
)  # fmt: skip
def test_the_terminal_shows_official_digits(tmp_path: Path, benchmark: str, digits: tuple[str, ...]) -> None:
    shown = run(benchmark, *made(tmp_path, benchmark)).stdout
    assert not [text for text in digits if text not in shown], shown


def test_reading_strictly_is_asked_for_and_labelled(tmp_path: Path) -> None:
    found = json.loads(run("mmhal", *made(tmp_path, "mmhal"), "--parser", "strict", "--json").stdout)
    assert found["protocol"] == "mmhal/strict" and found["average"] == pytest.approx(11 / 3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("mmee", "."), "did you mean 'mme'"), (("mme", ".", "."), "not from 2 paths"),
        (("mme", "nowhere"), "is not there"),
        (("mme", ".", "--parser", "strict"), "has no parser 'strict'"), (("mmvet", "."), "needs --capabilities"),
        (("pope", ".", "--capabilities", "."), "says nothing of pope"),
        (("mmvet", ".", "--template", "."), "says nothing"),
    ],
)  # fmt: skip
def test_mistakes_of_the_caller(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        CliRunner().invoke(app, ["score", *arguments], catch_exceptions=False)
    assert raised.value.exit_code == 2


def test_names_from_files_cannot_speak_the_terminals_language(tmp_path: Path) -> None:
    rows = [{"question_id": n, "category": "[bold]x", "content": "8 7"} for n in range(3)]
    (tmp_path / "r.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    shown = io.StringIO()
    show(score("llava_bench", [tmp_path / "r.jsonl"]), Console(file=shown, width=200))
    assert "[bold]x" in shown.getvalue()
