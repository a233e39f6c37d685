"""What `run` and the rooms print when they are done, and what they say last where calls have no answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vlfeedback.commands._terminal import table
from vlfeedback.commands.status import next_step
from vlfeedback.pipeline import Finished, Unanswered

NAMED = 6
"""Models that are named when their calls have no answer; more are counted."""


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
    console.print(f"next: {next_step(run)}", soft_wrap=True, highlight=False)


def left(unanswered: Sequence[Unanswered]) -> str:
    """The last line of a command that leaves calls without an answer; empty where there are none."""
    if not unanswered:
        return ""
    by_model: dict[str, list[Unanswered]] = {}
    for one in unanswered:
        by_model.setdefault(one.model, []).append(one)
    told = [
        f"{model}: " + ", ".join(f"{one.calls:,} {one.error}" for one in rows)
        for model, rows in list(by_model.items())[:NAMED]
    ]
    if len(by_model) > NAMED:
        others = list(by_model.values())[NAMED:]
        told.append(f"{len(others)} more models: {sum(one.calls for rows in others for one in rows):,}")
    total = sum(one.calls for one in unanswered)
    has, them = ("call has", "it") if total == 1 else ("calls have", "them")
    return f"{total:,} {has} no answer ({'; '.join(told)}). The same command asks for {them} again, and for nothing else."
