"""What no example shows: the chances of the control, and mistakes in options."""

from __future__ import annotations

from typing import Any

import pytest

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.pair import (
    Example as Case,
    Sketch,
    Strategy,
    Surveying,
    all_pairs,
    margin,
    pairs,
    shuffled,
    strongest_as_best,
    tally,
    weighted,
)
from vlfeedback.records import Group, PreferencePair


def groups(count: int) -> list[Group]:
    """The first response is the best and the last the worst; two of four tie."""
    rows = ((5, 5, 5), (3, 3, 3), (3, 3, 3), (1, 1, 1))
    return [
        Case("", tuple(Sketch(f"m{k}", f"{n} {k}", scores) for k, scores in enumerate(rows)), ()).group()
        for n in range(count)
    ]


def kept(cases: list[Group], strategy: Strategy | Surveying) -> list[PreferencePair]:
    return [record for record in pairs(cases, strategy) if isinstance(record, PreferencePair)]


def directions(made: list[PreferencePair]) -> frozenset[tuple[str, str]]:
    return frozenset((pair.chosen_id, pair.rejected_id) for pair in made)


def test_the_control_keeps_the_material_and_forgets_the_judge() -> None:
    cases = groups(1000)
    assert tally(pairs(cases, shuffled.load())) == tally(pairs(cases, all_pairs.load()))
    true = directions(kept(cases, all_pairs.load()))
    right = wrong = 0
    for record in kept(cases, shuffled.load()):
        right += (record.chosen_id, record.rejected_id) in true
        wrong += (record.rejected_id, record.chosen_id) in true
    # About 4,170 pairs each of which is as often right as wrong; five in a group are not independent.
    assert abs(right - wrong) < 0.06 * (right + wrong)
    assert right + wrong > 4000


def test_every_arrangement_is_dealt_the_true_one_included() -> None:
    case = groups(1)[0]
    dealt = {directions(kept([case], shuffled.load(seed=seed))) for seed in range(300)}
    assert len(dealt) == 12, "4! arrangements, in which two equal ratings change nothing"
    assert directions(kept([case], all_pairs.load())) in dealt


def test_the_control_is_the_same_every_time() -> None:
    cases = groups(20)
    assert list(pairs(cases, shuffled.load(seed=3))) == list(pairs(cases, shuffled.load(seed=3)))
    assert list(pairs(cases, shuffled.load(seed=3))) != list(pairs(cases, shuffled.load(seed=4)))


@pytest.mark.parametrize("least", [0, -1, float("nan"), float("inf")])
def test_margins_that_mean_nothing(least: float) -> None:
    with pytest.raises(ConfigError, match="min"):
        margin.load(min=least)


@pytest.mark.parametrize("weights", [{}, {"Helpfulness": 0.0}, {"Helpfulness": -1.0}, {"Helpfulness": float("nan")}])
def test_weights_that_mean_nothing(weights: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="weight"):
        weighted.load(weights=weights)


def test_only_the_ratios_of_weights_count() -> None:
    one = weighted.load(weights={"Helpfulness": 1, "Visual Faithfulness": 2})
    other = weighted.load(weights={"Visual Faithfulness": 0.2, "Helpfulness": 0.1, "Ethical Considerations": 0})
    assert one == other


def test_without_a_complete_response_there_is_no_strongest() -> None:
    bare = Case("", (Sketch("m1", "one", (5, None, 5)), Sketch("m2", "two", (None, 5, 5))), ()).group()
    with pytest.raises(DataError, match="annotate first"):
        list(pairs([bare], strongest_as_best.load()))
    assert tally(pairs([bare], strongest_as_best.load(model="m2"))).pairs == 1
