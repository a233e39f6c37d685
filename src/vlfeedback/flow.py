"""The only owner of threads, the event loop and bounded queues.

Everything outside `models/` is synchronous: a room pulls results from `each` as from any iterator. Rooms whose
iterators are chained run at the same time, because each `each` pulls its input in a thread of its own, and never more
than its window ahead of whoever consumes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar

from vlfeedback import _flow_signals as signals
from vlfeedback._flow_garbage import collecting_seldom, without_collection
from vlfeedback._flow_parking import parked
from vlfeedback._flow_window import Flight, Known, Window
from vlfeedback.records import Generation, Request

__all__ = [
    "Batcher", "Committer", "Failures", "draining_on_interrupt", "each", "interrupted", "leaving_at_once", "parked",
    "run", "stop_if_interrupted", "without_collection",
]  # fmt: skip

T = TypeVar("T")
R = TypeVar("R")

_interrupted = threading.Event()


def interrupted() -> bool:
    """Whether the user has asked to stop: nothing new is started, what is under way is finished and kept."""
    return _interrupted.is_set()


def stop_if_interrupted() -> None:
    """For long computing, between two steps of it.

    Raises:
        KeyboardInterrupt: the user has asked to stop.
    """
    if interrupted():
        raise KeyboardInterrupt


@contextlib.contextmanager
def leaving_at_once() -> Generator[None]:
    """For computing that buys nothing and leaves nothing half made: the first Ctrl-C raises KeyboardInterrupt in it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(_number: int, _frame: Any) -> None:
        _interrupted.set()
        raise KeyboardInterrupt

    with signals.handling(on_signal):
        stop_if_interrupted()
        yield


@contextlib.contextmanager
def draining_on_interrupt(announce: Callable[[str], None] | None = None) -> Generator[None]:
    """Let the first Ctrl-C (or SIGTERM, or SIGHUP) drain the calls in flight, and the second leave at once with 130."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, _frame: Any) -> None:
        if number == signals.HANGUP:
            signals.leave_terminal()
        if _interrupted.is_set():
            if signals.again(number):
                os._exit(130)
            return
        _interrupted.set()
        (announce or partial(print, file=sys.stderr, flush=True))(
            "Stopping: what is under way is finished and kept. Press Ctrl-C again to leave at once."
        )

    _interrupted.clear()
    try:
        with signals.handling(on_signal):
            yield
    finally:
        _interrupted.clear()  # the next run of this process has not been asked to stop


class _Loop:
    """One event loop in one background thread, started when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owner = 0

    def get(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._loop.is_closed() or self._owner != os.getpid():
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="vlfeedback-loop", daemon=True).start()
                self._loop, self._owner = loop, os.getpid()
            return self._loop


_loop = _Loop()


def run(answer: Awaitable[R]) -> R:
    """Wait for one coroutine on the package's event loop, from synchronous code."""

    async def wrapped() -> R:
        return await answer

    return asyncio.run_coroutine_threadsafe(wrapped(), _loop.get()).result()


def each(
    records: Iterable[T],
    answer: Callable[[T], Awaitable[R]],
    *,
    in_flight: int,
    bytes_in_flight: int | None = None,
    size: Callable[[T], int] | None = None,
    known: Callable[[T], R | None] | None = None,
) -> Iterator[R]:
    """Answer records concurrently and yield results as they finish.

    Args:
        records: Pulled lazily in a thread of its own, at most 2 × `in_flight` ahead of the consumer.
        answer: A coroutine function; what it returns is yielded.
        in_flight: Records under way at once, ≥ 1.
        bytes_in_flight: Bound on the sum of `size` of the records under way.
        size: Bytes a record holds while under way.
        known: The result of a record that needs no waiting, or None; asked once for each, in their order. As long as
            all have one, they cost no change of threads.
    Raises:
        Whatever `records` or `answer` raised first, after the results of everything that was under way.
    """
    if in_flight < 1:
        raise ValueError("in_flight must be at least 1")
    source = Known(records, known, interrupted)
    yield from source.first()
    if source.ended:
        return
    window: Window[R] = Window(in_flight, bytes_in_flight, interrupted)
    flight = Flight(window, _loop.get(), answer)

    def feed() -> None:
        try:
            for record in source.then(window):
                weight = size(record) if size else 0
                if not window.enter(weight):
                    break
                flight.add(record, weight)
            source.close()
        except BaseException as error:
            window.end(error)
        else:
            window.end()

    threading.Thread(target=feed, name="vlfeedback-feed", daemon=True).start()
    try:
        with collecting_seldom():
            yield from window.drained()
        if window.error is not None:
            raise window.error
    finally:
        window.stop()


