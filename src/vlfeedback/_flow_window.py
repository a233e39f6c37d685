"""The window of `flow.each`: what is under way between the feeding thread, the event loop and the consumer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast

from vlfeedback._flow_company import Company
from vlfeedback._flow_parking import PARKED, take_place

T = TypeVar("T")
R = TypeVar("R")

WAKE = 0.2
"""Seconds between two looks at the interrupt flag: a signal handler may not touch a lock."""


class Window(Generic[R]):
    """What is under way between the feeding thread, the event loop and the consumer."""

    def __init__(self, in_flight: int, bytes_in_flight: int | None, interrupted: Callable[[], bool]) -> None:
        self.changed = threading.Condition()
        self.results: deque[R] = deque()
        self.flying = 0
        self.parked = 0
        self.bytes = 0
        self.fed = False  # no further record will come
        self.stopped = False
        self.error: BaseException | None = None
        self.most, self._most_bytes, self._interrupted = in_flight, bytes_in_flight, interrupted

    def _room(self, size: int) -> bool:
        """Whether one more record may start; one that alone is over the byte bound flies alone."""
        if self.flying >= self.most or self.flying + len(self.results) >= 2 * self.most:
            return False
        return self._most_bytes is None or self.flying == 0 or self.bytes + size <= self._most_bytes

    def enter(self, size: int) -> bool:
        """Wait for room; False if nothing may start any more."""
        with self.changed:
            while not self._room(size) and not self.closed():
                self.changed.wait(WAKE)
            if self.closed():
                return False
            self.flying += 1
            self.bytes += size
            return True

    def park(self, size: int) -> bool:
        """Give the place of a record that only waits to another; False if too many do so already."""
        with self.changed:
            if self.parked >= PARKED * self.most:
                return False
            self.parked += 1
            self.flying -= 1
            self.bytes -= size
            self.changed.notify_all()
            return True

    def unpark(self, size: int, must: bool) -> bool:
        """Take a place again; False if there is none now."""
        with self.changed:
            if not must and not self.closed() and not self._room(size):
                return False
            self.parked -= 1
            self.flying += 1
            self.bytes += size
            return True

    def closed(self) -> bool:
        return self.stopped or self.error is not None or self._interrupted()

    def leave(self, ended: list[tuple[int, Sequence[R], BaseException | None]]) -> None:
        """Take in, and off the list, what was under way: sizes, answers, and what was raised instead."""
        with self.changed:
            for size, result, error in ended:
                self.flying -= 1
                self.bytes -= size
                self.results.extend(result)
                self.error = self.error or error
            ended.clear()
            self.changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        with self.changed:
            self.fed = True
            self.error = self.error or error
            self.changed.notify_all()

    def drained(self) -> Iterator[R]:
        """Results as they come, until nothing is under way and nothing more will start."""
        while True:
            with self.changed:
                while not self.results and (self.flying or self.parked or not self.fed):
                    self.changed.wait(WAKE)
                if not self.results:
                    return
                result = self.results.popleft()
                if self.flying + len(self.results) == 2 * self.most - 1:  # the only one that makes room for a record
                    self.changed.notify_all()
            yield result

    def stop(self) -> None:
        """Start nothing new, and wait for what is under way: its replies may be paid for."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
            while self.flying or self.parked or not self.fed:
                self.changed.wait(WAKE)


LUMP = 8
"""One part in so many of what may be under way is handed on without waiting for company."""


class Flight(Generic[T, R]):
    """Records on their way through the event loop: launched once for a round of the loop, and handed on in lumps.

    Waking two threads for each answer takes as long as all else that is done here, and while they work the loop and
    they take the interpreter from each other.
    """

    def __init__(self, window: Window[R], loop: asyncio.AbstractEventLoop, answer: Callable[[T], Awaitable[R]]) -> None:
        self._window, self._loop, self._answer = window, loop, answer
        self._arrived: deque[tuple[T, int]] = deque()
        self._ended: list[tuple[int, Sequence[R], BaseException | None]] = []
        self._lump, self._company = max(1, window.most // LUMP), Company()
        self._tasks: set[asyncio.Task[Any] | None] = set()  # the loop itself holds tasks only weakly

    def add(self, record: T, weight: int) -> None:
        """Launch a record that has a place in the window; called from the feeding thread."""
        self._arrived.append((record, weight))
        if len(self._arrived) == 1:  # else the loop has been woken and has not come to them yet
            self._loop.call_soon_threadsafe(self._launch)

    def _launch(self) -> None:
        while self._arrived:
            self._tasks.add(self._loop.create_task(self._fly(*self._arrived.popleft())))

    async def _fly(self, record: T, weight: int) -> None:
        take_place(self._window, weight)
        began = time.monotonic()
        try:
            result = await self._answer(record)
        except Exception as error:
            self._leave(weight, (), error)
        except BaseException as error:  # it may end the loop, which then does nothing more
            self._ended.append((weight, (), error))
            self._window.leave(self._ended)
            raise
        else:
            self._company.took(time.monotonic() - began)
            self._leave(weight, (result,), None)
        finally:
            self._tasks.discard(asyncio.current_task(self._loop))

    def _leave(self, weight: int, result: Sequence[R], error: Exception | None) -> None:
        self._ended.append((weight, result, error))
        if len(self._ended) == self._lump:
            self._loop.call_soon(self._hand_on)
        elif len(self._ended) == 1:
            self._loop.call_later(self._company.wait(), self._hand_on)

    def _hand_on(self) -> None:
        if self._ended:  # else an earlier one has taken them along
            self._window.leave(self._ended)


class Known(Generic[T, R]):
    """Records whose results are there already go past the window, by no thread and no loop, until one has to wait.

    Args:
        records: As `each` was given them.
        known: The result of a record, or None where it has to be waited for.
        interrupted: Whether nothing more shall start.
    """

    def __init__(
        self, records: Iterable[T], known: Callable[[T], R | None] | None, interrupted: Callable[[], bool]
    ) -> None:
        self._known, self._interrupted = known, interrupted
        self._rest = iter(records)
        above: object = records
        self._above = cast("Generator[T]", above) if isinstance(above, Generator) else None
        self._next: list[T] = []
        self.ended = False

    def first(self) -> Iterator[R]:
        """Results up to the first record without one."""
        if self._known is None:
            return
        try:
            for record in self._rest:
                result = self._known(record)
                if result is None:
                    self._next.append(record)
                    return
                yield result
                if self._interrupted():
                    break
            self.ended = True
        finally:
            if not self._next:
                self.close()

    def then(self, window: Window[R]) -> Iterator[T]:
        """The rest; whatever has a result goes straight to the consumer."""
        while self._next:
            yield self._next.pop()
        for record in self._rest:
            result = self._known(record) if self._known is not None else None
            if result is None:
                yield record
            elif window.enter(0):
                window.leave([(0, (result,), None)])
            else:
                return

    def close(self) -> None:
        """A room further up must drain too, and now, not when it is collected."""
        if self._above is not None:
            self._above.close()
