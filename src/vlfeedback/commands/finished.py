"""What `run` and the rooms print when they are done."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from vlfeedback.commands._terminal import table
from vlfeedback.pipeline import Finished


def show(run: Path, done: Finished, console: Console) -> None:
    """A row per room, then calls and money, then what to do next."""
    rows = table(f"run {run}", "room", "kept", "dropped", "", numbers=("kept", "dropped"))
    for room in done.rooms:
        note = "as before" if room.reused else ("" if room.complete else "[bold]interrupted[/bold]")
        rows.add_row(room.room, f"{room.kept:,}", f"{room.dropped:,}", note)
    console.print(rows)
    failed = f", {done.calls_failed:,} without an answer" if done.calls_failed else ""
    console.print(f"calls: {done.calls_made:,} made{failed}, {done.calls_reused:,} reused; spent {done.spent:,.4f}")
    report = run / "report.html"
    console.print(f"next: {'open ' + str(report) if report.exists() else f'vlfeedback status {run}'}", soft_wrap=True)
