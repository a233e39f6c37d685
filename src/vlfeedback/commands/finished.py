"""What `run` and the rooms print when they are done, and what they say last where calls have no answer."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vlfeedback.commands._terminal import say, table
from vlfeedback.commands.status import next_step
from vlfeedback.pipeline import Finished, Unanswered

NAMED = 6
"""Models that are named when their calls have no answer, and pictures that are why; more are counted."""


def show(run: Path, done: Finished, console: Console) -> None:
    """A row per room, then calls and money, then what to do next."""
    rows = table(f"run {run}", "room", "kept", "dropped", "", numbers=("kept", "dropped"))
    for room in done.rooms:
        note = "as before" if room.reused else ("" if room.complete else "[bold]incomplete[/bold]")
        rows.add_row(room.room, f"{room.kept:,}", f"{room.dropped:,}", note)
    console.print(rows)
    failed = f", {done.calls_failed:,} without an answer" if done.calls_failed else ""
    console.print(f"calls: {done.calls_made:,} made{failed}, {done.calls_reused:,} reused; spent {done.spent:,.4f}")
    if done.interrupted:
        return  # the command line says how to go on
    say(console, f"next: {next_step(run)}")


def left(unanswered: Sequence[Unanswered], waiting: int = 0, pictures: Sequence[str] = ()) -> str:
    """The last line of a command that leaves calls without an answer; empty where there are none.

    Args:
        waiting: Instructions that were not judged because responses to them may still come.
        pictures: What is wrong with pictures that calls could not be made for.
    """
    wait = f"{waiting:,} {'instruction waits' if waiting == 1 else 'instructions wait'} for"
    if not unanswered:
        again = "decode has calls without an answer, and `vlfeedback run DIR` asks for them again."
        return f"{wait} missing responses: {again}" if waiting else ""
    total = sum(one.calls for one in unanswered)
    has, them = ("call has", "it") if total == 1 else ("calls have", "them")
    held = f" and {wait} the missing responses" if waiting else ""
    again = f"The same command asks for {them} again, and for nothing else."
    if pictures:
        again = f"{_unreadable(pictures)} Put {'it' if len(pictures) == 1 else 'them'} back. {again}"
    return f"{total:,} {has} no answer ({_by_model(unanswered)}){held}. {again}{_rest(unanswered)}"


def _rest(unanswered: Sequence[Unanswered]) -> str:
    """When to come back, where an endpoint asked for time that is not over: sooner, some would be in vain again."""
    until, model = max((one.until or 0.0, one.model) for one in unanswered)
    if until <= time.time():
        return ""
    whole = time.localtime(math.ceil(until / 60) * 60)
    return f" Run it after {time.strftime('%d %b %H:%M', whole)}: {model} asks to wait until then."


def _unreadable(pictures: Sequence[str]) -> str:
    what = "1 picture cannot" if len(pictures) == 1 else f"{len(pictures):,} pictures cannot"
    more = f"; and {len(pictures) - NAMED:,} more" if len(pictures) > NAMED else ""
    return f"{what} be read any more ({'; '.join(pictures[:NAMED])}{more})."


def waiting_in(done: Finished) -> int:
    """Instructions that were not judged because responses to them may still come."""
    return sum(room.waiting for room in done.rooms)


def pictures_in(done: Finished) -> tuple[str, ...]:
    """What is wrong with pictures that calls could not be made for, each once."""
    return tuple(dict.fromkeys(picture for room in done.rooms for picture in room.pictures))


def _by_model(unanswered: Sequence[Unanswered]) -> str:
    rows: dict[str, list[Unanswered]] = {}
    for one in unanswered:
        rows.setdefault(one.model, []).append(one)
    told = [f"{model}: " + ", ".join(f"{one.calls:,} {one.error}" for one in mine) for model, mine in rows.items()]
    if len(told) > NAMED:
        others = [one.calls for mine in list(rows.values())[NAMED:] for one in mine]
        told = [*told[:NAMED], f"{len(rows) - NAMED} more models: {sum(others):,}"]
    return "; ".join(told)
