"""Control: the papers' rule on ratings that were dealt out again among the responses of the same instruction.

Why within the instruction: the same responses are compared, as many pairs form and as many tie as with the true ratings
(identical texts apart), and a pair's direction is right exactly as often as wrong. Training therefore sees the same
material in the same amount, and only what the judge knew is gone: what such a run gains was not gained from the judge.
Dealing ratings out across instructions would change how many tie, and would keep what is true of a pool model
everywhere: it asks how much of the gain is the models' style, and `strongest_as_best` asks that more plainly. Every
arrangement is as likely as every other, the true one included: forbidding it would turn the control into a judge that
is wrong on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vlfeedback.ids import hash_id
from vlfeedback.pair import Candidate, Decision, Example, Sketch, Strategy
from vlfeedback.pair._rules import every_two


@dataclass(frozen=True, slots=True)
class Shuffled:
    """`all_pairs` after the ratings have changed places."""

    seed: int
    aspects: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Identity with the seed."""
        return f"shuffled(seed={self.seed})"

    def decide(self, candidates: Sequence[Candidate]) -> Iterable[Decision]:
        """Compare every two by ratings that belong to two others, or by chance to themselves."""
        # By id on one side and by keyed hash on the other: the order of the table has no say in who gets what.
        places = sorted(range(len(candidates)), key=lambda place: candidates[place].response.id)
        dealt = sorted(places, key=lambda place: hash_id("shuffled", self.seed, candidates[place].response.id))
        values = [candidate.overall for candidate in candidates]
        for place, other in zip(places, dealt, strict=True):
            values[place] = candidates[other].overall
        return every_two(values)


def load(*, seed: int = 0) -> Strategy:
    """All combinations by ratings dealt out at random within each instruction.

    Args:
        seed: Another one deals differently.
    """
    return Shuffled(seed)


_FOUR = (
    Sketch("m1", "one", (1, 1, 1)),
    Sketch("m2", "two", (2, 2, 2)),
    Sketch("m3", "three", (2, 2, 2)),
    Sketch("m4", "four", (5, 5, None)),
)

EXAMPLES: tuple[Example, ...] = (
    Example(
        "as many pairs, ties and gaps as before",
        _FOUR,
        ("b>a", "c>a", "a|d incomplete", "b|c tie", "b|d incomplete", "c|d incomplete"),
    ),
    Example(
        "another seed deals differently",
        _FOUR,
        ("a|b incomplete", "a|c incomplete", "a|d incomplete", "b>c", "b|d tie", "d>c"),
        {"seed": 1},
    ),
)
