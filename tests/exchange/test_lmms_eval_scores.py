"""Evaluations of lmms-eval: rows as it writes them, read, imported and compared by item."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from vlfeedback import cli, tables
from vlfeedback.commands._scored import import_scores
from vlfeedback.commands.compare import compare_runs
from vlfeedback.errors import ConfigError, DataError, VLFeedbackError
from vlfeedback.exchange import ScoreImporter, lmms_eval
from vlfeedback.records import ItemScore, Score


@pytest.mark.parametrize(("row", "expected"), lmms_eval.EXAMPLES)
def test_rows_of_lmms_eval(row: dict[str, Any], expected: tuple[str, str, dict[str, float]]) -> None:
    found = lmms_eval.read_row(row)
    assert (found.item_id, found.text, found.values) == expected


def samples(
    folder: Path, task: str, rows: list[dict[str, Any]], *, date: str = "20260801_101500", **config: Any
) -> Path:
    """A model's folder with the two files of one run."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / f"{date}_samples_{task}.jsonl").write_text(text, encoding="utf-8")
    results = {
        "results": {task: {"alias": task}},
        "configs": {task: {"task": task, "generation_kwargs": {"max_new_tokens": 16, "temperature": 0}}},
        "versions": {task: "Yaml"},
        "config": {"model": "llava_hf", "model_args": "pretrained=/m,dtype=float32", "gen_kwargs": "", **config},
        "model_name": folder.name,
    }
    (folder / f"{date}_results.json").write_text(json.dumps(results), encoding="utf-8")
    return folder


def row(number: int, reply: str, **metrics: Any) -> dict[str, Any]:
    return {
        "doc_id": number, "target": "A", "filtered_resps": [reply], "token_counts": [None],
        "doc_hash": f"{number:064d}", "input": f"Question {number}?", **metrics,
    }  # fmt: skip


def mmmu(number: int, right: bool) -> dict[str, Any]:
    told = {"id": f"validation_Art_{number}", "subdomain": "Art", "question_type": "multiple-choice", "answer": "A",
            "parsed_pred": ["A" if right else "B"]}  # fmt: skip
    return row(number, "A" if right else "B", mmmu_acc=told, mmmu_acc_pass_at_k=told, submission={told["id"]: "A"})


def test_llava_bench_is_compared_by_the_ratio_of_sums_and_failures_have_no_points(tmp_path: Path) -> None:
    def reviewed(number: int, model: float) -> dict[str, Any]:
        told = {"category": "llava_bench_conv", "scores": [8.0, model], "eval_model": "gpt-4"}
        if number == 7:
            told = {**told, "scores": [-1, -1], "eval_model": "Failed Request"}
        return row(number, "text", gpt_eval_llava_conv=told, gpt_eval_llava_detail={**told, "scores": [-999, -999]},
                   gpt_eval_llava_all=told)  # fmt: skip

    sides = {"a": 6.0, "b": 6.4}
    folders = [
        samples(tmp_path / side, "llava_in_the_wild", [reviewed(n, points + n % 2) for n in range(60)])
        for side, points in sides.items()
    ]
    (sheet,) = lmms_eval.load().sheets(folders[0], Counter())
    assert sheet.rows[7].values == {"points": None, "reference": None} and sheet.rows[7].failed
    assert sheet.rows[8].values == {"points": 6.0, "reference": 8.0} and sheet.rows[8].stratum == "llava_bench_conv"
    ratio = next(one for one in compare_runs(*folders).rows if one.metric == "relative")
    points = [6.0 + n % 2 for n in range(60) if n != 7]
    assert ratio.old == pytest.approx(100 * sum(points) / (8 * 59)) and ratio.difference.value == pytest.approx(5.0)


def test_a_task_without_numbers_for_items_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    folder = samples(tmp_path / "m", "captions", [row(n, "a cat", coco_CIDEr={"pred": "a cat"}) for n in range(3)])
    with pytest.raises(DataError, match=r"no metric has a number for single items.*captions"):
        list(lmms_eval.load().sheets(folder, Counter()))
    samples(folder, "mmmu_val", [mmmu(n, n % 2 == 0) for n in range(4)])
    tally: Counter[str] = Counter()
    (sheet,) = lmms_eval.load().sheets(folder, tally)
    assert sheet.benchmark == "mmmu_val"
    assert tally["captions: no metric has a number for single items, not used"] == 1


