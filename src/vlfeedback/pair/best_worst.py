"""Only the widest gap of each instruction: its best against its worst response."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from vlfeedback.pair import Candidate, Decision, Example, Sketch, Strategy
from vlfeedback.pair._rules import compare


@dataclass(frozen=True, slots=True)
class BestWorst:
    """Every candidate of the highest mean against every candidate of the lowest."""

    name: str = "best_worst"
    aspects: tuple[str, ...] = ()

    def decide(self, candidates: Sequence[Candidate]) -> Iterator[Decision]:
        """Compare every two, and keep those that lie as far apart as any."""
        values = [candidate.overall for candidate in candidates]
        known = [value for value in values if value is not None]
        widest = max(known) - min(known) if known else None
        for first, second in combinations(range(len(values)), 2):
            decision = compare(first, second, values)
            if decision.margin is not None and decision.margin != widest:
                decision = Decision(first, second, "filtered", detail="not the widest gap")
            yield decision


def load() -> Strategy:
    """Best against worst of those that are rated; where several share the highest or lowest mean, all of them."""
    return BestWorst()


EXAMPLES: tuple[Example, ...] = (
    Example(
        "one pair of four responses",
        (
            Sketch("m1", "one", (3, 3, 3)),
            Sketch("m2", "two", (1, 1, 1)),
            Sketch("m3", "three", (5, 5, 5)),
            Sketch("m4", "four", (4, 4, 4)),
        ),
        ("a|b filtered", "a|c filtered", "a|d filtered", "c>b", "b|d filtered", "c|d filtered"),
    ),
    Example(
        "two share the highest mean, and one is not rated",
        (
            Sketch("m1", "one", (5, 5, 5)),
            Sketch("m2", "two", (5, 5, 5)),
            Sketch("m3", "three", (2, 2, 2)),
            Sketch("m4", "four", (1, 1, None)),
        ),
        ("a|b tie", "a>c", "a|d incomplete", "b>c", "b|d incomplete", "c|d incomplete"),
    ),
    Example(
        "all equal",
        (Sketch("m1", "one", (2, 2, 2)), Sketch("m2", "two", (2, 2, 2))),
        ("a|b tie",),
    ),
)
