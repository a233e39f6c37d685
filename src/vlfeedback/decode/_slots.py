"""Slots of instructions: opened by the plan, settled by replies, first of all by those that are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from vlfeedback.ids import call_key, hash_id, response_id
from vlfeedback.models import Model
from vlfeedback.models._kept import Kept, Recalling, Shelf
from vlfeedback.records import Dropped, Generation, Instruction, Request, Response

AT_ONCE = 128
"""Instructions whose kept replies are looked up together."""


class PoolModel(NamedTuple):
    """A member of the pool.

    Attributes:
        local: Its weights lie on this machine: asked in a pass of its own.
        share: Share of the instructions it answers; None shares the remaining slots evenly with the others.
        in_flight: Questions it takes at a time.
    """

    model: Model
    local: bool = False
    share: float | None = None
    in_flight: int = 32


class Answered(NamedTuple):
    """An instruction whose planned slots are all settled: slots = responses + dropped."""

    instruction: Instruction
    responses: tuple[Response, ...]
    dropped: tuple[Dropped, ...]


@dataclass
class Open:
    """An instruction some of whose slots are still to come; slots keep the order of the plan.

    Attributes:
        settled: What has become of a slot; None for a response that rests in the ledger.
    """

    instruction: Instruction
    plan: tuple[int, ...]
    settled: dict[int, Response | Dropped | None] = field(default_factory=dict[int, "Response | Dropped | None"])

    def asks(self, pool: Sequence[PoolModel]) -> list[int]:
        """Which endpoints are still to be asked."""
        return [index for index in self.plan if index not in self.settled and not pool[index].local]

    def settle(
        self, index: int, model: Model, asked: Request, reply: Generation, key: str = "", *, rests: bool
    ) -> None:
        """Take a reply.

        Args:
            index: Of the model in the pool.
            key: Of the call, where known.
            rests: Leave a response to the ledger until `wake`, if the model keeps it there: of a large set all
                instructions are open until the last local model has been asked.
        """
        resting = rests and isinstance(model, Recalling) and is_response(reply)
        self.settled[index] = None if resting else read(self.instruction, model.identity, asked, reply, key)

    def wake(self, pool: Sequence[PoolModel], request: Callable[[Model], Request]) -> None:
        """Read from the ledger what rests there."""
        for index in [index for index, found in self.settled.items() if found is None]:
            model = pool[index].model
            if isinstance(model, Recalling):
                asked = request(model)
                kept = model.recall(asked)
                self.settle(index, model, asked, kept.generation, kept.key, rests=False)

    def close(self) -> Answered:
        found = [self.settled[index] for index in self.plan]
        return Answered(
            self.instruction,
            tuple(one for one in found if isinstance(one, Response)),
            tuple(one for one in found if isinstance(one, Dropped)),
        )


def slot_id(instruction: str, model: str) -> str:
    """Id of a planned slot, under which it is dropped."""
    return hash_id("slot", instruction, model)


def is_response(generation: Generation) -> bool:
    """Whether a generation is worth a response."""
    return generation.finish != "error" and bool(generation.text.strip())


def read(
    instruction: Instruction, model: str, request: Request, generation: Generation, key: str = ""
) -> Response | Dropped:
    """What a generation is worth: a response, or a dropped slot with the reason; `key` of the call, where known."""
    if generation.finish == "error":
        slot = slot_id(instruction.id, model)
        return Dropped("decode", slot, "call_failed", f"{model}: {generation.error}: {generation.detail}")
    if not is_response(generation):
        slot = slot_id(instruction.id, model)
        reason = "content_filter" if generation.finish == "content_filter" else "empty_response"
        return Dropped("decode", slot, reason, f"{model}: {generation.detail or generation.finish}")
    return Response(
        id=response_id(instruction.id, model, request.sampling, generation.text),
        instruction_id=instruction.id,
        model=model,
        text=generation.text,
        finish=generation.finish,
        sampling=request.sampling,
        call_key=key or call_key(model, request),
    )


def from_ledger(
    opened: Iterable[Open], pool: Sequence[PoolModel], request: Callable[[Open, Model], Request]
) -> Iterator[Open]:
    """Settle what needs no call, of many instructions at a time; the others are handed on as they are."""
    shelf, coming = Shelf(one.model for one in pool), iter(opened)
    while not shelf.bare and (some := list(islice(coming, AT_ONCE))):
        found: list[list[tuple[int, Request, Kept]]] = [[] for _ in some]
        for index, member in enumerate(pool):
            mine = [place for place, one in enumerate(some) if index in one.plan]
            requests = [request(some[place], member.model) for place in mine]
            looked = shelf.look(member.model, requests) if requests else ()
            for place, asked, kept in zip(mine, requests, looked, strict=True):
                if kept is not None:
                    found[place].append((index, asked, kept))
        for one, replies in zip(some, found, strict=True):
            for index, asked, kept in replies:
                rests = len(replies) < len(one.plan)
                one.settle(index, pool[index].model, asked, kept.generation, kept.key, rests=rests)
        yield from some
    yield from coming
