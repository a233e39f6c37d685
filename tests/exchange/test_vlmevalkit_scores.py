"""Evaluations of VLMEvalKit: tables as it writes them, read, imported and compared by item."""

from __future__ import annotations

import json
import random
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlfeedback import cli
from vlfeedback.commands.compare import compare_runs
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.exchange import vlmevalkit
from vlfeedback.exchange._sheet_files import read_table


@pytest.mark.parametrize(("row", "expected"), vlmevalkit.EXAMPLES)
def test_rows_of_vlmevalkit(row: dict[str, Any], expected: tuple[str, str, bool, dict[str, float | None]]) -> None:
    found = vlmevalkit.read_row(row)
    assert (found.item_id, found.text, found.failed, found.values) == expected


COLUMNS = ["index", "question", "answer", "category", "prediction", "hit", "log"]


def spreadsheet(path: Path, columns: list[str], rows: list[list[Any]], *, inline: bool = False) -> Path:
    """A workbook as pandas writes it with XlsxWriter: shared strings, numbers, truth values, empty cells left out."""
    texts: list[str] = []

    def cell(value: Any, place: int, line: int) -> str:
        name = f"{chr(65 + place)}{line}"
        if value is None:
            return ""
        if isinstance(value, bool):
            return f'<c r="{name}" t="b"><v>{int(value)}</v></c>'
        if isinstance(value, int | float):
            return f'<c r="{name}"><v>{value}</v></c>'
        escaped = value.replace("&", "&amp;").replace("<", "&lt;")
        if inline:
            return f'<c r="{name}" t="inlineStr"><is><t>{escaped}</t></is></c>'
        texts.append(escaped)
        return f'<c r="{name}" t="s"><v>{len(texts) - 1}</v></c>'

    lines = [
        f'<row r="{n}">{"".join(cell(value, place, n) for place, value in enumerate(values))}</row>'
        for n, values in enumerate([columns, *rows], 1)
    ]
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr(
            "xl/worksheets/sheet1.xml", f"<worksheet {main}><sheetData>{''.join(lines)}</sheetData></worksheet>"
        )
        shared = "".join(f'<si><t xml:space="preserve">{text}</t></si>' for text in texts)
        book.writestr("xl/sharedStrings.xml", f"<sst {main}>{shared}</sst>")
    return path


def mcq(model: str, folder: Path, right: Any, count: int = 60) -> Path:
    rows = [
        [n, f"Q{n} <b> & more", "A", "art", "A" if right(n) else "B", int(right(n)), "Prefetch succeed"]
        for n in range(count)
    ]
    return spreadsheet(folder / model / f"{model}_MMStar_openai_result.xlsx", COLUMNS, rows)


def test_multiple_choice_tables_are_compared_by_index(tmp_path: Path) -> None:
    mcq("base", tmp_path, lambda n: n % 2 == 0)
    mcq("merged", tmp_path, lambda n: n % 2 == 0 or n % 3 == 0)
    found = compare_runs(tmp_path / "base", tmp_path / "merged")
    (line,) = found.rows
    assert (line.benchmark, line.metric, line.judge) == ("MMStar", "hit", "openai")
    assert line.old == 0.5 and line.new == pytest.approx(40 / 60) and line.difference.changed == 10
    assert "dtype not recorded" in found.notes[0]
    file = mcq("base", tmp_path / "file", lambda n: n % 2 == 0)
    (sheet,) = vlmevalkit.load().sheets(file, Counter())
    assert sheet.model == "base" and sheet.benchmark == "MMStar" and len(sheet.rows) == 60


def test_a_failed_endpoint_is_never_scored_and_too_many_leave_no_headline(tmp_path: Path) -> None:
    a = mcq("base", tmp_path, lambda n: n % 2 == 0)
    lost = [
        [n, "Q", "A", "art", "Failed to obtain answer via API." if n % 3 == 0 else "A", int(n % 3 > 0), "-"]
        for n in range(60)
    ]
    b = spreadsheet(tmp_path / "other" / "merged" / "merged_MMStar_openai_result.xlsx", COLUMNS, lost)
    (sheet,) = vlmevalkit.load().sheets(b, Counter())
    assert [one.values["hit"] for one in sheet.rows[:3]] == [None, 1.0, 1.0] and sheet.rows[0].text == ""
    found = compare_runs(a, b, anyway=True)
    assert found.headline is None and "20 of 60 items" in found.refused[0]
    sys.argv = ["vlfeedback", "compare", str(a), str(b), "--anyway"]
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1


