"""Rules that several strategies share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import combinations

from vlfeedback.pair._contract import Candidate, Decision

NO_RATING = "a rating is missing"


def compare(first: int, second: int, values: Sequence[Fraction | None]) -> Decision:
    """The higher value is chosen; equal ones tie, and a missing one decides nothing."""
    one, other = values[first], values[second]
    if one is None or other is None:
        return Decision(first, second, "incomplete", detail=NO_RATING)
    gap = difference(one, other)
    if not gap:
        return Decision(first, second, "tie")
    return Decision(first, second, None, gap) if gap.numerator > 0 else Decision(second, first, None, -gap)


def difference(one: Fraction, other: Fraction) -> Fraction:
    """`one - other`, remembered: ratings take few values, and most of the room's time would go into fractions."""
    denominator = one.denominator * other.denominator
    return _fraction(one.numerator * other.denominator - other.numerator * one.denominator, denominator)


@lru_cache(maxsize=4096)
def _fraction(numerator: int, denominator: int) -> Fraction:
    return Fraction(numerator, denominator)


def every_two(values: Sequence[Fraction | None]) -> Iterator[Decision]:
    """`compare` for all combinations."""
    return (compare(first, second, values) for first, second in combinations(range(len(values)), 2))


def whatever_ratings(chosen: int, rejected: int, candidates: Sequence[Candidate]) -> Decision:
    """A preference that no rating decided; the margin still says what the ratings think of it, and may be negative."""
    one, other = candidates[chosen].overall, candidates[rejected].overall
    return Decision(chosen, rejected, margin=None if one is None or other is None else difference(one, other))
