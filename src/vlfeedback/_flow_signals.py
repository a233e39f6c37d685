"""The signals that ask a command to stop: Ctrl-C, the system's wish to end it, and a terminal that was closed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Generator
from typing import Any

HANGUP: int | None = getattr(signal, "SIGHUP", None)
"""Sent when a terminal is closed or a connection breaks; some systems have no such signal."""

ALL: tuple[int, ...] = (int(signal.SIGINT), int(signal.SIGTERM), *(() if HANGUP is None else (int(HANGUP),)))
"""All of them."""


@contextlib.contextmanager
def handling(on_signal: Callable[[int, Any], None]) -> Generator[None]:
    """Let a handler have all of them meanwhile; who is started by `nohup` goes on ignoring the terminal's end."""
    numbers = [number for number in ALL if number != HANGUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def kept() -> Generator[None]:
    """Put the handlers of all of them back afterwards, whatever a library puts in their place meanwhile."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set them
        yield
        return
    before = {number: signal.getsignal(number) for number in ALL}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that Python did not set cannot be set by it
                signal.signal(number, handler)


def again(number: int) -> bool:
    """Whether a further signal means that the user cannot wait: a closed terminal sends its own twice by itself."""
    return number != HANGUP


def leave_terminal() -> None:
    """What would be written to a terminal that is gone goes nowhere from now on, and fails nothing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        try:
            os.write(stream, b"")  # fails on a dead terminal; a file or pipe stays where it is
        except OSError:
            os.dup2(nowhere, stream)
    os.close(nowhere)
