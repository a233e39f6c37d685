"""How often Python looks for garbage in cycles: not at all, or seldom, while there is hardly any."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Generator

SELDOM = (100_000, 20, 50)
"""Allocations before a look at the youngest objects, and looks before one at older ones. With Python's own numbers
(700, 10, 10) an eighth of the processor time of a call went into looking: hundreds of calls in flight are thousands of
young objects, all of them alive."""


@contextlib.contextmanager
def without_collection() -> Generator[None]:
    """For millions of records, which hold no cycles: looking for some took a quarter to a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class _Users:
    """Who wants it seldom now, and what stood there before the first of them came."""

    lock = threading.Lock()
    now = 0
    before: tuple[int, int, int] = (0, 0, 0)


@contextlib.contextmanager
def collecting_seldom() -> Generator[None]:
    """While calls are in flight; several at a time may ask for it, in any order of coming and going."""
    with _Users.lock:
        _Users.now += 1
        if _Users.now == 1:
            _Users.before = gc.get_threshold()
            if 0 < _Users.before[0] < SELDOM[0]:
                gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        with _Users.lock:
            _Users.now -= 1
            if not _Users.now:
                gc.set_threshold(*_Users.before)
