"""MM-Vet's grade files, parser and figures."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from vlfeedback.errors import DataError
from vlfeedback.evaluate._mmvet_files import official, read_capabilities, read_grades
from vlfeedback.evaluate._mmvet_result import MMVetResult, score_files

KINDS = (["ocr", "math"], ["rec"], ["rec", "know", "gen"], ["math", "ocr"], ["gen", "rec", "know"])
NEEDS = {f"v1_{n}": KINDS[n % 5] for n in range(218)}


def grade(*scores: float | None, content: str | None = None, model: str = "gpt-4-0613") -> dict[str, list[Any]]:
    said = [content if content is not None else f"{score}" for score in scores]
    return {"model": [model] * len(scores), "content": said, "score": list(scores)}


def scored(folder: Path, *grades: dict[str, Any], needs: dict[str, Any] = NEEDS) -> MMVetResult:
    files = [folder / f"grades{n}.json" for n in range(len(grades))]
    for file, content in zip(files, grades, strict=True):
        file.write_text(json.dumps(content, indent=4))
    (folder / "caps.json").write_text(json.dumps(needs))
    return score_files(files, folder / "caps.json")


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("0.5", 0.5), ("1", 1.0), ("1.0\n", 1.0), ("0.5 points", 0.5), (" 0.5", None), ("0.5.", None), ("1.1", None),
        ("-0.1", None), ("", None), ("Score: 0.5", None), ("inf", None), ("0,5", None), ("1e-1", 0.1), ("0.5\nx", None),
        ("-0.0", -0.0), ("1_0", None), ("+1", 1.0), ("\t0.5", 0.5), ("٠.٥", 0.5),
    ],
)  # fmt: skip
def test_the_number_before_the_first_space_counts(reply: str, value: float | None) -> None:
    assert official(reply) == value


def test_nan_passes_the_official_bounds() -> None:
    found = official("nan")
    assert found is not None and math.isnan(found)


@given(st.text())
def test_the_parser_is_total(text: str) -> None:
    found = official(text)
    assert found is None or math.isnan(found) or 0 <= found <= 1


def test_totals_are_means_of_questions_and_capabilities_overlap(tmp_path: Path) -> None:
    values = {name: round(0.1 * (number % 11), 1) for number, name in enumerate(NEEDS)}
    found = scored(tmp_path, {name: grade(value) for name, value in values.items()})
    assert found.complete and (found.n_present, found.n_expected) == (218, 218)
    assert found.total == pytest.approx(100 * sum(values.values()) / 218) and found.std == 0
    assert found.runs == (found.total,)
    for one in ("ocr", "math", "rec", "know", "gen"):
        needing = [values[name] for name, needs in NEEDS.items() if one in needs]
        assert found.capabilities[one] == pytest.approx(100 * sum(needing) / len(needing))
        assert found.counts[one] == len(needing)
    assert set(found.combinations) == {"math_ocr", "rec", "gen_know_rec"}
    assert found.total != pytest.approx(statistics.mean(v for v in found.capabilities.values() if v is not None))
    assert found.se == pytest.approx(100 * statistics.stdev(values.values()) / 218**0.5)
    json.dumps(found.to_json(), allow_nan=False)


def test_several_runs_are_averaged_and_their_spread_is_of_the_population(tmp_path: Path) -> None:
    grades = {name: grade(0.0, 0.5, 1.0 if number % 2 else 0.5) for number, name in enumerate(NEEDS)}
    found = scored(tmp_path, grades)
    assert found.runs == (0.0, 50.0, 75.0) and found.total == pytest.approx(125 / 3)
    assert found.std == pytest.approx(statistics.pstdev([0, 50, 75])) and found.complete
    # Runs are averaged first: the unit is the question.
    means = [(0 + 0.5 + (1.0 if n % 2 else 0.5)) / 3 for n in range(218)]
    assert found.se == pytest.approx(100 * statistics.stdev(means) / 218**0.5)


def test_several_files_are_several_runs(tmp_path: Path) -> None:
    one = {name: grade(0.5) for name in NEEDS}
    two = {name: grade(1.0, 0.0) for name in reversed(NEEDS)}
    found = scored(tmp_path, one, two)
    assert found.runs == (50.0, 100.0, 0.0) and found.complete


def test_a_missing_grade_is_not_a_zero(tmp_path: Path) -> None:
    grades: dict[str, Any] = {name: grade(1.0, 1.0) for name in NEEDS}
    del grades["v1_0"]
    grades["v1_1"] = grade(1.0)
    grades["v1_2"] = {"model": [None, None], "content": [None, None], "score": [None, None]}
    found = scored(tmp_path, grades)
    assert found.total == 100 and (found.n_failed, found.n_present) == (5, 215) and not found.complete
    assert found.warnings[0].startswith("INCOMPLETE: 215 of 218")


def test_unreadable_grades_count_as_zero_and_are_counted(tmp_path: Path) -> None:
    grades = {name: grade(1.0) for name in NEEDS}
    grades["v1_0"] = grade(0.0, content="The")
    grades["v1_1"] = grade(0.0, content="0.0")
    found = scored(tmp_path, grades)
    assert found.n_unparsable == 1 and found.complete
    assert found.total == pytest.approx(100 * 216 / 218) and found.total_readable == pytest.approx(100 * 216 / 217)


def test_nan_and_infinity_are_set_apart(tmp_path: Path) -> None:
    grades = {name: grade(1.0) for name in NEEDS}
    grades["v1_0"], grades["v1_1"] = grade(math.nan, content="nan"), grade(math.inf)
    found = scored(tmp_path, grades)
    assert (found.n_nonfinite, found.n_unparsable, found.total) == (2, 2, 100)
    json.dumps(found.to_json(), allow_nan=False)


def test_a_subset_is_scored_and_called_incomplete(tmp_path: Path) -> None:
    needs = {name: NEEDS[name] for name in list(NEEDS)[:10]}
    found = scored(tmp_path, {name: grade(0.5) for name in needs}, needs=needs)
    assert found.total == 50 and not found.complete and any("MM-Vet has 218" in text for text in found.warnings)


def test_several_graders_are_named(tmp_path: Path) -> None:
    grades = {name: grade(1.0) for name in NEEDS} | {"v1_0": grade(1.0, model="gpt-4o")}
    found = scored(tmp_path, grades)
    assert found.graders == ("gpt-4-0613", "gpt-4o") and any("several models" in text for text in found.warnings)


def test_the_benchmarks_own_file_and_plain_lists_of_scores_are_read(tmp_path: Path) -> None:
    needs = {name: {"question": "?", "capability": [*kinds, kinds[0]]} for name, kinds in NEEDS.items()}
    found = scored(tmp_path, {name: [0.5, 0.5] for name in NEEDS}, needs=needs)
    assert found.complete and found.runs == (50, 50) and found.combinations["rec"] == 50


@pytest.mark.parametrize(
    ("grades", "says"),
    [
        ([], "no grade file"), ({}, "no grade file"), ({"v1_0": {"model": []}}, "v1_0 has no score"),
        ({"v1_0": {"score": []}}, "no grade at all"), ({"v1_0": grade(1.5)}, "1.5, outside"),
        ({"v1_0": {"score": ["0.5"]}}, "the score is '0.5'"), ({"v1_0": {"score": [True]}}, "the score is True"),
        ({"v9_0": grade(1.0)}, "not of one benchmark"),
        ({"v1_0": {"content": [None], "score": [None]}}, "no grade"),
    ],
)  # fmt: skip
def test_files_that_are_no_grades_are_refused(tmp_path: Path, grades: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        scored(tmp_path, grades)


def test_a_question_twice_and_capabilities_of_another_shape_are_refused(tmp_path: Path) -> None:
    (tmp_path / "g.json").write_text('{"v1_0": {"score": [1]}, "v1_0": {"score": [0]}}')
    with pytest.raises(DataError, match="'v1_0' twice"):
        read_grades([tmp_path / "g.json"])
    for text in ("[]", '{"v1_0": "ocr"}', '{"v1_0": []}', '{"v1_0": [1]}'):
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(DataError, match=r"c\.json"):
            read_capabilities(tmp_path / "c.json")