Failures = Mapping[int, Exception]
"""What went wrong with some of a list, by place."""


class Committer(Generic[T]):
    """Writes many small things in few commits: `put` returns when the thing is on disk.

    Everything that arrives while one commit is under way goes into the next, so that a thousand calls a second need
    only some tens of commits.

    Args:
        begin: Called in the event loop with a list: does what needs no waiting. What it returns is called in a worker
            thread: it waits for the disk and returns what could not be written; all else is durable then.
        apart: Seconds from the end of one commit to the start of the next, at least: what comes in between goes into
            one. Whoever comes later is written at once.
    """

    def __init__(
        self, begin: Callable[[Sequence[T]], Callable[[], Failures]], apart: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._begin, self._apart = begin, apart
        self._ended = -math.inf
        # Of its own: those of the loop may all be waiting for what is begun here to end.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vlfeedback-commit")
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def put(self, item: T) -> None:
        """Return after the commit that holds the item; raises what the writing raised."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._drain())
        await future

    async def _drain(self) -> None:
        while self._waiting:
            early = self._ended + self._apart() - time.monotonic()
            if early > 0:
                await asyncio.sleep(early)
            batch, self._waiting = self._waiting, []
            try:
                failures = await _in_a_thread(self._worker, self._begin([item for item, _ in batch]))
            except Exception as error:
                failures = dict.fromkeys(range(len(batch)), error)
            for place, (_, future) in enumerate(batch):
                if future.done():
                    continue
                if place in failures:
                    future.set_exception(failures[place])
                else:
                    future.set_result(None)
            self._ended = time.monotonic()


async def _in_a_thread(worker: ThreadPoolExecutor, rest: Callable[[], R]) -> R:
    try:
        result = asyncio.get_running_loop().run_in_executor(worker, rest)
    except RuntimeError:  # the interpreter is ending and starts no more threads; what is begun is ended all the same
        return rest()
    return await result


class Batcher:
    """Collects outstanding requests and answers them in batches, one batch at a time, in a worker thread.

    Args:
        run: Gives one generation per request, in order.
        most: Requests per batch.
        linger: Seconds to wait for company when fewer are outstanding.
        length: Of a request: those next to the oldest in length are taken together, so that little is padding.
    """

    def __init__(
        self,
        run: Callable[[list[Request]], list[Generation]],
        *,
        most: int,
        linger: float = 0.02,
        length: Callable[[Request], float] | None = None,
    ) -> None:
        self._run, self._most, self._linger, self._length = run, most, linger, length
        self._waiting: list[tuple[Request, asyncio.Future[Generation]]] = []
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vlfeedback-batch")
        self._running: asyncio.Task[None] | None = None

    async def submit(self, request: Request) -> Generation:
        """One request; returns with its batch, raises what the batch raised."""
        future: asyncio.Future[Generation] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._drain())
        return await future

    def _next(self) -> list[tuple[Request, asyncio.Future[Generation]]]:
        waiting, length, order = self._waiting, self._length, list(range(len(self._waiting)))
        if length is not None and len(waiting) > self._most:
            own = length(waiting[0][0])  # the oldest comes first whatever its length, or it might wait for ever
            order.sort(key=lambda at: abs(length(waiting[at][0]) - own))
        chosen = set(order[: self._most])
        self._waiting = [one for at, one in enumerate(waiting) if at not in chosen]
        return [waiting[at] for at in sorted(chosen)]

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if len(self._waiting) < self._most:
                await asyncio.sleep(self._linger)
            batch = self._next()
            try:
                answers = await loop.run_in_executor(self._worker, self._run, [request for request, _ in batch])
                if len(answers) != len(batch):
                    raise RuntimeError(f"a batch of {len(batch)} requests came back with {len(answers)} answers")
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)
