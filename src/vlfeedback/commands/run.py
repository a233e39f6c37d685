"""`vlfeedback run`: start a run from a run.toml, or go on with a run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vlfeedback import config
from vlfeedback.errors import ConfigError, too_long
from vlfeedback.run_folder import RunFolder, told_when_unwritable


class Opened(NamedTuple):
    """A run folder and what its settings have become since last time."""

    run: RunFolder
    changes: tuple[str, ...]


def open_run(target: Path, out: Path | None, changes: Mapping[str, Any], limit: int | None = None) -> Opened:
    """Find the run folder that a command works on, or say what a new one will hold; nothing is written yet.

    Args:
        target: A run.toml, or a run folder to go on with.
        out: The run folder for a run.toml; default `runs/NAME` with the name of the file.
        changes: From `--set`.
        limit: From `--limit`.
    Raises:
        ConfigError: neither exists, a name is too long, a setting is wrong, or the file would be overwritten.
        DataError: the run folder cannot be looked at.
    """
    if limit is not None:
        changes = {**changes, "limit": limit}
    for path in (target, out):
        _short_enough(path)
    if target.is_dir():
        old = RunFolder.open(target)
        if out is not None and out.resolve() != target.resolve():
            raise ConfigError(f"{target} is a run folder already: leave --out away, or give a run.toml.")
        new = config.changed(old.settings, changes) if changes else old.settings
        return Opened(RunFolder(target, new, written=not changes), tuple(config.differences(old.settings, new)))
    settings = config.changed(config.load(target), changes) if changes else config.load(target)
    folder = out or Path("runs") / target.stem
    differing: tuple[str, ...] = ()
    with told_when_unwritable(folder):
        again = (folder / "run.toml").exists()
    if again and not (folder / ".lock").exists() and target.samefile(folder / "run.toml"):
        raise ConfigError(
            f"{target} would be overwritten: a run keeps its settings, as resolved and without comments, in a run.toml "
            f"of its own folder, and --out is where yours lies. Give another --out, such as {folder / 'runs'}."
        )
    if again:
        differing = tuple(config.differences(RunFolder.open(folder).settings, settings))
    return Opened(RunFolder(folder, settings, written=False), differing)


def _short_enough(path: Path | None) -> None:
    try:
        if path is not None:
            path.lstat()
    except OSError as error:
        if (long := too_long(error)) is not None:
            raise long from error


def announce(opened: Opened, tell: Callable[[str], None]) -> None:
    """Say which settings differ from those of last time."""
    for line in opened.changes:
        tell(f"changed: {line}")
