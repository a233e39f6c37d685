"""Which ratings may be averaged: those of annotations that rate the same responses.

One judge is strict and another is kind. Where one of them has no score for one of the responses, a mean over what is
there would be that of other judges than its neighbour's, and a missing rating would work like a high or a low one: it
would turn pairs round, some of them against what both judges say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from vlfeedback.records import Group, Rating


class Scale(NamedTuple):
    """Lowest and highest score; one outside is as good as none."""

    low: int
    high: int


def comparable(group: Group, scale: Scale) -> Iterable[Rating]:
    """The ratings of a group that have a score and that count.

    Where every response is rated equally often on an aspect, as in annotations of this program, the n-th ratings are of
    one annotation. Counted are those on the most responses that any annotation rates all of, by all annotations that
    do so. Elsewhere (rows of an import that share some responses) nothing says what belongs together, and all count.
    """
    scored = _scored(group.ratings, scale)
    return scored if len(scored) == len(group.ratings) else _alike(group, scale)


def _scored(ratings: Iterable[Rating], scale: Scale) -> list[Rating]:
    low, high = scale
    return [rating for rating in ratings if rating.score is not None and low <= rating.score <= high]


def _alike(group: Group, scale: Scale) -> Iterator[Rating]:
    given: dict[str, dict[str, list[Rating]]] = {}
    for rating in group.ratings:
        given.setdefault(rating.aspect, {}).setdefault(rating.response_id, []).append(rating)
    for by_response in given.values():
        columns = list(by_response.values())
        if len(columns) == len(group.responses) and len({len(column) for column in columns}) == 1:
            yield from _together(list(zip(*columns, strict=True)), scale)
        else:
            yield from (rating for column in columns for rating in _scored(column, scale))


def _together(turns: Sequence[tuple[Rating, ...]], scale: Scale) -> Iterator[Rating]:
    """What counts of the ratings of one aspect, each turn being one annotation's of all responses."""
    rated = [frozenset(rating.response_id for rating in _scored(turn, scale)) for turn in turns]

    def weight(responses: frozenset[str]) -> tuple[int, int, list[str]]:
        # By name in the end: the order in which judges replied has no say.
        return len(responses), sum(responses <= other for other in rated), sorted(responses)

    most = max(rated, key=weight)
    for turn, responses in zip(turns, rated, strict=True):
        if most <= responses:
            yield from (rating for rating in turn if rating.response_id in most)