def test_a_zero_that_no_grader_gave_is_no_grade(tmp_path: Path) -> None:
    def graded(number: int, score: float, grader: str | None) -> dict[str, Any]:
        told = {"question_id": f"v1_{number}", "score": score, "eval_model": grader}
        return row(number, "text", gpt_eval_score={name: one for name, one in told.items() if one is not None})

    silent = lmms_eval.read_row(graded(1, 0.0, ""))
    assert silent.failed and silent.values == {"gpt_eval_score": None} and silent.text == "text"
    assert lmms_eval.read_row(graded(1, 0.0, "Failed Request")).failed
    for grader in ("gpt-4o-2024-11-20", None):
        assert lmms_eval.read_row(graded(1, 0.0, grader)).values == {"gpt_eval_score": 0.0}
    # Every grade failed, as in a run without a key: no score of 0, but none.
    folders = [samples(tmp_path / side, "mmvet", [graded(n, 0.0, "") for n in range(60)]) for side in ("a", "b")]
    found = compare_runs(*folders)
    assert found.headline is None and "60 of 60" in found.refused[0]


def test_mmmu_of_two_models_is_compared_item_by_item(tmp_path: Path) -> None:
    a = samples(tmp_path / "base", "mmmu_val", [mmmu(n, n % 2 == 0) for n in range(90)])
    b = samples(tmp_path / "aligned", "mmmu_val", [mmmu(n, n % 2 == 0 or n % 5 == 0) for n in reversed(range(90))])
    direct = compare_runs(a, b)
    line = next(one for one in direct.rows if one.metric == "mmmu_acc")
    assert (line.old, line.new) == (0.5, 0.6) and line.difference.n == 90 and line.difference.changed == 9
    assert line.old_model == "base" and line.headline and direct.notes == ()
    for name, folder in (("base", a), ("aligned", b)):
        done = import_scores("lmms_eval", lmms_eval.load(), folder, tmp_path / "runs" / name)
        assert done.sheets == ((name, "mmmu_val", 90, 0),)
    again = compare_runs(tmp_path / "runs" / "base", tmp_path / "runs" / "aligned")
    assert [one.to_json() for one in again.rows] == [one.to_json() for one in direct.rows]
    scores = list(tables.read(tmp_path / "runs" / "base" / "scores.parquet", Score))
    assert {one.metric: one.value for one in scores} == {"mmmu_acc": 0.5, "mmmu_acc_pass_at_k": 0.5}


@pytest.mark.parametrize(
    ("answer", "parsed", "kind", "right"),
    [
        ("B", ["B"], "multiple-choice", True),
        ("B", "B", "multiple-choice", True),
        ("B", ["A", "B"], "multiple-choice", True),  # one of two repeats
        ("B", ["A"], "multiple-choice", False),
        ("24/7", [["it is 24/7", 7.0]], "open", True),
        ("24/7", ["it is 24/7", 7.0], "open", True),
        ("1,000.004", [["1000", 1000.0]], "open", True),
        (["two", "2"], [[2.0]], "open", True),
        ("a", [["a cat"]], "open", True),
        ("a", [["cat"]], "open", False),  # a single letter needs a blank beside it
        ("5", [["5"]], "open", False),  # numbers meet numbers
    ],
)
def test_mmmus_rule_for_parsed_answers(answer: Any, parsed: Any, kind: str, right: bool) -> None:
    told = {"answer": answer, "parsed_pred": parsed, "question_type": kind}
    assert lmms_eval.read_row(row(1, "r", mmmu_acc=told)).values == {"mmmu_acc": float(right)}


