"""Every strategy's own examples, and what the stage relies on in every strategy."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

import vlfeedback.pair
from vlfeedback.ids import response_id
from vlfeedback.pair import ASPECTS, Example, pairs, possible, tally
from vlfeedback.records import Dropped, Group, Instruction, PreferencePair, Rating, Response

NAMES = sorted(path.stem for path in Path(vlfeedback.pair.__file__).parent.glob("[!_]*.py"))
MODULES = {name: importlib.import_module(f"vlfeedback.pair.{name}") for name in NAMES}
CASES = [pytest.param(name, each, id=f"{name}: {each.about}") for name in NAMES for each in MODULES[name].EXAMPLES]
OPTIONS: dict[str, dict[str, Any]] = {
    "single_aspect": {"aspect": "Visual Faithfulness"},
    "weighted": {"weights": {"Helpfulness": 1.0, "Visual Faithfulness": 0.5}},
    "strongest_as_best": {"model": "m1"},
}
SHIPPED = [
    "all_pairs",
    "best_worst",
    "longest_as_best",
    "margin",
    "shuffled",
    "single_aspect",
    "strongest_as_best",
    "weighted",
]

scores = st.none() | st.integers(1, 5)
models = st.sampled_from(["m1", "m2", "m3"])
texts = st.sampled_from(["a", "b", "ab", "ba", "abc"])
rows = st.lists(st.tuples(models, texts, st.tuples(scores, scores, scores)), max_size=6)


def group_of(drawn: list[tuple[str, str, tuple[int | None, ...]]]) -> Group:
    """A group with an id of its own for every response, equal texts included."""
    instruction = Instruction("i" * 32, "prompt", (), "test")
    responses = tuple(
        Response(response_id(instruction.id, f"{model}/{place}", None, text), instruction.id, model, text, "stop")
        for place, (model, text, _) in enumerate(drawn)
    )
    ratings = tuple(
        Rating(response.id, aspect, score)
        for response, (_, _, given) in zip(responses, drawn, strict=True)
        for aspect, score in zip(ASPECTS, given, strict=True)
    )
    return Group(instruction, responses, ratings, ())


def test_strategies_are_found() -> None:
    assert NAMES == SHIPPED


@pytest.mark.parametrize(("name", "example"), CASES)
def test_examples(name: str, example: Example) -> None:
    group = example.group()
    letters = {response.id: "abcdefgh"[place] for place, response in enumerate(group.responses)}
    outcomes: list[str] = []
    for record in pairs([group], MODULES[name].load(**example.options)):
        if isinstance(record, Dropped):
            two = sorted(letters[part] for part in record.detail.partition(":")[0].split())
            outcomes.append(f"{two[0]}|{two[1]} {record.reason}")
        else:
            outcomes.append(f"{letters[record.chosen_id]}>{letters[record.rejected_id]}")
    assert tuple(outcomes) == example.expected


@pytest.mark.parametrize("name", NAMES)
@given(drawn=rows)
def test_every_two_responses_are_accounted_for(name: str, drawn: list[tuple[str, str, tuple[int | None, ...]]]) -> None:
    group = group_of(drawn)
    records = list(pairs([group], MODULES[name].load(**OPTIONS.get(name, {}))))
    tally(records).balance(possible(len(drawn)))
    texts = {response.id: response.text for response in group.responses}
    seen: set[frozenset[str]] = set()
    for record in records:
        if isinstance(record, PreferencePair):
            two = frozenset((record.chosen_id, record.rejected_id))
            assert texts[record.chosen_id] != texts[record.rejected_id]
        else:
            two = frozenset(record.detail.partition(":")[0].split())
            assert (record.reason == "identical") == (len({texts[one] for one in two}) == 1)
        assert len(two) == 2 and two not in seen
        seen.add(two)


@pytest.mark.parametrize("name", NAMES)
@given(drawn=rows, chance=st.randoms(use_true_random=False))
def test_the_order_of_responses_and_ratings_has_no_say(name: str, drawn: Any, chance: Any) -> None:
    group = group_of(drawn)
    strategy = MODULES[name].load(**OPTIONS.get(name, {}))
    responses, ratings = list(group.responses), list(group.ratings)
    chance.shuffle(responses)
    chance.shuffle(ratings)
    turned = Group(group.instruction, tuple(responses), tuple(ratings), ())
    assert set(pairs([turned], strategy)) == set(pairs([group], strategy))


@pytest.mark.parametrize("name", NAMES)
def test_another_strategy_makes_other_pairs(name: str) -> None:
    """Ids say of which rule a pair is, so that two rules in one table never collide."""
    group = group_of([("m1", "a", (5, 5, 5)), ("m2", "bb", (1, 1, 1))])
    ids = {record.id for other in NAMES for record in pairs([group], MODULES[other].load(**OPTIONS.get(other, {})))
           if isinstance(record, PreferencePair)}  # fmt: skip
    assert len(ids) == len(NAMES)
