"""Room 3 of 7: responses × judge × rubric → annotations.

A judge is any model; a rubric turns an instruction and its responses into a question and a reply into ratings. The
stage does what no rubric may forget: it decides the order and records it, checks that every picture is in the
question, counts ratings against responses × aspects, and never makes a rating out of a missing one.
"""

# The stage bears the name of the table it makes, which is also the name of this import.
from __future__ import annotations  # pyright: ignore[reportAssignmentType]

import contextlib
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, cast

from vlfeedback import flow
from vlfeedback.annotate._alarms import BY_MODEL, RATED, Alarm, Slice, alarms, alarms_in
from vlfeedback.annotate._books import Books, tally
from vlfeedback.annotate._contract import Answered, Cell, Example, Judge, Parsed, Rubric, Waiting, rubric_name
from vlfeedback.annotate._reply import read_reply
from vlfeedback.annotate._silent import Silent
from vlfeedback.errors import ConfigError, PluginError
from vlfeedback.ids import hash_id
from vlfeedback.models._kept import Kept, Shelf
from vlfeedback.records import Annotation, Dropped, Generation, Instruction, Request, Response, Sampling

__all__ = [
    "BY_MODEL",
    "RATED",
    "Alarm",
    "Answered",
    "Books",
    "Cell",
    "Example",
    "Judge",
    "Order",
    "Parsed",
    "Rubric",
    "Silent",
    "Slice",
    "Waiting",
    "alarms",
    "alarms_in",
    "annotations",
    "orders_of",
    "read_reply",
    "rubric_name",
    "tally",
]

Order = Literal["hashed", "texts", "fixed"]


class _Task(NamedTuple):
    """One question to one judge."""

    instruction_id: str
    judge: Judge
    turn: int
    order: tuple[str, ...]
    request: Request


class _Asked(NamedTuple):
    """A question with its reply."""

    task: _Task
    generation: Generation
    key: str | None = None


