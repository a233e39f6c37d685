"""`vlfeedback status` and `vlfeedback digest`: where a run stands, what was dropped and why, what was spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from vlfeedback import _pipeline_upstream as upstream, progress, tables
from vlfeedback._pipeline_upstream import Behind
from vlfeedback.commands._terminal import say, table, typed
from vlfeedback.errors import ConfigError
from vlfeedback.ledger import Ledger, Total
from vlfeedback.records import Dropped
from vlfeedback.run_folder import TABLES, RunFolder
from vlfeedback.tables import TableInfo
from vlfeedback.train._note import is_finished

_CALLS = ("calls", "state", "number", "unsure", "tokens in", "out", "cost")
_COUNTED = ("calls", "unsure", "tokens in", "tokens out", "cost")


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run stands.

    Attributes:
        tables: What each table that is there says of itself.
        dropped: Counts by room and reason.
        totals: Sums over the ledger's calls.
        spent: Upper bound of what they cost.
        waiting: Instructions that were not judged because responses to them may still come.
        next: The command to type next.
        stale: Tables that are older than their settings, or than what they were made of.
    """

    run: Path
    tables: dict[str, TableInfo]
    dropped: dict[str, dict[str, int]]
    totals: tuple[Total, ...]
    spent: float
    next: str
    waiting: int = 0
    stale: tuple[Behind, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "run": str(self.run),
            "tables": {name: asdict(info) for name, info in self.tables.items()},
            "dropped": self.dropped,
            "calls": [asdict(total) for total in self.totals],
            "spent": self.spent,
            "next": self.next,
            "waiting": self.waiting,
            "stale": {one.name: one.depends for one in self.stale},
        }


def status(path: Path) -> Status:
    """Look at a run folder; nothing is written, and a running command is not disturbed.

    Raises:
        ConfigError: it is no run folder.
    """
    run = RunFolder.open(path)
    if not any(path.glob("*.parquet")) and not any((path / name).exists() for name in (".lock", "ledger.sqlite")):
        raise ConfigError(
            f"{path} is no run folder: it holds a run.toml and nothing that a run has made. "
            f"Start a run with `vlfeedback run {path / 'run.toml'} --out DIR`."
        )
    found = {name: info for name in TABLES if (info := run.info(name)) is not None}
    dropped: dict[str, dict[str, int]] = {}
    waiting: set[str] = set()
    for file in sorted((path / "dropped").glob("*.parquet")):
        reasons: Counter[str] = Counter()
        for record in tables.read(file, Dropped):
            reasons[record.reason] += 1
            if record.reason == "waiting":  # one record per judge and order, named INSTRUCTION/JUDGE/ORDER
                waiting.add(record.record_id.partition("/")[0])
        if reasons:
            dropped[file.stem] = dict(reasons.most_common())
    totals: tuple[Total, ...] = ()
    if run.ledger_path.exists():
        with Ledger.open(run.ledger_path, write=False) as ledger:
            totals = ledger.totals()
    spent = sum(total.cost + total.lost_cost for total in totals)
    stale = upstream.behind(run)
    return Status(path, found, dropped, totals, spent, _next(run, found, stale), len(waiting), stale)


def next_step(path: Path) -> str:
    """The command to type next."""
    run = RunFolder.open(path)
    return _next(run, {name: info for name in TABLES if (info := run.info(name)) is not None}, upstream.behind(run))


