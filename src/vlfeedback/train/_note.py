"""`train.json`: which training a checkpoint's folder is of, and whether it has come to its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
