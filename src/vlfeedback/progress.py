"""One progress line on stderr with time left; plain lines now and then where stderr is no terminal."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from vlfeedback.locks import follower

T = TypeVar("T")

KNOWN_AFTER = 0.02
"""Share done before a time left is told: first steps load models and fill windows."""

PLAIN_EVERY = 15.0
"""Seconds between two lines where stderr is a file."""


@contextmanager
def bar(label: str, total: int | None, unit: str = "") -> Generator[Callable[..., None]]:
    """A bar for a piece of work.

    Args:
        label: What is done, a few words.
        total: Steps, or None where unknown.
        unit: What a step is.
    Yields:
        `advance(steps=1, note="")`, cheap enough to call for every record.
    """
    console = Console(file=sys.stderr)
    if follower():
        yield lambda *_, **__: None
        return
    if not console.is_terminal:
        yield _plain(label, total, unit)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn(), TextColumn(unit))
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, *times, console=console, refresh_per_second=4) as progress:
        task = progress.add_task(label, total=total, note="")

        def advance(steps: int = 1, note: str | None = None) -> None:
            if note is None:
                progress.advance(task, steps)
            else:
                progress.update(task, advance=steps, note=note)

        yield advance


def _plain(label: str, total: int | None, unit: str) -> Callable[..., None]:
    began = last = time.monotonic()
    done = 0

    def advance(steps: int = 1, note: str | None = None) -> None:
        nonlocal done, last
        done += steps
        now = time.monotonic()
        if now - last < PLAIN_EVERY:
            return
        last = now
        known = total is not None and done >= KNOWN_AFTER * total
        left = f", {(now - began) / done * (total - done):.0f} s left" if total and known else ""
        share = f"{done:,}/{total:,}" if total else f"{done:,}"
        print(f"{label}: {share} {unit}{left}{' ' + note if note else ''}", file=sys.stderr, flush=True)

    return advance


def track(records: Iterable[T], label: str, total: int | None = None, unit: str = "") -> Iterator[T]:
    """Hand records through and show how far they are."""
    with bar(label, total, unit) as advance:
        for record in records:
            yield record
            advance()


@contextmanager
def quiet_transformers() -> Generator[None]:
    """Without the library's own bars, which would tear ours, and what it warns of that is not ours to change."""
    from transformers.utils import logging as theirs

    shown = theirs.is_progress_bar_enabled()
    theirs.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # peft asks transformers for a name that transformers has just renamed
            warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
            yield
    finally:
        if shown:
            theirs.enable_progress_bar()
