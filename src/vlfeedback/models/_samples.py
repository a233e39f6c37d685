"""Several samples of one question in one call (`n`): the endpoint reads pictures and prompt once.

Requests that differ in nothing but the sample's number and are outstanding together become one call; the ledger above
still knows each as a call of its own. Input tokens are the first sample's, output tokens are shared out by length, so
that their sum is what the endpoint counted. What an endpoint leaves out, or refuses to give at once, is asked singly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple

from vlfeedback.models import _chat
from vlfeedback.models._sends import Payer, payer, paying
from vlfeedback.records import Generation, Request, Usage

LINGER = 0.01
"""Seconds that the first of several samples waits for the others."""


class _Asked(NamedTuple):
    request: Request
    reply: asyncio.Future[Generation]
    payer: Payer | None


class Together:
    """Collects samples.

    Args:
        ask: Asks a request for that many samples in one call; gives the first, with the whole body in `raw`.
        most: Samples per call, ≥ 2.
    """

    def __init__(self, ask: Callable[[Request, int], Awaitable[Generation]], most: int) -> None:
        self._ask, self._most = ask, most
        self._known = 1  # samples that it is known to give at once
        self._open: dict[Request, list[_Asked]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, request: Request) -> Generation:
        """One sample; raises what the call raised."""
        if self._most < 2 or request.sampling.temperature <= 0:
            return await self._ask(request, 1)
        loop = asyncio.get_running_loop()
        alike = replace(request, sampling=replace(request.sampling, sample_index=0))
        asked = _Asked(request, loop.create_future(), payer())
        group = self._open.setdefault(alike, [])
        group.append(asked)
        if len(group) == 1:
            loop.call_later(LINGER, self._send, alike, group)
        if len(group) >= self._most:
            self._send(alike, group)
        return await asked.reply

    def _send(self, alike: Request, group: list[_Asked]) -> None:
        if self._open.get(alike) is group:
            del self._open[alike]
            task = asyncio.get_running_loop().create_task(self._run(alike, group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, alike: Request, group: list[_Asked]) -> None:
        """Every sample ends on its own: one that cannot be had takes nothing along that was paid for."""
        if len(group) == 1:
            return await _ending(group[0], self._one(group[0]))
        try:
            with paying(_All([asked.payer for asked in group if asked.payer is not None])):
                first = await self._ask(alike, len(group))
        except BaseException as error:
            for asked in group:
                _fail(asked, error)
            if not isinstance(error, Exception):
                raise
            return None
        found = [] if first.error == "bad_request" else _shared_out(first, len(group))
        for asked, generation in zip(group, found, strict=False):
            _give(asked, generation)
        left = group[len(found) :]
        await asyncio.gather(*(_ending(asked, self._one(asked, first.unsure)) for asked in left))
        if found:
            self._known = max(self._known, len(group))
        elif len(group) > self._known and any(_went_well(asked.reply) for asked in left):
            self._most = self._known  # it serves the question, and not so many samples of it
        return None

    async def _one(self, asked: _Asked, lost: int = 0) -> Generation:
        """A sample by itself.

        Args:
            lost: Sendings before it, for all samples together, that may have been served.
        """
        with paying(asked.payer):
            found = await self._ask(asked.request, 1)
        return replace(found, unsure=found.unsure + lost) if lost else found


async def _ending(asked: _Asked, sample: Awaitable[Generation]) -> None:
    try:
        _give(asked, await sample)
    except BaseException as error:
        _fail(asked, error)
        if not isinstance(error, Exception):
            raise


def _give(asked: _Asked, generation: Generation) -> None:
    if not asked.reply.done():
        asked.reply.set_result(generation)


def _fail(asked: _Asked, error: BaseException) -> None:
    if not asked.reply.done():
        asked.reply.set_exception(error)


def _went_well(reply: asyncio.Future[Generation]) -> bool:
    return not reply.cancelled() and reply.exception() is None and reply.result().error is None


def _shared_out(first: Generation, asked: int) -> list[Generation]:
    if first.error is None:
        return shares(first, asked)
    # Nothing came; each sample may have been charged, and it was sent once.
    return [first, *[replace(first, sent=0)] * (asked - 1)]


class _All:
    """Every sample has money of its own to set aside before the call that holds them all is sent."""

    def __init__(self, payers: list[Payer]) -> None:
        self._payers = payers

    async def open(self) -> None:
        for one in self._payers:
            await one.open()

    async def again(self) -> bool:
        return all([await one.again() for one in self._payers])


def shares(first: Generation, most: int) -> list[Generation]:
    """The samples of a body, each with its share of the usage; only the one given where the body holds no more.

    Args:
        first: The first sample as read, with its body in `raw`.
        most: Samples that were asked for: what an endpoint sends beyond is billed, and its tokens are theirs.
    """
    others = _chat.further(first.raw)[: most - 1]
    if not others:
        return [first]
    texts = [first.text, *(other.text for other in others)]
    outputs = _shared(first.usage.output, [len(text) + 1 for text in texts])
    reasoning = _shared(first.usage.reasoning, [1] * len(texts))
    made = [replace(first, usage=replace(first.usage, output=outputs[0], reasoning=min(reasoning[0], outputs[0])))]
    for other, output, thought in zip(others, outputs[1:], reasoning[1:], strict=True):
        usage = Usage(output=output, reasoning=min(thought, output))
        made.append(replace(other, usage=usage, raw=first.raw, latency=first.latency, sent=0, unsure=first.unsure))
    return made


def _shared(whole: int, weights: list[int]) -> list[int]:
    """A number of tokens in proportion to weights; the parts sum up to the whole."""
    total = sum(weights)
    parts = [whole * weight // total for weight in weights]
    return [parts[0] + whole - sum(parts), *parts[1:]]
