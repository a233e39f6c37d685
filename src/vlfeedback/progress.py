"""One progress line on stderr with time left; plain lines now and then where stderr is no terminal."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from vlfeedback.locks import follower

T = TypeVar("T")

KNOWN_AFTER = 0.02
"""Share done before a time left is told: first steps load models and fill windows."""

PLAIN_EVERY = 15.0
"""Seconds between two lines where stderr is a file, or a terminal that cannot draw a bar anew (TERM=dumb)."""

WIDE = 80
"""Columns of a terminal from which on there is room for bars, units, notes or names beside the counts."""


Line = Callable[[], str]


class _Display(Progress):
    """Bars of work that goes on at the same time, and a line of figures below them."""

    def __init__(self, line: Line | None, console: Console) -> None:
        self._line = line
        name, count, left = TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn()
        if console.width < WIDE:  # beside the rest the counts would not be seen
            columns: tuple[ProgressColumn, ...] = (name, count, TextColumn("left"), left)
        else:
            unit, note = TextColumn("{task.fields[unit]}"), TextColumn("{task.fields[note]}")
            columns = (
                name,
                BarColumn(bar_width=None),
                count,
                unit,
                TimeElapsedColumn(),
                TextColumn("left"),
                left,
                note,
            )
        super().__init__(*columns, console=console, refresh_per_second=4)

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bars, then the line."""
        yield self.make_tasks_table(self.tasks)
        if self._line is not None and (told := self._line()):
            yield Text(told, style="dim")


class _Shown:
    """What is on the screen: one display for all bars of a command, and when plain figures were last told."""

    display: _Display | None = None
    line: Line | None = None
    told = 0.0


_shown = _Shown()


@contextmanager
def figures(line: Line) -> Generator[None]:
    """Show a line of figures while bars are shown within, and put these bars on one display.

    Args:
        line: The figures now, as one line, empty while there are none; asked a few times a second.
    """
    console = Console(file=sys.stderr)
    if follower() or _shown.line is not None:
        yield
        return
    _shown.line, _shown.told = line, time.monotonic()
    try:
        if console.is_interactive:
            with _Display(line, console) as _shown.display:
                yield
        else:
            yield
    finally:
        _shown.line = _shown.display = None


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
    if not console.is_interactive:
        yield _plain(label, total, unit)
        return
    if _shown.display is not None:
        yield _advancing(_shown.display, label, total, unit)
        return
    with _Display(None, console) as display:
        yield _advancing(display, label, total, unit)


def _advancing(display: Progress, label: str, total: int | None, unit: str) -> Callable[..., None]:
    task = display.add_task(label, total=total, note="", unit=unit)

    def advance(steps: int = 1, note: str | None = None) -> None:
        if note is None:
            display.advance(task, steps)
        else:
            display.update(task, advance=steps, note=note)

    return advance


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
        if _shown.line is not None and now - _shown.told >= PLAIN_EVERY and (figures := _shown.line()):
            _shown.told = now
            print(figures, file=sys.stderr, flush=True)

    return advance


def track(records: Iterable[T], label: str, total: int | None = None, unit: str = "") -> Iterator[T]:
    """Hand records through and show how far they are; where this ends early, so does the generator that makes them."""
    with bar(label, total, unit) as advance:
        try:
            for record in records:
                yield record
                advance()
        finally:
            if isinstance(records, Generator):  # not when it is collected: calls in flight are drained by its end
                records.close()


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
