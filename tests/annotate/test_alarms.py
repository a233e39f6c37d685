"""Signs of ratings that come from something other than looking."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from vlfeedback import tables
from vlfeedback.annotate import BY_MODEL, RATED, Alarm, _alarms, alarms, alarms_in
from vlfeedback.ids import hash_id
from vlfeedback.records import Annotation, Rating, Response

POOL = ["strong", "middling", "weak", "worst"]
TYPICAL = {"strong": (1, 1, 2, 6, 10), "middling": (4, 4, 4, 5, 4), "weak": (8, 4, 3, 3, 2), "worst": (15, 2, 1, 1, 1)}
"""Weights of the scores 1 to 5 by model; as far apart as those of the released data."""

Spoil = Callable[[int, int, str, int | None], int | None]  # annotation, place, model, true score → score given


def table(spoil: Spoil, count: int = 1000, seed: int = 7) -> tuple[list[Annotation], dict[str, str]]:
    chance = random.Random(seed)
    models: dict[str, str] = {}
    found: list[Annotation] = []
    for number in range(count):
        order = chance.sample(POOL, 4)
        ratings: list[Rating] = []
        for place, model in enumerate(order, 1):
            models[f"{number}/{model}"] = model
            (score,) = chance.choices((1, 2, 3, 4, 5), TYPICAL[model])
            ratings.append(Rating(f"{number}/{model}", "Helpfulness", spoil(number, place, model, score)))
        ids = tuple(f"{number}/{model}" for model in order)
        found.append(Annotation(str(number), str(number), "judge", "r", ids, "ok", tuple(ratings), "c"))
    return found, models


def kinds(spoil: Spoil) -> set[tuple[str, str, str, int | None]]:
    return {(a.kind, a.where.by, a.where.name, a.score) for a in alarms(*table(spoil))}


def test_true_differences_between_models_are_quiet() -> None:
    assert alarms(*table(lambda _n, _p, _m, score: score)) == []


def test_one_score_for_everything_is_said_once() -> None:
    """Seen elsewhere: every score was 5, taken from the prompt."""
    (alarm,) = alarms(*table(lambda *_: 5))
    assert (alarm.kind, alarm.where.by, alarm.score, alarm.share, alarm.n) == ("constant", "all", 5, 1.0, 4000)
    assert str(alarm) == "constant: 100% of 4000 ratings of Helpfulness by judge are 5"


def test_one_score_for_one_model() -> None:
    assert kinds(lambda _n, _p, model, score: 5 if model == "worst" else score) == {("constant", "model", "worst", 5)}


def test_a_place_that_is_liked_too_well() -> None:
    found = kinds(lambda number, place, _m, score: 5 if place == 1 and number % 2 else score)
    assert found == {("mass", "position", "1", 5)}


def test_a_stretch_of_time_with_one_score() -> None:
    """A judge that goes astray half way through a run."""
    found = kinds(lambda number, _p, _m, score: 1 if 400 <= number < 600 else score)
    assert found == {("mass", "time", "401 to 600", 1)}


def test_missing_ratings_at_a_place_and_everywhere() -> None:
    found = kinds(lambda number, place, _m, score: None if place == 4 and number % 2 else score)
    assert ("missing", "position", "4", None) in found
    assert ("missing", "all", "", None) in found


def test_few_ratings_say_nothing() -> None:
    assert alarms(*table(lambda *_: 5, count=12)) == []


def test_chance_is_quiet() -> None:
    """With 55 annotations a place differs from the others by a fifth now and then."""
    assert [alarm for seed in range(150) for alarm in alarms(*table(lambda _n, _p, _m, score: score, 55, seed))] == []


def test_alarms_speak() -> None:
    (alarm,) = (a for a in alarms(*table(lambda n, p, _m, score: 5 if p == 2 and n % 2 else score)) if a.kind == "mass")
    assert isinstance(alarm, Alarm)
    assert "at place 2 by judge are 5, elsewhere" in str(alarm)


def by_column(folder: Path, annotations: list[Annotation], models: dict[str, str]) -> list[Alarm]:
    """The alarms of the same records, read from tables."""
    responses = [Response(one, "i", model, "text", "stop") for one, model in models.items()]
    rated, named = folder / "annotations.parquet", folder / "responses.parquet"
    tables.write(rated, Annotation, annotations, room="annotate")
    tables.write(named, Response, responses, room="decode")
    return alarms_in(tables.batches(rated, RATED), tables.batches(named, BY_MODEL))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda n, p, _m, score: 5 if p == 2 and n % 2 else score,
        lambda n, _p, _m, score: 1 if 400 <= n < 600 else score,
        lambda _n, _p, model, score: 5 if model == "worst" else score,
        lambda n, p, _m, score: None if p == 4 and n % 2 else score,
    ],
)
def test_by_the_column_the_same_is_found(tmp_path: Path, spoil: Spoil) -> None:
    annotations, models = table(spoil)
    assert by_column(tmp_path, annotations, models) == alarms(annotations, models) != []


RATINGS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("ab"), st.none() | st.integers(-2, 9)), max_size=5)
ORDERS = st.none() | st.lists(st.integers(0, 4), max_size=4, unique=True)


@given(st.lists(st.tuples(st.sampled_from(["j", "k"]), ORDERS, RATINGS), max_size=12), st.booleans())
def test_by_the_column_every_count_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, list[int] | None, list]], own: bool
) -> None:
    """Orders that are unknown, responses that are not there, ids of any length, stretches of two."""
    names = [hash_id("response", str(n)) if own or n % 2 else f"r{n}" for n in range(5)]
    annotations = [
        Annotation(
            str(number), str(number), judge, "r", None if order is None else tuple(names[n] for n in order), "ok",
            tuple(Rating(names[n], aspect, score) for n, aspect, score in ratings), "c",
        )
        for number, (judge, order, ratings) in enumerate(rows)
    ]  # fmt: skip
    models = dict(zip(names, itertools.cycle(["x", "y"]), strict=False))
    del models[names[2]]
    found: list[dict] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_alarms, "STRETCH", 2)
        patch.setattr("vlfeedback.annotate._alarm_counts.STRETCH", 2)
        patch.setattr(_alarms, "_all", lambda counts: found.append({k: v for k, v in counts.items() if v}) or [])
        alarms(annotations, models)
        by_column(tmp_path_factory.mktemp("counts"), annotations, models)
    assert found[0] == found[1]
