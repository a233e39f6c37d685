"""Item scores as numbers to compare: by metric and item, ratios such as F1 put together from two metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from vlfeedback.errors import BooksError, ConfigError
from vlfeedback.evaluate._contract import SUMMED
from vlfeedback.evaluate._digits import added
from vlfeedback.records import ItemScore


class Key(NamedTuple):
    """What may be compared: one metric under one protocol and judge."""

    benchmark: str
    protocol: str
    judge: str
    metric: str


class Value(NamedTuple):
    """A metric of one item: `over` counts, `under` is 1 but for ratios, where it is what is divided by."""

    over: float
    under: float
    cluster: str
    stratum: str


Values = dict[Key, dict[str, Value | None]]
"""By metric and item id; None where there is no value: a reply that does not exist, or one that has no verdict."""

RATIOS = frozenset({"f1", "relative"})
"""Metrics that are Σ over / Σ under; they are derived here, no item has one of its own."""


def values_of(scores: Iterable[ItemScore], *, parts: bool = False) -> Values:
    """Sort the item scores of one model by metric.

    Args:
        scores: Of one model, of any benchmarks.
        parts: Also the strata of sums and ratios, as `METRIC/STRATUM`.
    Raises:
        ConfigError: the scores are of several models.
        BooksError: an item has two values of one metric.
    """
    found: Values = {}
    models: set[str] = set()
    for score in scores:
        answer = score.answer
        models.add(answer.model)
        if len(models) > 1:
            raise ConfigError(
                f"a comparison is of one model with one other; one side holds {', '.join(sorted(models))}"
            )
        items = found.setdefault(Key(answer.benchmark, score.protocol, score.judge or "", score.metric), {})
        if answer.item_id in items:
            raise BooksError(f"item {answer.item_id} has two scores of {score.metric!r} by one model")
        items[answer.item_id] = None if score.value is None else Value(score.value, 1.0, answer.cluster, answer.stratum)
    found |= dict([*_f1(found), *_relative(found)])
    if parts:
        found |= dict(_parts(found))
    return found


def _f1(found: Values) -> Iterator[tuple[Key, dict[str, Value | None]]]:
    """F1 of POPE, from whether an answer was right and whether it was yes."""
    for key, items in found.items():
        said = found.get(key._replace(metric="yes_ratio"))
        if key.metric != "accuracy" or not key.benchmark.startswith("pope") or said is None:
            continue
        made: dict[str, Value | None] = {}
        for item, right in items.items():
            yes = said.get(item)
            if right is None or yes is None:
                made[item] = None
            else:
                hit, is_yes = right.over * yes.over, right.over == yes.over
                made[item] = right._replace(over=2 * hit, under=yes.over + is_yes)
        yield key._replace(metric="f1"), made


def _relative(found: Values) -> Iterator[tuple[Key, dict[str, Value | None]]]:
    """Points of an answer as a percentage of its reference's, from both: LLaVA-Bench's result is the ratio of sums."""
    for key, items in found.items():
        references = found.get(key._replace(metric="reference"))
        if key.metric != "points" or references is None:
            continue
        made: dict[str, Value | None] = {}
        for item, points in items.items():
            other = references.get(item)
            made[item] = points and other and points._replace(over=100 * points.over, under=other.over)
        yield key._replace(metric="relative"), made


def _parts(found: Values) -> Iterator[tuple[Key, dict[str, Value | None]]]:
    for key, items in found.items():
        if key.metric in SUMMED or key.metric in RATIOS:
            strata = {value.stratum for value in items.values() if value is not None}
            for name in sorted(strata) if key.metric in SUMMED or len(strata) > 1 else ():
                part = {item: value for item, value in items.items() if value is not None and value.stratum == name}
                yield key._replace(metric=f"{key.metric}/{name}"), dict[str, Value | None](part)


def averaged(runs: Sequence[Values]) -> Values:
    """One side's values over its seeds: the mean of every item, where the seeds have the same items.

    Seeds that asked different items (another draw of the world) are laid side by side instead, as so many more items.
    An item that lacks a value in one seed has none.
    """
    if len(runs) == 1:
        return runs[0]
    made: Values = {}
    for key in runs[0]:
        each = [one.get(key, {}) for one in runs]
        if any(one.keys() != each[0].keys() for one in each):
            made[key] = {
                f"{seed}:{item}": value and value._replace(cluster=f"{seed}:{value.cluster}")
                for seed, one in enumerate(each)
                for item, value in one.items()
            }
            continue
        made[key] = {item: _mean([one[item] for one in each]) for item in each[0]}
    return made


def _mean(values: Sequence[Value | None]) -> Value | None:
    there = [value for value in values if value is not None]
    if len(there) < len(values):
        return None
    count = len(there)
    return there[0]._replace(
        over=added(value.over for value in there) / count, under=added(value.under for value in there) / count
    )