def test_a_models_folder_with_links_and_several_runs_gives_every_table_once(tmp_path: Path) -> None:
    # As VLMEvalKit leaves it: a folder per run, and links to the last one's files in the model's folder.
    def every(step: int) -> Callable[[int], bool]:
        return lambda n: n % step == 0

    for side, steps in (("base", (2, 3)), ("merged", (1, 2))):
        runs = [tmp_path / side / name for name in ("T20261127_G1a2b3c4d", "T20261128-093000")]
        made = [mcq(side, run, every(step)) for run, step in zip(runs, steps, strict=True)]
        for run, table in zip(runs, made, strict=True):
            table.rename(run / table.name)
            (run / side).rmdir()
            (run / f"{side}_MMStar_acc.csv").write_text("split,Overall\nnone,0.5\n")
            (run / f"{side}_MMStar_openai_config.json").write_text('{"judge": {"model": "x"}, "seed": 1}')
            (run / "status.json").write_text('{"commit": "1a2b3c4d"}')
            (run / "notes.json").write_text('{"a": 1}')
        (tmp_path / side / made[1].name).symlink_to(runs[1] / made[1].name)
        (tmp_path / side / "gone.xlsx").symlink_to(tmp_path / "nowhere.xlsx")
    tally: Counter[str] = Counter()
    (sheet,) = vlmevalkit.load().sheets(tmp_path / "base", tally)
    assert (sheet.model, sheet.benchmark) == ("base", "MMStar")
    assert sum(one.values["hit"] or 0 for one in sheet.rows) == 20  # every third: the later run
    assert tally["tables of an earlier run, not used"] == 2  # and its notes
    assert tally["JSON files that are no tables, not used"] == 1
    found = compare_runs(tmp_path / "base", tmp_path / "merged")
    assert [(row.old, row.new) for row in found.rows] == [(pytest.approx(1 / 3), 0.5)]
    (tmp_path / "base" / "base_MMStar_openai_result.xlsx").unlink()  # links do not survive every copy
    (sheet,) = vlmevalkit.load().sheets(tmp_path / "base", Counter())
    assert sum(one.values["hit"] or 0 for one in sheet.rows) == 20


@pytest.mark.parametrize(
    ("prediction", "log", "lost"),
    [
        ("Failed to obtain answer via API.", "", True), ("Failed to obtain answer via API. ", "", True),
        ("Failed to obtain answer.", "", True), ("Failed to obtain answer: <class 'RuntimeError'> CUDA", "", True),
        ("Failed to obtain answer via API: Failed with all possible conversation turns.", "", True),
        ("They failed to obtain answers.", "", False), ("", "", False),
        ("A", "Match Log: Failed to predict, thus randomly generate one. . ", True),
        ("A", "Failed in Prefetch, no GPT-based answer matching under `exact_matching` policy.", False),
        ("A", "Try 0: output is ?, failed to parse.\nTry 1: output is 2, invalid score: 2.0.\nSucceed", False),
        ("A", "Try 0: output is ?, failed to parse.\nAll 5 retries failed.\n", True),
    ],
)  # fmt: skip
def test_what_vlmevalkit_writes_where_a_model_or_a_grader_failed(prediction: str, log: str, lost: bool) -> None:
    found = vlmevalkit.read_row({"index": 1, "prediction": prediction, "log": log, "hit": 1})
    assert found.failed == lost and found.values == {"hit": None if lost else 1.0}
    assert found.text == ("" if lost and not log else prediction)


def test_a_table_named_score_is_used_where_it_has_items(tmp_path: Path) -> None:
    columns = ["index", "question", "answer", "prediction", "extract", "score", "log_score"]
    rows: list[list[Any]] = [[n, "Q", "A", "so A", "A", n % 2 == 0, "Succeed"] for n in range(40)]
    folder = tmp_path / "base"
    spreadsheet(folder / "base_MathVerse_MINI_gpt-4o-mini_score.xlsx", columns, rows)
    (folder / "base_MathVerse_MINI_gpt-4o-mini_score.csv").write_text("split,Overall\nnone,50.0\n")
    tally: Counter[str] = Counter()
    (sheet,) = vlmevalkit.load().sheets(folder, tally)
    assert (sheet.benchmark, sheet.judge, len(sheet.rows)) == ("MathVerse_MINI", "gpt-4o-mini", 40)
    assert sum(one.values["score"] or 0 for one in sheet.rows) == 20 and tally["tables without verdicts, not used"] == 1


def test_mme_and_pope_tables_are_counted_as_the_benchmarks_do(tmp_path: Path) -> None:
    columns = ["index", "question", "answer", "category", "image_path", "prediction", "extracted", "score"]
    rows = [
        [0, "Q", "Yes", "OCR", "a.png", "Yes", "Yes", True], [1, "Q", "No", "OCR", "a.png", "No", "No", True],
        [2, "Q", "Yes", "OCR", "b.png", "Yes", "Yes", True], [3, "Q", "No", "OCR", "b.png", "Yes", "Yes", False],
        [4, "Q", "Yes", "code_reasoning", "a.png", "?", "Unknown", False],
        [5, "Q", "No", "code_reasoning", "a.png", "No", "No", True],
    ]  # fmt: skip
    (mme,) = vlmevalkit.load().sheets(spreadsheet(tmp_path / "m_MME_auxmatch.xlsx", columns, rows), Counter())
    assert [one.values.get("perception") for one in mme.rows][:4] == [200, 200, 50, 50]
    assert [one.values.get("cognition") for one in mme.rows][4:] == [50, 50] and mme.benchmark == "MME"
    (pope,) = vlmevalkit.load().sheets(spreadsheet(tmp_path / "m_POPE_auxmatch.xlsx", columns, rows), Counter())
    assert pope.benchmark == "pope" and pope.rows[3].values == {"accuracy": 0.0, "yes_ratio": 1.0}
    assert {one.cluster for one in pope.rows} == {"a.png", "b.png"}


