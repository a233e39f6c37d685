"""Room 2 of 7: instruction × planned pool models → responses.

Every instruction gets k models, drawn by content hash, so that the plan is known before any call and the same on every
machine. Endpoints are asked instruction by instruction, so that judging starts when an instruction's responses are
there; models whose weights lie here are asked one after the other, because a pool of twelve does not fit one GPU.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

from vlfeedback import flow
from vlfeedback.decode._plan import PLANNER, Plan, plan, plans, shape
from vlfeedback.decode._slots import Answered, Open, PoolModel, from_ledger, read, slot_id
from vlfeedback.errors import ConfigError, StaleInput
from vlfeedback.models import Model
from vlfeedback.records import Generation, Instruction, Part, Request, Sampling

__all__ = [
    "PLANNER", "Answered", "Closing", "Plan", "PoolModel", "answered", "check_pool", "in_memory", "plan", "plans",
    "question", "read", "slot_id",
]  # fmt: skip

PICTURE_BYTES = 400_000
"""Bytes that a call on one picture is taken to hold in memory, where its size is not known."""


@runtime_checkable
class Closing(Protocol):
    """A model that can give its memory back."""

    def close(self) -> None: ...


def question(instruction: Instruction, sampling: Sampling, system: str = "", recipe: str = "original") -> Request:
    """The request to a pool model: pictures first, prepared by its recipe, then the prompt as plain text."""
    pictures = tuple(Part(image=image) for image in instruction.images)
    return Request(system, (*pictures, Part(text=instruction.prompt)), sampling, purpose="decode", recipe=recipe)


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
    ask = partial(_ask, pool=pool, sampling=sampling, system=system)

    async def ask_endpoints(one: Open) -> Open:
        return await ask(one, one.asks(pool))

    def weight(one: Open) -> int:
        pictures = weigh(one.instruction) if weigh else PICTURE_BYTES * len(one.instruction.images)
        return len(one.asks(pool)) * in_memory(pictures)  # every call has a body of its own

    def whole(one: Open) -> Answered:
        one.wake(pool, lambda model: _request(one.instruction, sampling, system, model))
        return one.close()

    looked_up = from_ledger(
        _opened(instructions, pool, k, planned),
        pool,
        lambda one, model: _request(one.instruction, sampling, system, model),
    )
    window: dict[str, Any] = {"in_flight": in_flight, "bytes_in_flight": bytes_in_flight, "size": weight}
    by_instruction = flow.each(looked_up, ask_endpoints, known=lambda one: None if one.asks(pool) else one, **window)
    waiting: list[Open] = []
    for one in by_instruction:
        if len(one.settled) == k:
            yield whole(one)
        else:
            waiting.append(one)
    yield from map(whole, _by_model(waiting, pool, k, ask))


def _opened(
    instructions: Iterable[Instruction], pool: Sequence[PoolModel], k: int, planned: Iterable[Plan] | None
) -> Iterator[Open]:
    """Instructions with their planned models, by the stored plan or each by its own draw."""
    identities, shares = [one.model.identity for one in pool], [one.share for one in pool]
    places = {identity: index for index, identity in enumerate(identities)}
    rows = None if planned is None else iter(planned)
    for instruction in instructions:
        drawn = plan(instruction.id, identities, shares, k) if rows is None else _planned(instruction, rows, places)
        yield Open(instruction, drawn)


async def _ask(one: Open, wanted: Sequence[int], *, pool: Sequence[PoolModel], sampling: Sampling, system: str) -> Open:
    """Ask some models of the pool about an instruction at the same time, and settle their slots."""
    models = [pool[index].model for index in wanted]
    requests = [_request(one.instruction, sampling, system, model) for model in models]
    replies = await asyncio.gather(*map(_answer, models, requests), return_exceptions=True)
    left = len(one.plan) - len(one.settled) - len(wanted)
    for index, model, request, reply in zip(wanted, models, requests, replies, strict=True):
        if isinstance(reply, BaseException):
            raise reply
        one.settle(index, model, request, reply, rests=left > 0)
    return one


def in_memory(pictures: int) -> int:
    """Bytes that a request holds, its pictures having so many: the files, which become base64 bit by bit, and text."""
    return pictures + 4096


def _planned(instruction: Instruction, rows: Iterator[Plan], places: dict[str, int]) -> tuple[int, ...]:
    """The planned models of an instruction, as indices into the pool."""
    row = next(rows, None)
    if row is None or row.instruction_id != instruction.id or not places.keys() >= set(row.models):
        raise StaleInput(f"the plan has no slots of this pool for instruction {instruction.id}: delete plan.parquet.")
    return tuple(places[identity] for identity in row.models)


def _request(instruction: Instruction, sampling: Sampling, system: str, model: Model) -> Request:
    return question(instruction, sampling, system, getattr(model, "recipe", "original"))


async def _answer(model: Model, request: Request) -> Generation:
    return await model.answer(request)


def _by_model(waiting: list[Open], pool: Sequence[PoolModel], k: int, ask: _Ask) -> Iterator[Open]:
    """One pass per model whose weights lie here; yields what the pass has settled at last."""
    todo: dict[int, list[Open]] = defaultdict(list)
    for one in waiting:
        for index in one.plan:
            if index not in one.settled:
                todo[index].append(one)
    for index, mine in todo.items():
        if flow.interrupted():
            return

        async def ask_one(one: Open, index: int = index) -> Open:
            return await ask(one, [index])

        for one in flow.each(mine, ask_one, in_flight=pool[index].in_flight):
            if len(one.settled) == k:
                yield one
                one.settled.clear()  # handed on: what stands behind it in the list is still to be asked
        model: object = pool[index].model
        if isinstance(model, Closing):
            model.close()


class _Ask(Protocol):
    async def __call__(self, one: Open, wanted: Sequence[int]) -> Open: ...
