"""LLaVA-Bench's reviews, parser and figures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from vlfeedback.errors import DataError
from vlfeedback.evaluate._llava_bench_result import CATEGORIES, LlavaBenchResult, official, score_file

ORDER = [kind for kind, size in CATEGORIES.items() for _ in range(size)]


def review(number: int, content: Any = "8 6\nBecause.", **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "question_id": number,
        "category": f"llava_bench_{ORDER[number % 60]}",
        "content": content,
        **more,
    }


def scored(folder: Path, rows: list[dict[str, Any]]) -> LlavaBenchResult:
    path = folder / "reviews.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return score_file(path)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("8 7.5\nBecause", (8, 7.5)), ("8,7", (8, 7)), ("8, 7", None), ("8 7 ", None), (" 8 7", None), ("8  7", None),
        ("8\t7", None), ("8 7.", (8, 7)), ("8/10 7/10", None), ("Assistant 1: 8", None), ("8 seven", None), ("", None),
        ("\n8 7", None), ("8 7\r\nx", (8, 7)), ("**8 7**", None), ("8", None), ("-1 -1", (-1, -1)), ("8 7 6", None),
    ],
)  # fmt: skip
def test_the_first_line_must_be_two_numbers(text: str, pair: tuple[float, float] | None) -> None:
    assert official(text) == pair


@given(st.text())
def test_the_parser_is_total(text: str) -> None:
    assert official(text) is None or len(official(text) or ()) == 2


def test_the_ratio_is_of_means_and_not_a_mean_of_ratios(tmp_path: Path) -> None:
    found = scored(tmp_path, [review(n, "10 5" if n % 2 else "5 5") for n in range(60)])
    assert found.complete and found.relative["all"] == pytest.approx(100 * 5 / 7.5)
    assert set(found.relative) == {"all", "conv", "detail", "complex"} and found.printed["all"] == 66.7
    assert found.counts == {"all": 60, "conv": 17, "detail": 15, "complex": 28}
    # Delta method: SE of a ratio r of means is the SE of the mean of (model − r · reference), over the mean reference.
    r = 5 / 7.5
    spread = sum((5 - r * (10 if n % 2 else 5)) ** 2 for n in range(60)) / 59
    assert found.se == pytest.approx(100 * (spread / 60) ** 0.5 / 7.5, rel=0.05)
    json.dumps(found.to_json(), allow_nan=False)


def test_an_unreadable_review_is_minus_one_officially_and_left_out_beside_it(tmp_path: Path) -> None:
    found = scored(tmp_path, [review(n, "**8** 6" if n == 0 else "8 6") for n in range(60)])
    assert found.n_unparsable == 1 and found.complete
    assert found.relative["all"] == pytest.approx(100 * (6 * 59 - 1) / (8 * 59 - 1))
    assert found.relative_readable["all"] == 75 == found.relative["detail"]
    assert any("begin with two numbers" in text for text in found.warnings)


def test_a_missing_review_is_in_no_figure(tmp_path: Path) -> None:
    rows = [review(n) for n in range(60)]
    rows[0]["content"] = None
    del rows[1]["content"]
    found = scored(tmp_path, rows)
    assert (found.n_present, found.n_failed, found.n_unparsable) == (58, 2, 0) and not found.complete
    assert found.relative["all"] == 75 and found.warnings[0].startswith("INCOMPLETE: 58 of 60")


def test_the_tuple_of_the_official_script_counts_where_it_is(tmp_path: Path) -> None:
    rows = [{"question_id": n, "category": ORDER[n], "tuple": [8.0, 4.0] if n else [-1, -1]} for n in range(60)]
    found = scored(tmp_path, rows)
    assert found.relative_readable["all"] == 50 and found.n_unparsable == 1
    # Published files hold pairs that a person put in place of an unreadable review; the published figure has them.
    rows = [review(n, tuple=[8.0, 6.0]) if n else review(0, "Both are fine.", tuple=[10, 4]) for n in range(60)]
    mended = scored(tmp_path, rows)
    assert mended.relative["all"] == pytest.approx(100 * (4 + 59 * 6) / (10 + 59 * 8)) and mended.n_unparsable == 0
    assert any("its tuple [10.0, 4.0] counts" in text for text in mended.warnings)


def test_the_printed_figure_rounds_both_means_as_the_official_script_does(tmp_path: Path) -> None:
    found = scored(tmp_path, [review(n, "7 5" if n < 57 else "9 9.3") for n in range(60)])
    model, reference = (57 * 5 + 3 * 9.3) / 60, (57 * 7 + 3 * 9) / 60
    assert found.relative["all"] == pytest.approx(100 * model / reference, abs=1e-9)
    assert found.printed["all"] == round(round(model, 3) / round(reference, 3) * 100, 1)


def test_nothing_readable_has_no_ratio(tmp_path: Path) -> None:
    found = scored(tmp_path, [review(n, "Sorry.") for n in range(60)])
    assert found.relative["all"] is None and found.n_unparsable == 60 and found.se is None


def test_numbers_that_are_not_finite_are_unreadable(tmp_path: Path) -> None:
    found = scored(tmp_path, [review(n, "nan 5" if n == 0 else "8 inf" if n == 1 else "8 6") for n in range(60)])
    assert found.n_unparsable == 2 and found.relative["all"] is not None and math.isfinite(found.relative["all"])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"category": "conv", "content": "8 7"}, "no question_id"),
        (review(0, 7), "line 1"),
        (review(0, None, tuple=[1]), "its tuple is"),
        (review(0, None), "no review at all"),
    ],
)
def test_files_that_are_no_reviews_are_refused(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        scored(tmp_path, [row])


def test_a_question_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="question_id 3 twice"):
        scored(tmp_path, [review(n) for n in (1, 3, 3)])
