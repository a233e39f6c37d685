"""`vlfeedback train --data`: preference data and a model, no run.toml; the run folder is made on the way."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlfeedback import config
from vlfeedback.commands._named import check_training, located
from vlfeedback.commands.import_ import ImportSummary, import_data
from vlfeedback.commands.run import Opened
from vlfeedback.config import Settings
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.exchange._form import form_of
from vlfeedback.locks import launched
from vlfeedback.recipes import objective_of
from vlfeedback.run_folder import RunFolder


def open_data(
    data: Path,
    model: str,
    out: Path | None,
    *,
    format: str = "",
    images: Path | None = None,
    split: str = "",
    changes: Mapping[str, Any] | None = None,
    allow_plugins: bool = False,
) -> Opened:
    """A run folder with the pairs of a preference file, ready to be trained on.

    Rows of one prompt and picture become one group. An equal command goes on where the last one stopped; another one
    begins anew with its own settings, whatever `[train]` an earlier one has left in the folder.

    Args:
        data: File or folder in a preference format, or `OWNER/NAME` of a dataset of the hub.
        model: The policy before training: folder or hub name.
        out: The run folder.
        format: Name of the format, see `vlfeedback import --help`; empty for the one that its columns say.
        images: Folder or `.zip` of the pictures; None if they come inside the file.
        split: Of a folder with several splits, the only one to read.
        changes: From `--set`.
        allow_plugins: Whether an objective may be code from outside the package.
    Raises:
        ConfigError: no model or no folder is named, a setting is wrong, or the format holds ratings and no pairs.
        PluginError: there is no such objective.
        ModelUnavailable: the model is not there.
        DataError: nothing in the data can be used, or the hub's dataset cannot be fetched.
    """
    if launched() > 1:
        named = format or "FORMAT"
        raise ConfigError(
            f"{launched()} processes were started, and the data can only be read by one: `vlfeedback import {named} "
            f"{data} --out DIR` first, then start `vlfeedback train DIR --set train.model=NAME` with the launcher."
        )
    if not model or out is None:
        raise ConfigError("--data wants --model (a folder or hub name) and --out (the folder to make).")
    given = {"train.model": model, **(changes or {})}
    # Reading and hashing pictures takes long: mistakes in settings, and what is not there, are said before.
    own = {key: value for key, value in given.items() if key == "eval_share" or key.startswith("train.")}
    asked = config.changed(Settings(title="train"), own)
    objective_of(asked.train.loss, allow_plugins=allow_plugins)
    path = located(data)
    if path.exists():
        check_training(asked.train)
        format = format or form_of(path, split)
    options = {"split": split} if split else {}
    found = import_data(format or "trl", path, images=images, out=out, eval_share=asked.eval_share, options=options)
    if RunFolder.open(out).info("pairs") is None:
        raise ConfigError(f"{format} holds ratings and no pairs: vlfeedback pair {out}, then vlfeedback train {out}.")
    _tell(data, found)
    if not found.books.pairs:
        raise DataError(f"none of the {found.books.rows:,} rows of {data} gives a pair: {_counted(found.dropped)}.")
    run = RunFolder.open(out)
    fresh = run.settings.model_copy(update={"train": type(run.settings.train)()})
    return Opened(
        RunFolder(out, config.changed(fresh, given), written=False), ()
    )  # what the command line asks for is no news


def _tell(data: Path, found: ImportSummary) -> None:
    """Say before anything is computed what of the data is used, what is not, and why."""
    books = found.books
    told = [
        f"{data}, read as {found.format}: {books.rows:,} rows, {books.pairs:,} pairs of {books.instructions:,} prompts"
    ]
    told += [f"  {count:,} left out: {reason}" for reason, count in found.dropped.items()]
    told += [f"  {count:,} {what}" for what, count in found.notes.items()]
    if found.dropped:
        told.append(f"  which and why: {found.out / 'dropped' / 'exchange.parquet'}")
    print("\n".join(told), file=sys.stderr, flush=True)


def _counted(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
