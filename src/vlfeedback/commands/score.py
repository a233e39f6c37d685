"""`vlfeedback score`: the scorer alone, on files in a benchmark's official format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from vlfeedback.commands._terminal import table
from vlfeedback.errors import ConfigError, NotBuiltYet
from vlfeedback.registry import closest

if TYPE_CHECKING:
    from vlfeedback.evaluate._mme_result import MMEResult, Total

LATER = ("pope", "mmhal", "mmvet", "llava_bench")
"""Benchmarks of the design whose scorers this version does not have."""


def score(benchmark: str, paths: Sequence[Path]) -> MMEResult:
    """Score answers that lie on disk; no model, no network.

    Args:
        benchmark: `mme`.
        paths: For MME one folder with a text file per subtask: image, question, ground truth, response, tab-separated.
    Raises:
        ConfigError: unknown benchmark, or not one folder.
        NotBuiltYet: a benchmark that is planned.
        DataError: the files are not in the official format.
    """
    if benchmark in LATER:
        raise NotBuiltYet(f"this version cannot score {benchmark} yet; it has mme.")
    if benchmark != "mme":
        raise ConfigError(f"there is no scorer {benchmark!r}; {closest(benchmark, ('mme', *LATER))}")
    if len(paths) != 1:
        raise ConfigError(f"score mme takes one folder of answer files, not {len(paths)} paths.")
    from vlfeedback.evaluate.mme import score_folder

    return score_folder(paths[0])


def show(result: MMEResult, console: Console) -> None:
    """Totals with intervals, subtasks, and everything that makes them less than they seem."""
    if not result.complete:
        console.print(
            f"[bold]INCOMPLETE[/bold]: {result.n_present:,} of {result.n_expected:,} questions; "
            f"missing {', '.join(result.missing) or 'some questions'}"
        )
    totals = table("", "MME (mme/official)", "score", "95 % interval", "readable answers only")
    for name, total in (("perception", result.perception), ("cognition", result.cognition)):
        if total is not None:
            totals.add_row(
                name, f"{total.value:.1f}", _interval(total), "" if total.readable is None else f"{total.readable:.1f}"
            )
    console.print(totals)
    rows = table("", "subtask", "score", "accuracy", "accuracy+", "images", "neither yes nor no")
    for one in result.subtasks:
        shares = (f"{one.accuracy:.3f}", f"{one.accuracy_plus:.3f}", str(one.images), f"{one.other:.1%}")
        rows.add_row(one.name, f"{one.score:.1f}", *shares)
    console.print(rows)
    for warning in result.warnings:
        console.print(f"note: {warning}", highlight=False, soft_wrap=True)


def _interval(total: Total) -> str:
    if total.low is None or total.high is None:
        return "too few images"
    return f"{total.low:.1f} to {total.high:.1f}"
