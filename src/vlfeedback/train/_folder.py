"""A checkpoint's folder: what training wrote is replaced or removed, what somebody else put there stays."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.train._note import NAME, read_note, write_note

_ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
_UNLISTED = (
    *_ADAPTER, "model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json", "config.json",
    "generation_config.json", "README.md",
)  # fmt: skip
"""What training writes, for notes of earlier versions, which do not list it."""


def refuse_own_start(out: Path, starts: Iterable[str | None]) -> None:
    """Refuse weights to start from that this training would remove or overwrite.

    Args:
        out: The checkpoint's folder.
        starts: Folders or hub names.
    Raises:
        ConfigError: one of them is that folder, or a state in it.
    """
    own = out.resolve()
    for start in starts:
        place = Path(start).resolve() if start and Path(start).is_dir() else None
        if place is not None and (place == own or place.is_relative_to(own / "state")):
            raise ConfigError(
                f"{start} is where this training writes: it would lose what it starts from. Copy it elsewhere and name "
                "the copy, or take another run folder."
            )


def begin(out: Path, key: str) -> None:
    """Make the checkpoint's folder; what a training of another key has left there is removed, its weights too.

    They would otherwise be taken for those of the training that begins, should it not come to its end.

    Raises:
        DataError: the folder cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out} cannot be written ({error}). Choose another folder.") from error
    note = read_note(out)
    if note.get("key") == key:
        return
    if note:
        print(f"{out}: other data or settings than last time: training begins anew", file=sys.stderr, flush=True)
    if (out / NAME).exists():
        _forget(out, note)
    shutil.rmtree(out / "state", ignore_errors=True)
    (out / "train_log.jsonl").unlink(missing_ok=True)
    write_note(out, {"key": key, "files": []})


def replace(out: Path, key: str, write: Callable[[Path], None]) -> None:
    """Put what a training has made into its folder: weights, processor, model card.

    They are written beside it first and listed in the note before the first of them gets its place, so that the next
    training knows what is not the user's, wherever this one is killed.

    Args:
        out: The checkpoint's folder.
        key: Names the training.
        write: Writes all files into an empty folder.
    """
    waiting = out / ".saving"
    shutil.rmtree(waiting, ignore_errors=True)
    waiting.mkdir()
    write(waiting)
    made = sorted(path.name for path in waiting.iterdir())
    write_note(out, {"key": key, "files": made})
    if "adapter_config.json" not in made:
        for name in _ADAPTER:  # whoever made it: `from_pretrained` would put it on the weights that were trained
            _remove(out / name)
    for name in made:
        if (waiting / name).is_dir():
            _remove(out / name)
        (waiting / name).replace(out / name)
    waiting.rmdir()


def _forget(out: Path, note: dict[str, Any]) -> None:
    listed = note.get("files")
    if isinstance(listed, list):
        names = [Path(str(name)).name for name in listed]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    else:
        names = [path.name for pattern in _UNLISTED for path in out.glob(pattern)]
    for name in (*names, "selfcheck.json"):
        _remove(out / name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
