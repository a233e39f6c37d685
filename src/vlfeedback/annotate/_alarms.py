"""Signs that ratings come from something other than looking: places worth a look, never a verdict.

Known cases elsewhere: a parser that matched its own prompt gave every response the same score, and a rescaling turned
thousands of the worst scores into the best; people found both in a viewer, after models had been trained on them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from math import sqrt
from typing import Any, Literal, NamedTuple

from vlfeedback.records import Annotation, Rating

LEAST = 50
"""Ratings below which a slice is too small to say anything."""

CONSTANT = 0.98
"""Share of one score from which a slice counts as constant. Ethics outside red-team data: 0.79 in the released data."""

MASS = 0.2
"""Share of one score above the rest's share from which a place or a stretch of time stands out."""

MISSING = 0.1
"""Share of missing ratings, likewise."""

SURE = 5.0
"""Standard errors that a difference of two shares must have."""

STRETCH = 200
"""Annotations of one judge that follow each other and are counted together."""

RATED = (
    "judge", "order", "ratings.list.element.response_id", "ratings.list.element.aspect",
    "ratings.list.element.score",
)  # fmt: skip
"""Columns of annotations that `alarms_in` needs; `BY_MODEL` those of responses."""
BY_MODEL = ("id", "model")

By = Literal["all", "model", "position", "time"]


class Slice(NamedTuple):
    """Ratings of one judge on one aspect that have something in common.

    Attributes:
        by: What they have in common.
        name: Pool model, place in the order from 1, or numbers of the annotations as they lie in the table.
    """

    judge: str
    aspect: str
    by: By = "all"
    name: str = ""


class Alarm(NamedTuple):
    """One thing worth a look.

    Attributes:
        kind: `constant`: nearly all scores are equal. `mass`: one score is far more frequent than elsewhere. `missing`:
            many ratings are missing.
        where: The slice it is about.
        score: The score in question; None for `missing`.
        share: Of the slice, 0 to 1.
        usual: The same share outside the slice; equal to `share` where the slice is everything.
        n: Ratings in the slice: scored ones, for `missing` all.
    """

    kind: Literal["constant", "mass", "missing"]
    where: Slice
    score: int | None
    share: float
    usual: float
    n: int

    def __str__(self) -> str:
        judge, aspect, by, name = self.where
        place = {"all": "", "model": f" of {name}", "position": f" at place {name}", "time": f" of annotations {name}"}[
            by
        ]
        what = "have no score" if self.score is None else f"are {self.score}"
        usual = "" if by == "all" else f", elsewhere {self.usual:.0%}"
        return f"{self.kind}: {self.share:.0%} of {self.n} ratings of {aspect}{place} by {judge} {what}{usual}"


Counts = defaultdict[Slice, Counter[int | None]]
"""How often each score was given, None for a missing one."""


def alarms(annotations: Iterable[Annotation], models: Mapping[str, str]) -> list[Alarm]:
    """Look through all ratings once.

    Models differ in truth, so one score may well be frequent with one of them; only a constant score of a model stands
    out. Places and stretches of time should not differ: with hashed orders every response can stand anywhere.

    Args:
        annotations: As they lie in the table, which is the order in which the replies came.
        models: Pool model by response id; responses that are not in it are not counted by model.
    Returns:
        Alarms, the largest share first.
    """
    counts: Counts = defaultdict(Counter)
    seen: Counter[str] = Counter()
    for annotation in annotations:
        stretch = seen[annotation.judge] // STRETCH * STRETCH
        seen[annotation.judge] += 1
        places = {response: str(place) for place, response in enumerate(annotation.order or (), 1)}
        for rating in annotation.ratings:
            for by, name in _slices(rating, places, models, f"{stretch + 1} to {stretch + STRETCH}"):
                counts[Slice(annotation.judge, rating.aspect, by, name)][rating.score] += 1
    return _all(counts)


def alarms_in(annotations: Iterable[Any], responses: Iterable[Any]) -> list[Alarm]:
    """The same of tables, some hundred times as fast.

    Args:
        annotations: Arrow batches with the columns `RATED`, as they lie in the table.
        responses: Likewise with `BY_MODEL`.
    """
    from vlfeedback.annotate._alarm_counts import counted

    return _all(counted(annotations, responses))


def _all(counts: Counts) -> list[Alarm]:
    found: list[Alarm] = []
    for where, count in counts.items():
        everything = counts[Slice(where.judge, where.aspect)]
        found += _of_slice(where, count, everything)
    return sorted(found, key=lambda alarm: (-alarm.share, alarm.where, alarm.kind))


class _Place(NamedTuple):
    by: By
    name: str


def _slices(rating: Rating, places: Mapping[str, str], models: Mapping[str, str], stretch: str) -> Iterator[_Place]:
    yield _Place("all", "")
    yield _Place("time", stretch)
    if rating.response_id in places:
        yield _Place("position", places[rating.response_id])
    if rating.response_id in models:
        yield _Place("model", models[rating.response_id])


def _of_slice(where: Slice, count: Counter[int | None], everything: Counter[int | None]) -> Iterator[Alarm]:
    every, n = count.total(), count.total() - count[None]
    whole = where.by == "all"
    rest = everything if whole else everything - count
    if every >= LEAST and _stands_out(count[None], every, 0 if whole else rest[None], rest.total(), MISSING):
        share = count[None] / every
        yield Alarm("missing", where, None, share, _share(rest[None], rest.total()), every)
    if n < LEAST:
        return
    others = rest.total() - rest[None]
    for score in sorted(score for score in count if score is not None):
        share, usual = count[score] / n, _share(rest[score], others)
        if where.by in ("all", "model"):
            # Where everything is constant, that is said once and not again of every model.
            if share >= CONSTANT and (whole or usual < CONSTANT):
                yield Alarm("constant", where, score, share, usual, n)
        elif _stands_out(count[score], n, rest[score], others, MASS):
            yield Alarm("mass", where, score, share, usual, n)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _stands_out(part: int, whole: int, part_of_rest: int, rest: int, least: float) -> bool:
    """Whether a share lies above the rest's by at least `least` and by `SURE` standard errors."""
    gap = _share(part, whole) - _share(part_of_rest, rest)
    if gap < least or rest == 0:
        return False
    pooled = (part + part_of_rest) / (whole + rest)
    return gap >= SURE * sqrt(pooled * (1 - pooled) * (1 / whole + 1 / rest))
