"""What `run` and the rooms print when they are done."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from vlfeedback.commands._terminal import table
from vlfeedback.commands.status import next_step
from vlfeedback.pipeline import Finished


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
    if done.calls_failed:
        console.print(f"`vlfeedback run {run}` asks again for what has no answer, and for nothing else", soft_wrap=True)
    console.print(f"next: {next_step(run)}", soft_wrap=True, highlight=False)
