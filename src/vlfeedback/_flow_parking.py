"""What waits for an endpoint to end its rest gives its place in the window of `flow.each` to others meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import Protocol

LONGEST = 0.3
"""Seconds after which a record that comes back takes a place even where there is none: nobody waits for ever."""


PARKED = 16
"""Records that may wait for an endpoint to end its rest, in windows: the others must not wait for them."""


class Window(Protocol):
    """What bounds the records under way."""

    def park(self, size: int) -> bool: ...

    def unpark(self, size: int, must: bool) -> bool: ...


class _Place:
    """The place of one record in its window; several calls of a record may wait at the same time."""

    def __init__(self, window: Window, size: int) -> None:
        self._window, self._size = window, size
        self._waiting = 0
        self._parked = False

    def leave(self) -> None:
        self._waiting += 1
        if self._waiting == 1:
            self._parked = self._window.park(self._size)

    async def come_back(self) -> None:
        self._waiting -= 1
        if self._waiting or not self._parked:
            return
        self._parked = False
        wait = 0.005
        while not self._window.unpark(self._size, wait > LONGEST):
            await asyncio.sleep(wait)
            wait *= 1.5


_place: ContextVar[_Place | None] = ContextVar("place", default=None)


def take_place(window: Window, size: int) -> None:
    """The task that runs this, and those that it starts, have a place in that window."""
    _place.set(_Place(window, size))


@contextlib.asynccontextmanager
async def parked() -> AsyncGenerator[None]:
    """While a call only waits for an endpoint that asked for a rest: its place in `each` goes to another record."""
    place = _place.get()
    if place is None:
        yield
        return
    place.leave()
    try:
        yield
    finally:
        await place.come_back()