@dataclass(frozen=True, slots=True)
class _Round:
    """What is the same for all questions of a run."""

    judges: tuple[Judge, ...]
    rubric: Rubric
    orders: int
    order: Order
    sampling: Sampling
    recipe: str
    top_logprobs: int | None

    def questions(self, answered: Iterable[Answered | Waiting]) -> Generator[_Task | Dropped, None, None]:
        """All questions, in the order of the instructions."""
        # Leaving this room early must leave the room above it too, now and not when it is collected.
        above = cast("Generator[Answered | Waiting, Any, Any]", answered) if isinstance(answered, Generator) else None
        with contextlib.closing(above) if above is not None else contextlib.nullcontext():
            for each in answered:
                if isinstance(each, Waiting):
                    yield from self._not_yet(each)
                else:
                    yield from self._on(each.instruction, each.responses)

    def _not_yet(self, each: Waiting) -> Iterator[Dropped]:
        """Judged now, it would be judged and paid once more when the missing responses are there."""
        for judge in self.judges:
            for turn in range(self.orders):
                name = _record_id(each.instruction.id, judge, turn)
                yield Dropped("annotate", name, "waiting", f"{each.missing} responses may still come")

    def _on(self, instruction: Instruction, responses: Sequence[Response]) -> Iterator[_Task | Dropped]:
        problem = _unusable(instruction, responses)
        shown = orders_of(responses, self.orders, self.order) if problem is None else ()
        # All questions on one instruction follow each other: an endpoint's prefix cache still holds the picture.
        for judge in self.judges:
            for turn in range(self.orders):
                if problem is not None:
                    yield Dropped("annotate", _record_id(instruction.id, judge, turn), problem.reason, problem.detail)
                    continue
                request = _question(self.rubric, instruction, responses, shown[turn])
                asked = self._asked(request, judge, turn // len(responses))
                yield _Task(instruction.id, judge, turn, shown[turn], asked)

    def _asked(self, request: Request, judge: Judge, index: int) -> Request:
        """A question as it is sent, for the so-manieth time; a judge that wants its pictures prepared says how."""
        recipe = getattr(judge.model, "recipe", self.recipe)
        sampling = replace(self.sampling, sample_index=index) if index else self.sampling
        top = request.top_logprobs if self.top_logprobs is None else self.top_logprobs
        return replace(request, sampling=sampling, purpose="annotate", recipe=recipe, top_logprobs=top)


def annotations(
    answered: Iterable[Answered | Waiting],
    judges: Sequence[Judge],
    rubric: Rubric,
    *,
    orders: int = 1,
    order: Order = "hashed",
    max_tokens: int = 2048,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int | None = None,
    recipe: str = "original",
    top_logprobs: int | None = None,
    in_flight: int = 16,
    bytes_in_flight: int | None = None,
    weigh: Callable[[Request], int] | None = None,
) -> Iterator[Annotation | Dropped]:
    """Ask every judge about every instruction's responses, in every order, as they come.

    Args:
        answered: Instructions with their responses; read no faster than the judges answer. One that is not to be
            judged yet is dropped as `waiting`.
        judges: Models of distinct identities.
        rubric: What is asked.
        orders: How many orders each judge sees, ≥ 1; see `orders_of`.
        order: `hashed` starts from a permutation that depends on the responses' ids only; `texts` from one that leaves
            out how they were sampled; `fixed` from the order given, as the papers do.
        max_tokens: Upper bound of a reply, tokens.
        temperature: Of the judge, ≥ 0.
        top_p: Nucleus, in (0, 1].
        seed: For judges that take one.
        recipe: How pictures are prepared for judges that do not say themselves, see `images.prepare`.
        top_logprobs: Ask for that many alternatives per token, 1 to 20; ratings then have the mean score under them.
        in_flight: Calls under way at once.
        bytes_in_flight: Upper bound of their estimated size together; None for no bound.
        weigh: Bytes of a question's pictures; by default a guess from their pixels.
    Returns:
        Per instruction, judge and order one annotation or one dropped record, as they finish.
    Raises:
        ConfigError: no judge, two of one identity, or `orders` below 1.
        PluginError: the rubric leaves out a picture, or reads ratings that cannot be.
        ModelUnavailable: a judge cannot be used at all.
    """
    names = [judge.model.identity for judge in judges]
    if not names or len(set(names)) != len(names):
        what = "two judges have the identity " + max(names, key=names.count) if names else "there is no judge"
        raise ConfigError(f"[[judge]]: {what}; give at least one, each with an identity of its own")
    if orders < 1:
        raise ConfigError(f"[annotate] orders must be at least 1, not {orders}")

    sampling = Sampling(temperature, top_p, max_tokens, seed)
    round_ = _Round(tuple(judges), rubric, orders, order, sampling, recipe, top_logprobs)
    questions = round_.questions(answered)

    def size(task: _Task | Dropped) -> int:
        return _size(task, weigh)

    window: dict[str, Any] = {"in_flight": in_flight, "bytes_in_flight": bytes_in_flight, "size": size}
    for asked in flow.each(questions, _ask, known=_looked_up(judges), **window):
        yield asked if isinstance(asked, Dropped) else _annotation(asked, rubric)


def orders_of(responses: Sequence[Response], orders: int, order: Order = "hashed") -> tuple[tuple[str, ...], ...]:
    """The orders in which responses are shown: rotations of a first one, each response at each place equally often.

    With more orders than responses the rotations begin again, as further samples of the same question.

    Args:
        responses: At least one; ids are distinct.
        orders: How many.
        order: How the first one is found.
    Returns:
        `orders` tuples of response ids.
    """
    first = [response.id for response in responses]
    if order == "hashed":
        # Ids are hashes of instruction, model, sampling and text: their order is a draw that all machines share. It
        # stays as it is, or every judgement of every ledger would be another question.
        first.sort()
    elif order == "texts":
        draws = {one.id: hash_id("shown", one.instruction_id, one.model, one.text) for one in responses}
        first.sort(key=lambda name: (draws[name], name))
    turns = (turn % len(first) for turn in range(orders))
    return tuple((*first[turn:], *first[:turn]) for turn in turns)


def _looked_up(judges: Sequence[Judge]) -> Callable[[_Task | Dropped], _Asked | Dropped | None]:
    """What needs no call: kept replies, and what is dropped already."""
    shelf = Shelf(judge.model for judge in judges)

    def known(task: _Task | Dropped) -> _Asked | Dropped | None:
        if isinstance(task, Dropped):
            return task
        kept = None if shelf.bare else shelf.look(task.judge.model, [task.request])[0]
        if kept is None:
            return None
        return _Asked(task, kept.generation, kept.key)

    return known


async def _ask(task: _Task | Dropped) -> _Asked | Dropped:
    """Pair a question with its reply; what is dropped already passes through, so that one stream holds both."""
    if isinstance(task, Dropped):
        return task
    model = task.judge.model
    keyed: Callable[[Request], Awaitable[Kept]] | None = getattr(model, "keyed", None)  # `isinstance` takes far longer
    if keyed is None:
        return _Asked(task, await model.answer(task.request))
    kept = await keyed(task.request)
    return _Asked(task, kept.generation, kept.key)


def _annotation(asked: _Asked, rubric: Rubric) -> Annotation | Dropped:
    task, generation, key = asked
    judge = task.judge.model.identity
    annotation = read_reply(rubric, task.instruction_id, judge, task.request, task.order, generation, key)
    if annotation is None:
        name = _record_id(task.instruction_id, task.judge, task.turn)
        return Dropped("annotate", name, "call_failed", f"{generation.error}: {generation.detail}")
    return annotation


def _unusable(instruction: Instruction, responses: Sequence[Response]) -> Dropped | None:
    """Why an instruction cannot be judged, if so."""
    if not responses:
        return Dropped("annotate", instruction.id, "no_responses")
    ids = [response.id for response in responses]
    if len(set(ids)) != len(ids):
        return Dropped(
            "annotate", instruction.id, "repeated_id", f"response {max(ids, key=ids.count)} is there more than once"
        )
    strangers = [response.id for response in responses if response.instruction_id != instruction.id]
    if strangers:
        return Dropped(
            "annotate", instruction.id, "bad_record", f"response {strangers[0]} belongs to another instruction"
        )
    return None


def _question(rubric: Rubric, instruction: Instruction, responses: Sequence[Response], order: Sequence[str]) -> Request:
    request = rubric.render(instruction, responses, order)
    if request.images != instruction.images:
        raise PluginError(
            f"rubric {rubric.name}: its question on instruction {instruction.id} does not hold the instruction's "
            f"{len(instruction.images)} pictures in their order ({len(request.images)} are there); mend its render"
        )
    return request


def _record_id(instruction_id: str, judge: Judge, turn: int) -> str:
    """Name of a question that has no annotation; begins with the instruction's id."""
    return f"{instruction_id}/{judge.model.identity}/{turn}"


def _size(task: _Task | Dropped, weigh: Callable[[Request], int] | None) -> int:
    """Estimated bytes of a question in memory: text, and the pictures' files (or half a byte per pixel)."""
    if isinstance(task, Dropped):
        return 0
    request = task.request
    texts = sum(len(part.text) for part in request.parts if part.text is not None)
    if weigh is None:
        return len(request.system) + texts + sum(image.width * image.height for image in request.images) // 2
    return len(request.system) + texts + weigh(request)
