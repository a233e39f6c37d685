"""What a rubric is, and the small things that pass between it and the stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from vlfeedback.records import AnnotationStatus, Instruction, Rating, Request, Response

if TYPE_CHECKING:
    from vlfeedback.models import Model


class Answered(NamedTuple):
    """An instruction with its responses; decode's stage hands on objects with the same two attributes."""

    instruction: Instruction
    responses: tuple[Response, ...]


class Waiting(NamedTuple):
    """An instruction that is not to be judged yet: so many responses to it may still come (docs/decisions/0082)."""

    instruction: Instruction
    missing: int


class Cell(NamedTuple):
    """What one rating is of."""

    response_id: str
    aspect: str


class Parsed(NamedTuple):
    """What a rubric found in a reply.

    Attributes:
        ratings: At most one per cell; a cell that was seen without a readable score has `score=None`.
        unfinished: The cell in which the reply ends: not complete if the reply was cut off there.
        problems: What was found that is no rating, in words, for whoever mends a parser or a prompt.
    """

    ratings: tuple[Rating, ...]
    unfinished: Cell | None = None
    problems: tuple[str, ...] = ()


class Rubric(Protocol):
    """What is judged, how it is asked for and how a reply is read. Both functions are pure: same in, same out.

    Attributes:
        name: Name of the plug-in.
        version: Changes with anything that can change a judge's reply.
        parser: Changes with anything that can change what is read from the same reply.
        aspects: Names, each once.
        scale: Lowest and highest score, both possible.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def parser(self) -> str: ...
    @property
    def aspects(self) -> tuple[str, ...]: ...
    @property
    def scale(self) -> tuple[int, int]: ...

    def render(self, instruction: Instruction, responses: Sequence[Response], order: Sequence[str]) -> Request:
        """The question to the judge, with all pictures; the stage sets sampling and recipe.

        Args:
            order: Response ids in the order in which the judge shall see them.
        """
        ...

    def parse(self, text: str, order: Sequence[str]) -> Parsed:
        """Read a reply to a question in that order. Any text gives a result; ratings are keyed by response id."""
        ...


class Judge(NamedTuple):
    """A model that rates."""

    model: Model


class Example(NamedTuple):
    """A reply and what must be read from it; the contract tests run these for every rubric.

    Attributes:
        about: What the example shows.
        reply: The judge's text on as many responses as `scores` has rows.
        scores: One row per response as shown, one column per aspect of the rubric.
        status: Of the annotation.
        finish: How the reply ended.
        options: For `load`.
    """

    about: str
    reply: str
    scores: tuple[tuple[int | None, ...], ...]
    status: AnnotationStatus = "ok"
    finish: Literal["stop", "length", "content_filter", "refused"] = "stop"
    options: Mapping[str, object] = {}


def rubric_name(rubric: Rubric) -> str:
    """Name and version of a rubric, as annotations carry it."""
    return f"{rubric.name}@{rubric.version}"
