"""Who is base, aligned and control; what the headline claims; which cases are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vlfeedback import tables
from vlfeedback.records import Score
from vlfeedback.report._cases import Change, pick
from vlfeedback.report._headline import headline
from vlfeedback.report._metrics import KNOWN, describe
from vlfeedback.report._read import Artefacts
from vlfeedback.report._scores import Results, gap_closed, relative_gain, results
from vlfeedback.report._sections_results import results_section


def folder(
    path: Path, models: list[str], difference: dict[str, Any] | None = None, metric: str = "perception"
) -> Artefacts:
    """A folder with one metric of these models, valued 10, 20, …"""
    scores = [Score("mme", "o", metric, 10.0 * n, None, None, 5, 0, 0, model) for n, model in enumerate(models, 1)]
    tables.write(path / "scores.parquet", Score, scores, room="evaluate")
    if difference is not None:
        row = {"benchmark": "mme", "protocol": "o", "metric": metric, "base": models[0], "other": models[1], "n": 5}
        (path / "comparisons.json").write_text(json.dumps([row | difference]))
    return Artefacts(path)


def found(run: Artefacts) -> Results:
    """Its results, which are there."""
    got = results(run)
    assert got is not None
    return got


def test_identities_say_who_is_who(tmp_path: Path) -> None:
    models = ["p", "p+dpo:shuffled", "p+sft:best", "p+dpo", "weak", "strong"]
    cast = found(folder(tmp_path, models)).cast
    assert (cast.base, cast.aligned, cast.controls) == ("p", "p+dpo", ("p+dpo:shuffled", "p+sft:best"))
    assert cast.others == ("strong", "weak")
    assert cast.word("p+sft:best") == "SFT on the best response"


def test_the_name_of_the_training_decides_and_a_plus_in_a_name_is_no_training(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[train]\nname = "mine"\n')
    cast = found(folder(tmp_path, ["org/a+b", "org/a+b+dpo", "org/a+b+mine", "org/c+d"])).cast
    assert (cast.base, cast.aligned, cast.others) == ("org/a+b", "org/a+b+mine", ("org/c+d",))


def test_models_without_a_training_have_no_base(tmp_path: Path) -> None:
    cast = found(folder(tmp_path, ["a", "b"])).cast
    assert (cast.base, cast.aligned, cast.others) == (None, None, ("b", "a"))


@pytest.mark.parametrize(
    ("difference", "sentence"),
    [
        ({"difference": 12.0, "ci_low": 8.0, "ci_high": 16.5}, "Perception rose by 12.0 points [8.0, 16.5]."),
        ({"difference": -12.0, "ci_low": -16.5, "ci_high": -8.0}, "Perception fell by 12.0 points [8.0, 16.5]."),
        (
            {"difference": 2.0, "ci_low": -1.0, "ci_high": 5.0},
            "Perception did not change beyond noise (+2.0 points [−1.0, 5.0]).",
        ),
        (
            {"difference": 2.0, "ci_low": None, "ci_high": None},
            "Perception changed by +2.0 points, too few items for an interval.",
        ),
        (None, "Perception went from 10.0 to 20.0 points."),
    ],
)
def test_the_headline_claims_what_the_interval_allows(
    tmp_path: Path, difference: dict[str, Any] | None, sentence: str
) -> None:
    run = folder(tmp_path, ["p", "p+dpo"], difference)
    assert headline(run, found(run), None).main == sentence


def test_strange_values_in_comparisons_are_no_interval(tmp_path: Path) -> None:
    run = folder(tmp_path, ["p", "p+dpo"], {"difference": 2.0, "ci_low": float("nan"), "ci_high": 3.0})
    assert headline(run, found(run), None).main.endswith("too few items for an interval.")


def test_results_of_two_benchmarks_or_judges_are_told_apart(tmp_path: Path) -> None:
    scores = [
        Score(benchmark, "o", "accuracy", 0.5, None, None, 5, 0, 0, "m", judge)
        for benchmark, judge in (("mme", None), ("mmhal", "gpt-4"), ("mmhal", "local"))
    ]
    tables.write(tmp_path / "scores.parquet", Score, scores, room="evaluate")
    labels = [one.metric.label for one in found(Artefacts(tmp_path)).metrics]
    assert labels == ["Accuracy, mme", "Accuracy, mmhal, gpt-4", "Accuracy, mmhal, local"]


def test_unknown_metrics_are_shown_and_not_judged() -> None:
    assert describe("my_metric", [3.0]).better == "neither"
    assert describe("my_metric", [3.0]).label == "My metric"
    assert describe("perception/code_reasoning", [3.0]).label == "Perception: code reasoning"
    assert describe("recall", [0.4, 0.9]).factor == 100.0
    assert describe("recall", [40.0, 90.0]).factor == 1.0 and describe("recall", [40.0]).unit == "%"


def test_gains_and_gaps() -> None:
    assert relative_gain(1440.5, 1539.6) == pytest.approx(0.0688, abs=1e-4)
    assert relative_gain(0.0, 3.0) is None
    assert gap_closed(60.0, 80.0, 100.0) == pytest.approx(0.5)
    assert gap_closed(0.4, 0.3, 0.2) == pytest.approx(0.5)  # lower is better
    assert gap_closed(5.0, 6.0, 5.0) is None


@pytest.mark.parametrize(("low", "high", "shown"), [(5.0, 15.0, "50 %"), (-5.0, 25.0, "–"), (None, None, "–")])
def test_a_gap_that_may_be_noise_is_not_said_to_be_closed(
    tmp_path: Path, low: float | None, high: float | None, shown: str
) -> None:
    """Recall 96.8 → 94.9 against a strongest model at 97.2 was printed as −499 % of the gap."""
    run = folder(tmp_path, ["p", "p+dpo", "strong"])
    row = {"benchmark": "mme", "protocol": "o", "metric": "perception", "base": "p", "n": 5, "p_value": None}
    rows = [
        row | {"other": "p+dpo", "difference": 10.0, "ci_low": 1.0, "ci_high": 19.0},
        row | {"other": "strong", "difference": 20.0, "ci_low": low, "ci_high": high},
    ]
    (tmp_path / "comparisons.json").write_text(json.dumps(rows))
    (table, *_) = results_section(run, found(run)).tables
    assert table.rows[0][table.columns.index("#Gap closed")] == shown


def changed(item: str, part: str, size: float, *, cluster: str = "", text: str = "new") -> Change:
    """A change of a given size."""
    old, new = ({"text": words, "value": 0.0, "finish": "stop", "call_key": ""} for words in ("old", text))
    return Change(KNOWN["perception"], "mme", item, cluster or item, part, old, new, size, size)


def test_cases_are_the_largest_from_different_parts() -> None:
    items = [changed("a", "x", 1.0), changed("b", "x", 0.9), changed("c", "y", 0.5), changed("d", "z", 0.4)]
    assert [one.item_id for one in pick(items)] == ["a", "c", "d"]
    assert [one.item_id for one in pick(items[:3])] == ["a", "c", "b"]


def test_equal_texts_and_second_questions_on_a_picture_are_no_cases() -> None:
    items = [
        changed("a", "x", 1.0, text="old"),
        changed("b", "x", 0.9, cluster="one"),
        changed("c", "y", 0.8, cluster="one"),
    ]
    assert [one.item_id for one in pick(items)] == ["b"]
