"""The papers' rule for differences that are large enough to trust."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from vlfeedback.errors import ConfigError
from vlfeedback.pair import Candidate, Decision, Example, Sketch, Strategy
from vlfeedback.pair._rules import every_two


@dataclass(frozen=True, slots=True)
class Margin:
    """Every two complete candidates whose means differ by at least `least` form a pair."""

    least: Fraction
    name: str
    aspects: tuple[str, ...] = ()

    def decide(self, candidates: Sequence[Candidate]) -> Iterator[Decision]:
        """Compare the overall means of every two; ties stay ties, smaller differences are filtered."""
        for decision in every_two([candidate.overall for candidate in candidates]):
            margin = decision.margin
            if margin is None or margin >= self.least:
                yield decision
            else:
                detail = f"the ratings differ by {float(margin):.3g} only"
                yield Decision(decision.chosen, decision.rejected, "filtered", detail=detail)


def load(*, min: float = 1.0) -> Strategy:
    """All combinations that differ by enough.

    Args:
        min: Least difference of mean ratings, rating points, > 0; that much is enough. A third of a point, the smallest
            step of a mean of three whole numbers, is a little more than 0.33.
    Raises:
        ConfigError: `min` is not above 0.
    """
    if not 0 < min < float("inf"):
        raise ConfigError(f"[pair] min must be above 0, not {min}; use all_pairs for every difference")
    return Margin(Fraction(str(min)), f"margin(min={min})")


_CLOSE = (Sketch("m1", "one", (4, 4, 4)), Sketch("m2", "two", (3, 3, 3)), Sketch("m3", "three", (4, 3, 3)))

EXAMPLES: tuple[Example, ...] = (
    Example("a whole point is enough for a whole point", _CLOSE, ("a>b", "a|c filtered", "b|c filtered")),
    Example("a third of a point is above 0.33", _CLOSE, ("a>b", "a>c", "c>b"), {"min": 0.33}),
    Example(
        "ties and gaps keep their own reasons",
        (Sketch("m1", "one", (3, 3, 3)), Sketch("m2", "two", (3, 3, 3)), Sketch("m3", "three", (5, 5, None))),
        ("a|b tie", "a|c incomplete", "b|c incomplete"),
    ),
)
