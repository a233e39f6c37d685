"""Room 2 of 7: instruction × planned pool models → responses.

Every instruction gets k models, drawn by content hash, so that the plan is known before any call and the same on every
machine. Endpoints are asked instruction by instruction, so that judging starts when an instruction's responses are
there; models whose weights lie here are asked one after the other, because a pool of twelve does not fit one GPU.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from vlfeedback import flow
from vlfeedback.decode._plan import PLANNER, Plan, plan, plans, shape
from vlfeedback.errors import ConfigError, StaleInput
from vlfeedback.ids import call_key, hash_id, response_id
from vlfeedback.models import Model
from vlfeedback.records import Dropped, Generation, Instruction, Part, Request, Response, Sampling

__all__ = [
    "PLANNER", "Answered", "Closing", "Plan", "PoolModel", "answered", "check_pool", "on_the_wire", "plan", "plans",
    "question", "read", "slot_id",
]  # fmt: skip

PICTURE_BYTES = 400_000
"""Bytes that a call on one picture is taken to hold in memory, where its size is not known."""


@runtime_checkable
class Closing(Protocol):
    """A model that can give its memory back."""

    def close(self) -> None: ...


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
class _Open:
    """An instruction some of whose slots are still to come; slots keep the order of the plan."""

    instruction: Instruction
    plan: tuple[int, ...]
    settled: dict[int, Response | Dropped] = field(default_factory=dict[int, "Response | Dropped"])

    def close(self) -> Answered:
        found = [self.settled[index] for index in self.plan]
        return Answered(
            self.instruction,
            tuple(one for one in found if isinstance(one, Response)),
            tuple(one for one in found if isinstance(one, Dropped)),
        )


def question(instruction: Instruction, sampling: Sampling, system: str = "", recipe: str = "original") -> Request:
    """The request to a pool model: pictures first, prepared by its recipe, then the prompt as plain text."""
    pictures = tuple(Part(image=image) for image in instruction.images)
    return Request(system, (*pictures, Part(text=instruction.prompt)), sampling, purpose="decode", recipe=recipe)


def slot_id(instruction: str, model: str) -> str:
    """Id of a planned slot, under which it is dropped."""
    return hash_id("slot", instruction, model)


def read(instruction: Instruction, model: str, request: Request, generation: Generation) -> Response | Dropped:
    """What a generation is worth: a response, or a dropped slot with the reason."""
    slot = slot_id(instruction.id, model)
    if generation.finish == "error":
        return Dropped("decode", slot, "call_failed", f"{model}: {generation.error}: {generation.detail}")
    if not generation.text.strip():
        reason = "content_filter" if generation.finish == "content_filter" else "empty_response"
        return Dropped("decode", slot, reason, f"{model}: {generation.detail or generation.finish}")
    return Response(
        id=response_id(instruction.id, model, request.sampling, generation.text),
        instruction_id=instruction.id,
        model=model,
        text=generation.text,
        finish=generation.finish,
        sampling=request.sampling,
        call_key=call_key(model, request),
    )


def check_pool(pool: Sequence[PoolModel], k: int) -> None:
    """Refuse a pool that cannot fill k slots.

    Raises:
        ConfigError: fewer than k models, two models of one identity, or shares that do not fit k.
    """
    identities = [member.model.identity for member in pool]
    if len(pool) < k:
        raise ConfigError(f"decode.k = {k}, but the pool has {len(pool)} models: add [[pool]] entries or lower k.")
    for identity in identities:
        if identities.count(identity) > 1:
            raise ConfigError(f"two pool models claim the identity {identity!r}: set `identity` or `revision` on one.")
    shape([member.share for member in pool], k)


def answered(
    instructions: Iterable[Instruction],
    pool: Sequence[PoolModel],
    *,
    k: int,
    sampling: Sampling,
    planned: Iterable[Plan] | None = None,
    system: str = "",
    in_flight: int = 64,
    bytes_in_flight: int | None = None,
    weigh: Callable[[Instruction], int] | None = None,
) -> Iterator[Answered]:
    """Ask the pool; yields every instruction as soon as its slots are settled.

    An instruction that an interrupt left without all its slots is not yielded: the next run asks for the missing ones.

    Args:
        instructions: Streamed where all models are endpoints; held in memory where weights lie here.
        pool: At least k models with different identities.
        k: Responses per instruction, each of another model.
        sampling: Of every response.
        planned: Rows of `plans`, one per instruction in their order; None draws each by itself.
        system: System message to the pool.
        in_flight: Instructions under way at once on endpoints.
        bytes_in_flight: Bound on the pictures in memory.
        weigh: Bytes of an instruction's pictures; by default a guess.
    Raises:
        ConfigError: see `check_pool`.
        StaleInput: the plan is one of other instructions, or of another pool.
        ModelUnavailable, BudgetExceeded, LedgerError: after everything that was under way has been yielded.
    """
    check_pool(pool, k)
    identities, shares = [one.model.identity for one in pool], [one.share for one in pool]
    places = {identity: index for index, identity in enumerate(identities)}

    def opened() -> Iterator[_Open]:
        rows = None if planned is None else iter(planned)
        for instruction in instructions:
            drawn = plan(instruction.id, identities, shares, k) if rows is None else _slots(instruction, rows, places)
            yield _Open(instruction, drawn)

    async def ask(one: _Open, wanted: Sequence[int]) -> _Open:
        models = [pool[index].model for index in wanted]
        requests = [_request(one.instruction, sampling, system, model) for model in models]
        replies = await asyncio.gather(*map(_answer, models, requests), return_exceptions=True)
        for index, request, reply in zip(wanted, requests, replies, strict=True):
            if isinstance(reply, BaseException):
                raise reply
            one.settled[index] = read(one.instruction, identities[index], request, reply)
        return one

    async def ask_endpoints(one: _Open) -> _Open:
        return await ask(one, [index for index in one.plan if not pool[index].local])

    def weight(one: _Open) -> int:
        asked = sum(not pool[index].local for index in one.plan)
        pictures = weigh(one.instruction) if weigh else PICTURE_BYTES * len(one.instruction.images)
        return asked * on_the_wire(pictures)  # every call has a body of its own

    by_instruction = flow.each(
        opened(), ask_endpoints, in_flight=in_flight, bytes_in_flight=bytes_in_flight, size=weight
    )
    waiting: list[_Open] = []
    for one in by_instruction:
        if len(one.settled) == k:
            yield one.close()
        else:
            waiting.append(one)
    yield from _by_model(waiting, pool, k, ask)


def on_the_wire(pictures: int) -> int:
    """Bytes of a request's body with pictures of so many bytes: base64, and some text."""
    return pictures * 4 // 3 + 4096


