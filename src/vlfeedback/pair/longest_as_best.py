"""Control: the longest response is chosen, whatever the judge said. What it gains, length alone gains.

Source:
    Silkie (arXiv:2312.10665), control "Longest as Best".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from vlfeedback.pair import Candidate, Decision, Example, Sketch, Strategy
from vlfeedback.pair._rules import whatever_ratings


@dataclass(frozen=True, slots=True)
class LongestAsBest:
    """The response of most characters against each of the others."""

    name: str = "longest_as_best"
    aspects: tuple[str, ...] = ()

    def decide(self, candidates: Sequence[Candidate]) -> Iterator[Decision]:
        """Pairs of a longest and a shorter one; two longest ones tie, two shorter ones are filtered."""
        lengths = [len(candidate.response.text) for candidate in candidates]
        longest = max(lengths)
        for first, second in combinations(range(len(lengths)), 2):
            ends = (lengths[first] == longest, lengths[second] == longest)
            if ends == (True, True):
                yield Decision(first, second, "tie", detail="both are the longest")
            elif any(ends):
                chosen, rejected = (first, second) if ends[0] else (second, first)
                yield whatever_ratings(chosen, rejected, candidates)
            else:
                yield Decision(first, second, "filtered", detail="neither is the longest")


def load() -> Strategy:
    """The longest response, in characters, is chosen; ratings do not matter and may be missing."""
    return LongestAsBest()


EXAMPLES: tuple[Example, ...] = (
    Example(
        "the longest wins against better ones, rated or not",
        (Sketch("m1", "the longest", (1, 1, 1)), Sketch("m2", "short", (5, 5, 5)), Sketch("m3", "tiny", (None,) * 3)),
        ("a>b", "a>c", "b|c filtered"),
    ),
    Example(
        "two longest ones tie",
        (Sketch("m1", "abcd", (1, 1, 1)), Sketch("m2", "wxyz", (5, 5, 5)), Sketch("m3", "abc", (5, 5, 5))),
        ("a|b tie", "a>c", "b>c"),
    ),
)
