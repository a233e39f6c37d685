"""`vlfeedback export`: the pairs of a run folder in a format that others read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from vlfeedback import groups, progress, registry
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.exchange import Exporter
from vlfeedback.run_folder import RunFolder


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
        format: Name of a format that can be written.
        run_dir: A run folder with pairs.
        out: The folder to make; it must not exist or be empty.
        options: Options of the format.
    Returns:
        How many rows were written, and what was left out.
    Raises:
        ConfigError: unknown format or option, no such run folder, or `out` is not empty.
        DataError: there is nothing to export, or the disk is full.
    """
    exporter = registry.bind(registry.find("exchange", format), options or {}, f"export {format}")
    if not isinstance(exporter, Exporter):
        raise ConfigError(f"{format!r} can only be imported. `vlfeedback export --help` lists what can be written.")
    run = RunFolder.open(run_dir)
    total = run.need("instructions", "source").rows
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} exists and is not empty. Give a new --out, or delete it first.")
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        found = progress.track(groups.load(run_dir, rationales=False), "export", total, "instructions")
        shape = exporter.write(found, run.roots.open, part)
        if out.exists():
            out.rmdir()
        part.rename(out)
    except OSError as error:
        raise DataError(f"{out} could not be written ({error}). Free some disk space and run again.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return ExportSummary(format, out, shape.rows, shape.left_out)


def show(found: ExportSummary, console: Console) -> None:
    """Print a summary for people."""
    rows = ", ".join(f"{count:,} {split}" for split, count in found.rows.items())
    console.print(f"{found.format}: {rows} rows in {found.out}", soft_wrap=True, highlight=False)
    for what, count in found.left_out.items():
        console.print(f"left out: {count:,} {what}", highlight=False)