def _slots(instruction: Instruction, rows: Iterator[Plan], places: dict[str, int]) -> tuple[int, ...]:
    """The planned models of an instruction, as indices into the pool."""
    row = next(rows, None)
    if row is None or row.instruction_id != instruction.id or not places.keys() >= set(row.models):
        raise StaleInput(f"the plan has no slots of this pool for instruction {instruction.id}: delete plan.parquet.")
    return tuple(places[identity] for identity in row.models)


def _request(instruction: Instruction, sampling: Sampling, system: str, model: Model) -> Request:
    return question(instruction, sampling, system, getattr(model, "recipe", "original"))


async def _answer(model: Model, request: Request) -> Generation:
    return await model.answer(request)


def _by_model(waiting: list[_Open], pool: Sequence[PoolModel], k: int, ask: _Ask) -> Iterator[Answered]:
    """One pass per model whose weights lie here."""
    todo: dict[int, list[_Open]] = defaultdict(list)
    for one in waiting:
        for index in one.plan:
            if index not in one.settled:
                todo[index].append(one)
    for index, mine in todo.items():
        if flow.interrupted():
            return

        async def ask_one(one: _Open, index: int = index) -> _Open:
            return await ask(one, [index])

        for one in flow.each(mine, ask_one, in_flight=pool[index].in_flight):
            if len(one.settled) == k:
                yield one.close()
        model: object = pool[index].model
        if isinstance(model, Closing):
            model.close()


class _Ask(Protocol):
    async def __call__(self, one: _Open, wanted: Sequence[int]) -> _Open: ...
