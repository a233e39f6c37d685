"""Preferences by one aspect alone; the others may be missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vlfeedback.pair import Candidate, Decision, Example, Sketch, Strategy
from vlfeedback.pair._rules import every_two


@dataclass(frozen=True, slots=True)
class SingleAspect:
    """Every two candidates with different mean ratings of one aspect form a pair."""

    aspect: str

    @property
    def name(self) -> str:
        """Identity with the aspect."""
        return f"single_aspect(aspect={self.aspect})"

    @property
    def aspects(self) -> tuple[str, ...]:
        """The one it needs."""
        return (self.aspect,)

    def decide(self, candidates: Sequence[Candidate]) -> Iterable[Decision]:
        """Compare the aspect's means of every two."""
        return every_two([candidate.means.get(self.aspect) for candidate in candidates])


def load(*, aspect: str) -> Strategy:
    """All combinations by one aspect.

    Args:
        aspect: Its name in the rubric, such as "Visual Faithfulness".
    """
    return SingleAspect(aspect)


EXAMPLES: tuple[Example, ...] = (
    Example(
        "the other aspects neither decide nor have to be there",
        (Sketch("m1", "one", (1, 5, None)), Sketch("m2", "two", (5, 2, 5)), Sketch("m3", "three", (4, 2, 4))),
        ("a>b", "a>c", "b|c tie"),
        {"aspect": "Visual Faithfulness"},
    ),
    Example(
        "its own rating has to be there",
        (Sketch("m1", "one", (None, 5, 5)), Sketch("m2", "two", (1, 1, 1))),
        ("a|b incomplete",),
        {"aspect": "Helpfulness"},
    ),
)