@pytest.mark.parametrize(
    ("cells", "value"),
    [
        ({"res": "B", "answer": "blue", "answer_option": "B"}, 1.0),
        ({"res": "Blue", "answer": "blue", "answer_option": "B"}, 1.0),
        ({"res": "3.14159", "answer": "3.14", "precision": 2}, 1.0),
        ({"res": "3.2", "answer": "3.14", "precision": 2}, 0.0),
        ({"res": 12, "answer": "12"}, 1.0),
        ({"res": "", "answer": "12"}, None),
        ({"res": "1", "answer": "1", "log": "All 5 retries failed.\n"}, None),
    ],
)
def test_what_mathvistas_grader_read_is_matched_with_the_answer(cells: dict[str, Any], value: float | None) -> None:
    found = vlmevalkit.read_row({"index": 1, "prediction": "text", **cells})
    assert found.values == {"res": value} and found.failed == (value is None)


@pytest.mark.parametrize("kind", ["xlsx", "inline.xlsx", "tsv", "csv", "json", "columns.json"])
def test_every_kind_of_table_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    rows = [[1, 'Is it\n"so"?', "A", "art", "A, because\tit is", 1], [2, "Ünïcode 漢", "B", None, "B", 0]]
    names = ["index", "question", "answer", "category", "prediction", "hit"]
    path = tmp_path / f"m_MMStar_openai_result.{kind}"
    dicts = [dict(zip(names, one, strict=True)) for one in rows]
    if kind.endswith("xlsx"):
        spreadsheet(path, names, rows, inline=kind.startswith("inline"))
    elif kind == "json":
        path.write_text(json.dumps(dicts), encoding="utf-8")
    elif kind == "columns.json":
        columns = {name: {str(n): one[name] for n, one in enumerate(dicts)} for name in names}
        path.write_text(json.dumps(columns), encoding="utf-8")
    else:
        import csv

        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if kind == "tsv" else ",")
            writer.writerows([names, *rows])
    (sheet,) = vlmevalkit.load().sheets(path, Counter())
    first, second = sheet.rows
    assert (first.item_id, first.prompt, first.text) == ("1", 'Is it\n"so"?', "A, because\tit is")
    assert (second.item_id, second.prompt, second.stratum) == ("2", "Ünïcode 漢", "")
    assert [one.values["hit"] for one in sheet.rows] == [1.0, 0.0]


def test_a_spreadsheet_that_is_none_or_declares_entities_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "m_X_result.xlsx"
    bad.write_bytes(b"no zip")
    with pytest.raises(DataError, match="damaged"):
        read_table(bad)
    with zipfile.ZipFile(bad, "w") as book:
        book.writestr("xl/worksheets/sheet1.xml", '<!DOCTYPE a [<!ENTITY b "c">]><worksheet/>')
    with pytest.raises(DataError, match="document type"):
        read_table(bad)
    with zipfile.ZipFile(bad, "w") as book:
        book.writestr("other.xml", "<a/>")
    with pytest.raises(DataError, match="no sheet"):
        read_table(bad)
    with pytest.raises(DataError, match="no table"):
        read_table(tmp_path / "m.pkl")
    spreadsheet(bad, ["index", "hit"], [])
    with pytest.raises(DataError, match="no rows"):
        read_table(bad)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_spreadsheet_with_changed_bytes_is_read_or_called_damaged(tmp_path: Path) -> None:
    place = spreadsheet(tmp_path / "m_X_result.xlsx", ["index", "hit"], [[n, 1] for n in range(9)])
    whole, drawn, damaged = place.read_bytes(), random.Random(3), 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(drawn.randint(1, 3)):
            data[drawn.randrange(len(data))] = drawn.randrange(256)
        place.write_bytes(data)
        try:
            assert len(read_table(place)) == 9
        except DataError as error:
            damaged += 1
            assert str(place) in str(error)
    assert damaged > 200


def test_tables_of_predictions_alone_say_what_is_missing(tmp_path: Path) -> None:
    path = spreadsheet(tmp_path / "m_MMStar.xlsx", ["index", "prediction"], [[1, "A"]])
    with pytest.raises(DataError, match="--mode all"):
        list(vlmevalkit.load().sheets(path, Counter()))
    with pytest.raises(ConfigError, match="no table with verdicts"):
        list(vlmevalkit.load().sheets(tmp_path, Counter()))
    spreadsheet(path, ["index", "prediction", "mine"], [[1, "A", 0.5], [1, "B", 1]])
    with pytest.raises(DataError, match="index 1 occurs twice"):
        list(vlmevalkit.load(score="mine").sheets(path, Counter()))


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────────────
