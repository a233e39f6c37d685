"""What a pair strategy is, and the small things that pass between it and the stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from vlfeedback.ids import response_id
from vlfeedback.records import Group, Instruction, Rating, Response

ASPECTS = ("Helpfulness", "Visual Faithfulness", "Ethical Considerations")
"""The aspects of the papers."""

DropReason = Literal["tie", "incomplete", "identical", "filtered"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A response with what its ratings add up to. Means are exact fractions, so that equal sums are equal means.

    Attributes:
        means: Mean rating of each aspect over the annotations that count (`_comparable.py`); an aspect without any is
            not there.
        overall: Unweighted mean of the aspects' means, or None if one of the aspects asked for is not there.
        annotation_ids: Annotations of the instruction.
    """

    response: Response
    means: Mapping[str, Fraction]
    overall: Fraction | None
    annotation_ids: tuple[str, ...] = ()


class Decision(NamedTuple):
    """What becomes of two candidates.

    Attributes:
        chosen: Place in the candidates; without preference, either of the two.
        rejected: Place of the other.
        reason: Why they form no pair; None if they do.
        margin: Difference of the ratings that decided, chosen − rejected, rating points; None if none did.
        detail: Free words on the reason.
    """

    chosen: int
    rejected: int
    reason: DropReason | None = None
    margin: Fraction | None = None
    detail: str = ""


class Strategy(Protocol):
    """A rule that makes pairs out of the candidates of one instruction.

    Attributes:
        name: Identity with all options that matter; part of a pair's id.
        aspects: Aspects it cannot do without; empty for those of the rubric, whatever they are.
    """

    @property
    def name(self) -> str: ...
    @property
    def aspects(self) -> tuple[str, ...]: ...

    def decide(self, candidates: Sequence[Candidate]) -> Iterable[Decision]:
        """At most one decision on each two candidates; what it does not mention is dropped as `filtered`."""
        ...


@runtime_checkable
class Surveying(Protocol):
    """A strategy that has to see all candidates of a run before it can decide on any."""

    def survey(self, groups: Iterable[Sequence[Candidate]]) -> Strategy:
        """The strategy to decide with."""
        ...


class Sketch(NamedTuple):
    """A response of an example: ratings in the order of `ASPECTS`, None for a missing one."""

    model: str
    text: str
    scores: tuple[int | None, ...]


class Example(NamedTuple):
    """Candidates and what becomes of every two of them; the contract tests run these for every strategy.

    Attributes:
        about: What the example shows.
        responses: Named a, b, c, … in this order.
        expected: For every two names either `a>b` (a chosen) or `a|b reason`.
        options: For `load`.
    """

    about: str
    responses: tuple[Sketch, ...]
    expected: tuple[str, ...]
    options: Mapping[str, object] = {}

    def group(self) -> Group:
        """The example as a group without pairs."""
        instruction = Instruction("0" * 32, "Describe the picture.", (), "example")
        responses: list[Response] = []
        ratings: list[Rating] = []
        for sketch in self.responses:
            name = response_id(instruction.id, sketch.model, None, sketch.text)
            responses.append(Response(name, instruction.id, sketch.model, sketch.text, "stop"))
            ratings += (Rating(name, aspect, score) for aspect, score in zip(ASPECTS, sketch.scores, strict=True))
        return Group(instruction, tuple(responses), tuple(ratings), ())