def test_mme_of_lmms_eval_is_counted_in_points_per_picture(tmp_path: Path) -> None:
    def two(number: int, rights: tuple[int, int], category: str, name: str) -> list[dict[str, Any]]:
        about = {"question_id": f"{category}/{number}.png", "category": category}
        return [
            row(2 * number + k, "Yes", **{name: {**about, "score": float(right)}}) for k, right in enumerate(rights)
        ]

    rows = [
        *two(0, (1, 1), "OCR", "mme_perception_score"), *two(1, (1, 0), "OCR", "mme_perception_score"),
        *two(2, (0, 0), "count", "mme_perception_score"), *two(3, (1, 1), "code_reasoning", "mme_cognition_score"),
    ]  # fmt: skip
    sheet = next(lmms_eval.load().sheets(samples(tmp_path / "m", "mme", rows), Counter()))
    points = {one.item_id.partition(":")[0]: one.values for one in sheet.rows}
    assert points["0"]["perception"] == points["1"]["perception"] == 200 and points["2"]["perception"] == 50
    assert points["4"]["perception"] == 0 and points["6"]["cognition"] == 200 and points["3"]["accuracy"] == 0
    done = import_scores("lmms_eval", lmms_eval.load(), tmp_path / "m", tmp_path / "run")
    assert done.sheets[0][2] == 8
    scores = {one.metric: one.value for one in tables.read(tmp_path / "run" / "scores.parquet", Score)}
    assert scores["perception"] == (200 + 50) / 2 + 0 and scores["cognition"] == 200


def test_pope_of_lmms_eval_gives_f1_by_items(tmp_path: Path) -> None:
    def said(number: int, prediction: str) -> dict[str, Any]:
        truth = "yes" if number % 2 else "no"
        about = {
            "question_id": number,
            "score": float(prediction == truth),
            "prediction": prediction,
            "ground_truth": truth,
        }
        names = ("accuracy", "precision", "recall", "f1_score", "yes_ratio")
        return row(number, prediction, **{f"pope_{name}": about for name in names})

    a = samples(tmp_path / "a", "pope", [said(n, "yes") for n in range(60)])
    b = samples(tmp_path / "b", "pope", [said(n, "yes" if n % 2 else "no") for n in range(60)])
    rows = {one.metric: one for one in compare_runs(a, b).rows}
    assert (rows["f1"].old, rows["f1"].new) == (pytest.approx(2 / 3), 1.0)
    assert (rows["yes_ratio"].old, rows["yes_ratio"].new) == (1.0, 0.5) and set(rows) == {"accuracy", "yes_ratio", "f1"}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"model_args": "pretrained=/m,dtype=bfloat16"}, "other dtype"),
        ({"gen_kwargs": "temperature=0.7"}, "other decoding"),
    ],
)
def test_other_conditions_of_lmms_eval_are_refused(tmp_path: Path, change: dict[str, str], what: str) -> None:
    a = samples(tmp_path / "a", "t", [row(n, "x", exact_match=float(n % 2)) for n in range(40)])
    b = samples(tmp_path / "b", "t", [row(n, "y", exact_match=1.0) for n in range(40)], **change)
    with pytest.raises(ConfigError, match=what):
        compare_runs(a, b)


def test_another_prompt_and_other_documents_of_lmms_eval_are_refused(tmp_path: Path) -> None:
    rows = [row(n, "x", exact_match=float(n % 2)) for n in range(40)]
    a = samples(tmp_path / "a", "t", rows)
    b = samples(tmp_path / "b", "t", [{**one, "input": "Think."} for one in rows])
    with pytest.raises(ConfigError, match="other prompt"):
        compare_runs(a, b)
    c = samples(tmp_path / "c", "t", [{**one, "doc_hash": "f" * 64 + str(one["doc_id"])} for one in rows])
    with pytest.raises(ConfigError, match="other item set"):
        compare_runs(a, c)


def test_of_several_runs_of_a_task_the_last_counts_and_a_failed_grade_is_none(tmp_path: Path) -> None:
    folder = samples(tmp_path / "m", "mathvista", [row(1, "old", exact_match=0.0)], date="20260801_101500")
    grade = {"question_id": "1", "eval_model": "gpt-4o", "score": 0.5}
    graded = [row(1, "new", gpt_eval_score=grade), row(2, "", gpt_eval_score={**grade, "score": -1})]
    samples(folder, "mathvista", graded, date="20260802_101500")
    tally: Counter[str] = Counter()
    (sheet,) = lmms_eval.load().sheets(tmp_path, tally)
    assert [one.text for one in sheet.rows] == ["new", ""] and sheet.judge == "gpt-4o"
    assert [one.values["gpt_eval_score"] for one in sheet.rows] == [0.5, None] and sheet.rows[1].failed
    assert sheet.model == "m"
    assert tally["samples of an earlier run, not used"] == 1
    assert tally["mathvista: empty replies (lmms-eval writes failures so)"] == 1