def _next(run: RunFolder, found: dict[str, TableInfo], stale: Sequence[Behind]) -> str:
    path = typed(run.path)
    order = {"instructions": "source", "responses": "decode", "annotations": "annotate", "pairs": "pair"}
    imported = any(info.room == "exchange" for info in found.values())
    if _whole(found.get("scores")) and "instructions" not in found and not run.settings.source:
        return f"vlfeedback compare {path} OTHER_DIR"
    if "scores" in found and not run.settings.source and not run.settings.train.model:
        return f"vlfeedback evaluate {path}"
    for name, room in order.items():
        if name in found and found[name].complete:
            continue
        if imported and "pairs" in found:
            break
        return f"vlfeedback pair {path}" if imported and room == "pair" else f"vlfeedback run {path}"
    if stale:
        return f"vlfeedback run {path} --from {stale[0].room}"
    trained = is_finished(run.path / "checkpoint")
    if run.settings.train.model and not trained:
        return f"vlfeedback train {path}"
    if run.settings.train.model and run.settings.evaluate and not _whole(found.get("scores")):
        return f"vlfeedback evaluate {path}"
    if _is_newest(run.path / "report.html", run, found):
        return f"open {typed(run.path / 'report.html')}"
    if trained and not run.settings.evaluate:
        return f"the checkpoint is {run.path / 'checkpoint'}; vlfeedback report {path}"
    return f"vlfeedback report {path}"


def _is_newest(report: Path, run: RunFolder, found: Iterable[str]) -> bool:
    """Whether a report is there, and no table has been made since."""
    if not report.exists():
        return False
    made = report.stat().st_mtime_ns
    return all(run.table(name).stat().st_mtime_ns <= made for name in found)


def _whole(found: TableInfo | None) -> bool:
    return found is not None and found.complete


def show(found: Status, console: Console) -> None:
    """Print a status for people."""
    stale = {one.name for one in found.stale}
    rows = table(f"run {found.run}", "table", "rows", "complete", "made by", numbers=("rows",))
    for name, info in found.tables.items():
        whole = "yes" if info.complete else "[bold]no[/bold]"
        rows.add_row(name, f"{info.rows:,}", "[bold]out of date[/bold]" if name in stale else whole, info.room)
    console.print(rows)
    for one in found.stale:
        say(console, f"{one.name} is out of date: {one.depends} changed since")
    if found.dropped:
        gone = table("dropped", "room", "reason", "records", numbers=("records",))
        for room, reasons in found.dropped.items():
            for reason, count in reasons.items():
                gone.add_row(room, reason, f"{count:,}")
        console.print(gone)
    if found.waiting:
        wait = "instruction waits" if found.waiting == 1 else "instructions wait"
        say(console, f"{found.waiting:,} {wait} to be judged until responses that may still come are there")
    if found.totals:
        _show_calls(found.totals, console)
        unsure = sum(one.unsure for one in found.totals)
        note = f"; {unsure:,} sends have an unknown fate and are counted at their reserve" if unsure else ""
        console.print(f"spent at most {found.spent:,.4f}{note}", soft_wrap=True)
    say(console, f"next: {found.next}")


def _show_calls(totals: Sequence[Total], console: Console) -> None:
    """A row per model, purpose and state; where these would not fit beside their names, some lines for each."""
    rows = table("", *_CALLS, numbers=_CALLS[2:])
    for one in totals:
        name = f"{one.purpose} {one.model}"
        counts = [f"{n:,}" for n in (one.calls, one.unsure, one.usage.input, one.usage.output)] + [f"{one.cost:,.4f}"]
        if console.width >= progress.WIDE:
            rows.add_row(escape(name), one.state, *counts)
            continue
        say(console, f"\n{name}: {one.state}")
        console.print(", ".join(f"{count} {what}" for count, what in zip(counts, _COUNTED, strict=True)))
    console.print(rows if rows.row_count else "")


def digest(path: Path) -> dict[str, str]:
    """Identity of a run: per table an order-independent digest of its rows, without times and costs.

    Raises:
        ConfigError: it is no run folder, or an empty one.
    """
    run = RunFolder.open(path)
    found = {name: info.digest for name in TABLES if (info := run.info(name)) is not None}
    found |= {f"dropped/{file.stem}": tables.info(file).digest for file in sorted((path / "dropped").glob("*.parquet"))}
    if not found:
        raise ConfigError(f"{path} has no tables yet: run `vlfeedback run {path}` first.")
    return found
