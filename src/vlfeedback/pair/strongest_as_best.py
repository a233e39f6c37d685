"""Control: the response of the strongest pool model is chosen, whatever the judge said. What it gains, style gains.

Source:
    Silkie (arXiv:2312.10665), control "GPT-4V as Best".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from vlfeedback.errors import DataError
from vlfeedback.pair import Candidate, Decision, Example, Sketch, Strategy, Surveying
from vlfeedback.pair._rules import whatever_ratings


@dataclass(frozen=True, slots=True)
class ModelAsBest:
    """Responses of one model against each of the others; instructions it did not answer give no pair."""

    model: str
    aspects: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Identity with the model."""
        return f"strongest_as_best(model={self.model})"

    def decide(self, candidates: Sequence[Candidate]) -> Iterator[Decision]:
        """Pairs of the model's response and another's; two of its own tie, two of others are filtered."""
        mine = [candidate.response.model == self.model for candidate in candidates]
        for first, second in combinations(range(len(mine)), 2):
            if mine[first] and mine[second]:
                yield Decision(first, second, "tie", detail="both are of the strongest model")
            elif mine[first] or mine[second]:
                chosen, rejected = (first, second) if mine[first] else (second, first)
                yield whatever_ratings(chosen, rejected, candidates)
            else:
                yield Decision(first, second, "filtered", detail="neither is of the strongest model")


@dataclass(frozen=True, slots=True)
class StrongestAsBest:
    """Finds the model first; see `ModelAsBest` for the rule."""

    def survey(self, groups: Iterable[Sequence[Candidate]]) -> Strategy:
        """The rule for the model whose complete responses have the highest mean rating; the first by name of equals.

        Raises:
            DataError: no response is complete.
        """
        sums: defaultdict[str, Fraction] = defaultdict(Fraction)
        counts: defaultdict[str, int] = defaultdict(int)
        for candidates in groups:
            for candidate in candidates:
                if candidate.overall is not None:
                    sums[candidate.response.model] += candidate.overall
                    counts[candidate.response.model] += 1
        if not counts:
            raise DataError("strongest_as_best: no response has all its ratings; annotate first, or name the model")
        return ModelAsBest(min(counts, key=lambda model: (-sums[model] / counts[model], model)))


def load(*, model: str | None = None) -> Strategy | Surveying:
    """The strongest model's response is chosen; ratings do not matter beyond finding that model.

    Args:
        model: Full identity of a pool model, as in `Response.model`; the one with the best mean rating if left out.
    """
    return StrongestAsBest() if model is None else ModelAsBest(model)


_POOL = (Sketch("weak", "one", (4, 4, 4)), Sketch("strong", "two", (5, 5, 4)), Sketch("weak", "three", (None,) * 3))

EXAMPLES: tuple[Example, ...] = (
    Example("the model with the best mean rating is found", _POOL, ("b>a", "a|c filtered", "b>c")),
    Example("or named, even a weak one", _POOL, ("a>b", "a|c tie", "c>b"), {"model": "weak"}),
)
