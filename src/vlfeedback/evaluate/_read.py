"""Result files as they are found: JSON and JSON lines, with a byte order mark, DOS line ends, or neither."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

from vlfeedback.errors import DataError


class Row(NamedTuple):
    """One object of a JSON-lines file, and where it stands."""

    where: str
    fields: dict[str, Any]


def text_of(path: Path) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        DataError: there is no such file, it cannot be read, or it is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); convert it first.") from error
    except OSError as error:
        what = "is a folder" if path.is_dir() else f"cannot be read ({error.strerror})"
        raise DataError(f"{path} {what}; give a result file.") from error


def json_of(path: Path) -> Any:
    """The one JSON value of a file; `NaN` and infinities are read, as the official scripts write them.

    Raises:
        DataError: it is no JSON, or an object has a key twice.
    """
    text = text_of(path)
    if not text.strip():
        raise DataError(f"{path} is empty.")
    return _parsed(text, str(path))


def rows_of(path: Path) -> list[Row]:
    """The objects of a JSON-lines file, or of one JSON list; blank lines are passed over.

    Raises:
        DataError: a line is no JSON object, or there is none.
    """
    text = text_of(path)
    if text.lstrip().startswith("["):
        listed = _parsed(text, str(path))
        rows = [Row(f"{path} entry {number}", one) for number, one in enumerate(listed, 1)]
    else:  # a line ends with a line feed; what else Unicode calls a line end belongs to an answer
        lines = enumerate(text.split("\n"), 1)
        found = ((f"{path} line {number}", line) for number, line in lines if line.strip())
        rows = [Row(where, _parsed(line, where)) for where, line in found]
    for row in rows:
        if not isinstance(cast("Any", row.fields), dict):
            raise DataError(f"{row.where} is no JSON object.")
    if not rows:
        raise DataError(f"{path} is empty.")
    return rows


def _parsed(text: str, where: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            raise DataError(f"{where} has {max(names, key=names.count)!r} twice; which one counts cannot be known.")
        return found

    try:
        return json.loads(text, object_pairs_hook=once)
    except RecursionError as error:
        raise DataError(f"{where} is no JSON of a result: it is nested too deeply.") from error
    except ValueError as error:
        raise DataError(f"{where} is no JSON: {error}.") from error


def reply_text(row: Row, field: str) -> str | None:
    """A reply of a row: its text, or None where there is no reply (null, or no such field).

    Raises:
        DataError: it is something else than text.
    """
    value = row.fields.get(field)
    if value is None or isinstance(value, str):
        return value
    raise DataError(f"{row.where}: {field} is {short(value)}; it must be text, or null where there is no reply.")


def id_of(row: Row, field: str = "question_id") -> str:
    """A row's id, as text.

    Raises:
        DataError: there is none.
    """
    value = row.fields.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(
            f"{row.where} has no {field}; without it answers can only be joined by position, which is unsafe."
        )
    return str(value)


def unique(ids: Iterable[str], where: object, what: str = "question_id") -> None:
    """Refuse an id that occurs twice.

    Raises:
        DataError: one does.
    """
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise DataError(f"{where} has {what} {one} twice; keep one row per question.")
        seen.add(one)


def number(value: object) -> float | None:
    """A finite number, or None for anything else (booleans, text, NaN, infinities)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def short(value: object) -> str:
    """A value as it is shown in a message."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= 40 else f"{text[:37]}…"
