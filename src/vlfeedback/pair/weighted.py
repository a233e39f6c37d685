"""Preferences by a weighted mean of the aspects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from typing import NamedTuple

from vlfeedback.errors import ConfigError
from vlfeedback.pair import Candidate, Decision, Example, Sketch, Strategy
from vlfeedback.pair._rules import every_two


class Weight(NamedTuple):
    """How much an aspect counts; weights sum to 1."""

    aspect: str
    share: Fraction


@dataclass(frozen=True, slots=True)
class Weighted:
    """Every two candidates with different weighted means form a pair."""

    weights: tuple[Weight, ...]
    name: str

    @property
    def aspects(self) -> tuple[str, ...]:
        """Those with a weight above 0."""
        return tuple(weight.aspect for weight in self.weights)

    def decide(self, candidates: Sequence[Candidate]) -> Iterable[Decision]:
        """Compare the weighted means of every two."""
        return every_two([self._value(candidate) for candidate in candidates])

    def _value(self, candidate: Candidate) -> Fraction | None:
        if any(weight.aspect not in candidate.means for weight in self.weights):
            return None
        return sum((weight.share * candidate.means[weight.aspect] for weight in self.weights), Fraction())


def load(*, weights: dict[str, float]) -> Strategy:
    """All combinations by a weighted mean.

    Args:
        weights: By aspect, ≥ 0, in any unit; only their ratios count. An aspect without weight may be missing.
    Raises:
        ConfigError: a weight is negative or no number, or all are 0.
    """
    for aspect, weight in weights.items():
        if not isfinite(weight) or weight < 0:
            raise ConfigError(f"[pair] weights: the weight of {aspect!r} must be a number of at least 0, not {weight}")
    # Read as written: 0.1 is a tenth here, and not the double next to it.
    exact = {aspect: Fraction(str(weight)) for aspect, weight in sorted(weights.items()) if weight > 0}
    if not exact:
        raise ConfigError("[pair] weights: give at least one aspect a weight above 0")
    total = sum(exact.values(), Fraction())
    shares = tuple(Weight(aspect, weight / total) for aspect, weight in exact.items())
    return Weighted(shares, f"weighted({', '.join(f'{weight.aspect}={weight.share}' for weight in shares)})")


_TWO = (Sketch("m1", "one", (5, 2, 5)), Sketch("m2", "two", (2, 4, None)), Sketch("m3", "three", (3, 3, 1)))

EXAMPLES: tuple[Example, ...] = (
    Example(
        "twice the weight, and an aspect without weight may be missing",
        _TWO,
        ("b>a", "a|c tie", "b>c"),
        {"weights": {"Helpfulness": 1.0, "Visual Faithfulness": 2.0, "Ethical Considerations": 0.0}},
    ),
    Example(
        "tenths are exact: 0.1 + 0.2 weighs as much as 0.3",
        (Sketch("m1", "one", (5, 5, 1)), Sketch("m2", "two", (1, 1, 5))),
        ("a|b tie",),
        {"weights": {"Helpfulness": 0.1, "Visual Faithfulness": 0.2, "Ethical Considerations": 0.3}},
    ),
)
