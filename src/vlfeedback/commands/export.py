"""`vlfeedback export`: the pairs of a run folder in a format that others read."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from vlfeedback import _pipeline_upstream as upstream, groups, progress, registry
from vlfeedback.commands._terminal import say
from vlfeedback.errors import ConfigError, DataError, ModelUnavailable, StaleInput, check_name
from vlfeedback.exchange import Exporter
from vlfeedback.ids import hash_id
from vlfeedback.run_folder import RunFolder, told_when_unwritable

MERGED = "merged"
"""What `export` calls weights: adapter and base as one checkpoint."""


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What an export wrote and what it left out.

    Attributes:
        rows: Rows by split.
        left_out: What was not written, in words, with counts.
    """

    format: str
    out: Path
    rows: dict[str, int]
    left_out: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return {"format": self.format, "out": str(self.out), "rows": self.rows, "left_out": self.left_out}


def export(format: str, run_dir: Path, out: Path, *, options: Mapping[str, object] | None = None) -> ExportSummary:
    """Write the pairs of a run folder into a new folder, which appears when it is complete.

    Args:
        format: Name of a format that can be written, or `merged` for the trained adapter folded into its base.
        run_dir: A run folder with pairs; for `merged` one with a checkpoint, or the checkpoint.
        out: The folder to make; it must not exist or be empty.
        options: Options of the format.
    Returns:
        How many rows were written, and what was left out.
    Raises:
        ConfigError: unknown format or option, no such run folder, or `out` is not empty.
        StaleInput: the pairs are older than their settings, or than the responses or annotations that are there.
        DataError: there is nothing to export, the disk is full, or `out` cannot be written.
    """
    if format == MERGED:
        return _merged(run_dir, out, options or {})
    exporter = registry.bind(registry.find("exchange", format), options or {}, f"export {format}")
    if not isinstance(exporter, Exporter):
        raise ConfigError(f"{format!r} can only be imported. `vlfeedback export --help` lists what can be written.")
    run = RunFolder.open(run_dir)
    total = run.need("instructions", "source").rows
    _refuse_stale(run)
    with _appearing(out) as part:
        found = progress.track(groups.load(run_dir, rationales=False), "export", total, "instructions")
        shape = exporter.write(found, run.roots.open, part)
    return ExportSummary(format, out, shape.rows, shape.left_out)


def _refuse_stale(run: RunFolder) -> None:
    """Pairs of other tables or settings are not given away; of tables before them it is said.

    Raises:
        StaleInput: the pairs are out of date.
    """
    for one in upstream.behind(run):
        again = f"`vlfeedback run {run.path} --from {one.room} --to pair` brings it up to date."
        if one.name == "pairs":
            raise StaleInput(f"{one.words(run)}. {again}")
        print(f"note: {one.words(run)}; {again}", file=sys.stderr, flush=True)


@contextmanager
def _appearing(out: Path) -> Generator[Path]:
    """A folder to fill, which gets its name when the block has ended well."""
    check_name(out)
    part = out.with_name(f".{hash_id('part', out.name)[:12]}.{os.getpid()}.part")  # the name alone may fill what fits
    with told_when_unwritable(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigError(f"{out} exists and is not empty. Give a new --out, or delete it first.")
        part.mkdir(parents=True)
    try:
        yield part
        if out.exists():
            out.rmdir()
        part.rename(out)
    except OSError as error:
        raise DataError(f"{out} could not be written ({error}). Free some disk space and run again.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _merged(run_dir: Path, out: Path, options: Mapping[str, object]) -> ExportSummary:
    """The trained adapter of a run folder, or of a checkpoint's own folder, folded into its base."""
    if options:
        raise ConfigError(f"export merged has no options, got {', '.join(options)}")
    if importlib.util.find_spec("peft") is None:
        raise ModelUnavailable("merging needs peft: pip install 'vlfeedback[train]'")
    from vlfeedback.train._merge import merge

    trained = run_dir / "checkpoint"
    with _appearing(out) as part:
        merge(trained if trained.is_dir() else run_dir, part)
    return ExportSummary(MERGED, out, {"checkpoint": 1}, {})


def show(found: ExportSummary, console: Console) -> None:
    """Print a summary for people."""
    if found.format == MERGED:
        say(console, f"merged: adapter and base as one checkpoint in {found.out}")
        return
    rows = ", ".join(f"{count:,} {split}" for split, count in found.rows.items())
    say(console, f"{found.format}: {rows} rows in {found.out}")
    for what, count in found.left_out.items():
        say(console, f"left out: {count:,} {what}")
