"""What a person sees while training runs, and the log that the report reads."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

# Mean log-ratio per token of a logged step below which both sides count as falling, nats.
FALL = 0.1


class Bar:
    """One progress bar on stderr with time left; refreshed by its owner, so that it needs no thread.

    Args:
        label: What is being done.
        total: Units to do.
        unit: What is counted per second.
    """

    def __init__(self, label: str, total: int, unit: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        self._progress = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), auto_refresh=False)
        self._task: TaskID = self._progress.add_task(label, total=total, rate="")
        self._unit, self._began, self._count, self._shown = unit, time.monotonic(), 0, 0.0

    def advance(self, steps: int, units: int) -> None:
        """Count finished work.

        Args:
            steps: What the bar counts.
            units: What the rate counts.
        """
        self._count += units
        now = time.monotonic()
        rate = self._count / max(now - self._began, 1e-9)
        self._progress.update(self._task, advance=steps, rate=f"{rate:,.0f} {self._unit}/s")
        if now - self._shown > 0.2:
            self._progress.refresh()
            self._shown = now

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, style="yellow", highlight=False)

    def start(self, done: int = 0) -> None:
        """Show the bar, with some of the work already done in an earlier run."""
        self._began = time.monotonic()
        self._progress.update(self._task, completed=done)
        self._progress.start()

    def stop(self) -> None:
        """Leave the bar as it stands."""
        self._progress.refresh()
        self._progress.stop()


@contextmanager
def bar(label: str, total: int, unit: str) -> Iterator[Bar]:
    """A bar for the length of a block."""
    shown = Bar(label, total, unit)
    shown.start()
    try:
        yield shown
    finally:
        shown.stop()


class TrainLog:
    """`train_log.jsonl`: one line per logged step, with the field's names.

    Args:
        path: The file.
        after: Lines of later steps are removed, they belong to a run that was interrupted after its last checkpoint.
    """

    def __init__(self, path: Path, after: int) -> None:
        self._path = path
        kept = [row for row in read_log(path) if row["step"] <= after] if path.exists() else []
        path.parent.mkdir(parents=True, exist_ok=True)
        waiting = path.with_suffix(".part")
        waiting.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        os.replace(waiting, path)

    def write(self, row: Mapping[str, float | str]) -> None:
        """Append one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a `train_log.jsonl`, without a last one that a kill cut off."""
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def falling(row: Mapping[str, float]) -> str | None:
    """A warning when chosen and rejected responses become unlikely together, else None.

    Args:
        row: Means of a logged step: `logratios/chosen`, `logratios/rejected` (nats) and `lengths/chosen` (tokens).
    """
    chosen, rejected, tokens = (row.get(k, math.nan) for k in ("logratios/chosen", "logratios/rejected", "lengths/chosen"))
    if not (chosen < -FALL * tokens and rejected < -FALL * tokens):
        return None
    return (
        f"chosen and rejected responses fall together (log-ratios {chosen:.1f} and {rejected:.1f} nats at "
        f'{tokens:.0f} tokens): lower the learning rate, raise beta, or use = "anchored"'
    )