def test_a_row_as_lmms_eval_0_7_3_wrote_it(tmp_path: Path) -> None:
    """Written by the engine itself (`benchmarks/engines.py`), with a path shortened."""
    line = {
        "doc_id": 1, "target": "e", "resps": "fourRKseemthis&B`at4\n", "filtered_resps": "fourRKseemthis&B`at4",
        "token_counts": [{"output_tokens": 12}],
        "doc_hash": "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b",
        "input_media": ["tasks/tiny_letters/1.png"], "has_letter": 1.0,
        "detail": {"question_id": "i1", "category": "odd", "score": 1.0}, "input": "what is number 1 ?",
    }  # fmt: skip
    folder = samples(tmp_path / "work__base", "tiny_letters", [line])
    results = next(folder.glob("*results.json"))
    told = json.loads(results.read_text())
    results.write_text(json.dumps({**told, "model_name": "/some/where/work/base"}))
    (sheet,) = lmms_eval.load().sheets(tmp_path, Counter())
    (found,) = sheet.rows
    assert sheet.model == "work/base" and sheet.dtype == "float32" and "max_new_tokens" in sheet.decoding
    assert found.values == {"has_letter": 1.0, "detail": 1.0} and found.text == "fourRKseemthis&B`at4"
    assert (found.item_id, found.cluster, found.stratum) == ("1:74234e98afe7", "i1", "odd")


def test_damaged_files_of_lmms_eval_say_where(tmp_path: Path) -> None:
    importer = lmms_eval.load()
    assert isinstance(importer, ScoreImporter)
    with pytest.raises(ConfigError, match="--log_samples"):
        list(importer.sheets(tmp_path, Counter()))
    file = tmp_path / "20260801_samples_t.jsonl"
    good = json.dumps(row(1, "x", exact_match=1.0))
    for text, what in (
        (good + "\n" + good[:40], "line 2 is no JSON"),
        (good + "\n[1]", "line 2 is no JSON object"),
        (good + "\n{}", "line 2: it has no doc_id"),
        (good + "\n" + good, "occurs twice"),
        (json.dumps(row(1, "x")), "no metric has a number"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=what):
            list(importer.sheets(file, Counter()))
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        list(importer.sheets(file, Counter()))
    file.write_text(good, encoding="utf-8")
    (tmp_path / "20260801_results.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="damaged"):
        list(importer.sheets(file, Counter()))


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["doc_id", "filtered_resps", "resps", "input_media", "score", "m"]), _JSON))
def test_any_row_is_read_or_refused(found: dict[str, Any]) -> None:
    try:
        made = lmms_eval.read_row(found)
    except ValueError:
        return
    assert isinstance(made.item_id, str) and all(value is None or value == value for value in made.values.values())


def test_the_import_command_makes_a_folder_to_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = samples(tmp_path / "base", "t", [row(n, "x", exact_match=float(n % 2)) for n in range(40)])
    sys.argv = ["vlfeedback", "import", "lmms_eval", str(folder), "--out", str(tmp_path / "run"), "--json"]
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code or 0) == 0
    assert json.loads(capsys.readouterr().out)["sheets"][0]["items"] == 40
    assert len(list(tables.read(tmp_path / "run" / "item_scores.parquet", ItemScore))) == 40
    own = tmp_path / "own"
    own.mkdir()
    (own / "ledger.sqlite").write_bytes(b"")
    with pytest.raises(ConfigError, match="run folder of its own"):
        import_scores("lmms_eval", lmms_eval.load(), folder, own)
    with pytest.raises(VLFeedbackError, match="does not exist"):
        import_scores("lmms_eval", lmms_eval.load(), tmp_path / "nothing", tmp_path / "x")
