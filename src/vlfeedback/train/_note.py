"""`train.json`: which training a checkpoint's folder is of, and whether it has come to its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlfeedback.train import Recipe, TrainResult
    from vlfeedback.train._preferences import Objective

NAME = "train.json"


def read_note(out: Path) -> dict[str, Any]:
    """What `train.json` of a folder says; nothing where it is not there or damaged."""
    try:
        found: Any = json.loads((out / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def write_note(out: Path, note: Mapping[str, Any]) -> None:
    """Write `train.json` so that a kill leaves the old one or the new one, and nothing in between."""
    waiting = out / f"{NAME}.part"
    waiting.write_text(json.dumps(note, indent=1), encoding="utf-8")
    waiting.replace(out / NAME)


def write_result(
    out: Path, key: str, used: Recipe, objective: Objective, result: TrainResult, made_as: str = ""
) -> None:
    """Write that a training has come to its end: how it was trained and what came of it, beside its files.

    Args:
        out: Its folder; the note there lists the files that it wrote.
        key: Names it.
        used: How it was trained.
        objective: What was minimised.
        result: Of the training.
        made_as: What the caller knows the weights by, if anything.
    """
    fields = asdict(result)
    del fields["checkpoint"]
    files = read_note(out).get("files", [])
    note = {"key": key, "files": files, "settings": asdict(used), "objective": repr(objective), "result": fields}
    write_note(out, note | ({"made_as": made_as} if made_as else {}))


def is_finished(out: Path) -> bool:
    """Whether a training has come to its end in a folder, so that the weights there are the ones that it says.

    The note is there from the start of a training; its `result` says that there was an end. Full weights beside an
    adapter are no end either: whoever loads that folder gets the adapter on top of them, which nobody has trained.
    """
    note = read_note(out)
    settings: dict[str, Any] = note.get("settings") or {}
    mixed = settings.get("lora", ()) is None and (out / "adapter_config.json").exists()
    return bool(note.get("result")) and not mixed


def is_begun(out: Path) -> bool:
    """Whether a training has begun in a folder and has not come to its end."""
    return (out / NAME).exists() and not is_finished(out)
