"""`vlfeedback train --data`: preference data and a model, no run.toml; the run folder is made on the way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlfeedback.commands.import_ import import_data
from vlfeedback.commands.run import Opened, open_run
from vlfeedback.errors import ConfigError
from vlfeedback.locks import launched
from vlfeedback.run_folder import RunFolder


def open_data(
    data: Path,
    model: str,
    out: Path | None,
    *,
    format: str = "trl",
    images: Path | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Opened:
    """A run folder with the pairs of a preference file, ready to be trained on.

    Rows of one prompt and picture become one group. An equal command goes on where the last one stopped.

    Args:
        data: File or folder in a preference format.
        model: The policy before training: folder or hub name.
        out: The run folder.
        format: Name of the format, see `vlfeedback import --help`.
        images: Folder or `.zip` of the pictures; None if they come inside the file.
        changes: From `--set`.
    Raises:
        ConfigError: no model or no folder is named, or the format holds ratings and no pairs.
        DataError: nothing in the data can be used.
    """
    if launched() > 1:
        raise ConfigError(
            f"{launched()} processes were started, and the data can only be read by one: `vlfeedback import {format} "
            f"{data} --out DIR` first, then start `vlfeedback train DIR --set train.model=NAME` with the launcher."
        )
    if not model or out is None:
        raise ConfigError("--data wants --model (a folder or hub name) and --out (the folder to make).")
    import_data(format, data, images=images, out=out)
    if RunFolder.open(out).info("pairs") is None:
        raise ConfigError(f"{format} holds ratings and no pairs: vlfeedback pair {out}, then vlfeedback train {out}.")
    opened = open_run(out, None, {"train.model": model, **(changes or {})})
    return Opened(opened.run, ())  # what the command line asked for is no news
