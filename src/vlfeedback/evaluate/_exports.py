"""Official files of answers and judge replies, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vlfeedback.errors import DataError
from vlfeedback.records import Judgement


def write_json(path: Path, value: Any) -> None:
    """One JSON value, indented as the official scripts do.

    Raises:
        DataError: the file cannot be written.
    """
    _write(path, json.dumps(value, indent=2, allow_nan=False))


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """JSON lines.

    Raises:
        DataError: the file cannot be written.
    """
    _write(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")  # all characters are escaped
        part.replace(path)
    except OSError as error:
        raise DataError(f"{path} could not be written ({error}). Free some disk space and run again.") from error


def completion_of(judgement: Judgement | None) -> dict[str, Any] | None:
    """A judge's reply as a chat completion; null where there is none."""
    if judgement is None or judgement.finish == "error":
        return None
    message = {"role": "assistant", "content": judgement.text}
    return {
        "object": "chat.completion",
        "created": int(judgement.time),
        "model": judgement.judge,
        "choices": [{"index": 0, "message": message, "finish_reason": judgement.finish}],
    }
