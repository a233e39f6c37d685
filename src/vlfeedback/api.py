"""The rooms as five functions, for scripts and notebooks.

from vlfeedback.api import collect, compare, evaluate, pair, train

run = collect("run.toml", out="runs/mine")
pair(run), train(run), evaluate(run)
for row in compare(run):
    print(row)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vlfeedback.errors import ConfigError
from vlfeedback.run_folder import RunFolder


def collect(settings: str | Path, *, out: str | Path | None = None, **changes: Any) -> RunFolder:
    """Read the sources, ask the pool and the judge; calls that are in the ledger already are not made again.

    Args:
        settings: A run.toml, or a run folder to go on with.
        out: The run folder; default `runs/NAME`.
        changes: Settings by key, a dot written as two underscores: `decode__k=2`.
    Raises:
        VLFeedbackError: see `errors`; everything that was collected until then is kept.
    """
    from vlfeedback.commands.run import open_run

    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    run = open_run(Path(settings), None if out is None else Path(out), dotted).run
    return _through(run, "source", "annotate")


def pair(run: RunFolder | str | Path, **changes: Any) -> RunFolder:
    """Turn ratings into preference pairs; `pair(run, use="best_worst")` changes the rule."""
    return _through(_with(run, "pair", changes), "pair", "pair")


def train(run: RunFolder | str | Path, **changes: Any) -> RunFolder:
    """Train the policy, and a checkpoint for every [[control]]; `train(run, epochs=1)` changes a setting."""
    return _through(_with(run, "train", changes), "train", "train")


def evaluate(run: RunFolder | str | Path) -> RunFolder:
    """Ask base, aligned and controls every benchmark, and write report.html."""
    return _through(_with(run, "", {}), "evaluate", "report")


def compare(run: RunFolder | str | Path) -> list[dict[str, Any]]:
    """Paired differences of every evaluated model to the base, with 95 % intervals.

    Raises:
        ConfigError: nothing was evaluated yet.
    """
    path = _with(run, "", {}).path / "comparisons.json"
    if not path.exists():
        raise ConfigError(f"{path} is not there: call evaluate(run) first.")
    return json.loads(path.read_text(encoding="utf-8"))


def _with(run: RunFolder | str | Path, section: str, changes: dict[str, Any]) -> RunFolder:
    from vlfeedback import config

    opened = run if isinstance(run, RunFolder) else RunFolder.open(Path(run))
    if not changes:
        return opened
    dotted = {f"{section}.{key.replace('__', '.')}": value for key, value in changes.items()}
    return RunFolder.create(opened.path, config.changed(opened.settings, dotted, section))


def _through(run: RunFolder, first: str, last: str) -> RunFolder:
    from vlfeedback import pipeline

    pipeline.run_rooms(run, first, last)
    return run
