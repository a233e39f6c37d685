"""The papers' rule: all combinations, the higher unweighted mean of the aspects is chosen, ties and gaps are dropped.

Source:
    VLFeedback (arXiv:2410.09421), construction of preference pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vlfeedback.pair import Candidate, Decision, Example, Sketch, Strategy
from vlfeedback.pair._rules import every_two


@dataclass(frozen=True, slots=True)
class AllPairs:
    """Every two complete candidates of different mean rating form a pair."""

    name: str = "all_pairs"
    aspects: tuple[str, ...] = ()

    def decide(self, candidates: Sequence[Candidate]) -> Iterable[Decision]:
        """Compare the overall means of every two."""
        return every_two([candidate.overall for candidate in candidates])


def load() -> Strategy:
    """The papers' rule; it has no options."""
    return AllPairs()


EXAMPLES: tuple[Example, ...] = (
    Example(
        "the higher mean is chosen; equal sums tie, in whatever order they are added",
        (Sketch("m1", "one", (4, 4, 5)), Sketch("m2", "two", (5, 4, 4)), Sketch("m3", "three", (1, 2, 5))),
        ("a|b tie", "a>c", "b>c"),
    ),
    Example(
        "a missing rating is no low rating",
        (Sketch("m1", "one", (1, None, 1)), Sketch("m2", "two", (5, 5, 5)), Sketch("m3", "three", (2, 2, 2))),
        ("a|b incomplete", "a|c incomplete", "b>c"),
    ),
    Example(
        "equal texts form no pair, whatever the judge said of them",
        (Sketch("m1", "same", (5, 5, 5)), Sketch("m2", "same", (1, 1, 1)), Sketch("m3", "other", (3, 3, 3))),
        ("a|b identical", "a>c", "c>b"),
    ),
    Example("one response alone forms none", (Sketch("m1", "one", (5, 5, 5)),), ()),
)
