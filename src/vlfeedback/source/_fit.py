"""Whether a field map fits its file: a picture field that no record has would make a whole dataset blind, unsaid."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, cast

from vlfeedback._images_names import shown
from vlfeedback.errors import ConfigError
from vlfeedback.records import Dropped
from vlfeedback.source._fields import PLACES, FieldMap
from vlfeedback.source._rows import Fields, Row
from vlfeedback.table_files import Column, columns_of

USUAL = "image"
"""The picture field where the settings name none; a dataset of text alone may lack this one, and no other."""

_NAMES = re.compile(
    r"(image|img|picture|photo)s?(_(path|file|name|url|base64|base64_str|str))?s?|file_name", re.IGNORECASE
)
_FILE = re.compile(r"\S{1,400}\.(jpe?g|png|webp|gif|bmp|tiff?)", re.IGNORECASE)
_TOLD = 20
_FIELDS = 1000
"""Names that are remembered: objects with a name for every record are no columns."""


def fitting(rows: Iterable[Row | Dropped], fields_of: FieldMap, path: Path) -> Iterator[Row | Dropped]:
    """Rows as they come, and behind the last of them the question whether any had the picture field.

    Args:
        rows: Of one file.
        fields_of: With an empty `image` nothing is asked: such instructions have no pictures.
        path: For messages.
    Raises:
        ConfigError: the settings name a picture field that no record has; or they name none, no record has the usual
            one, and another field holds pictures in at least half of the records; or the only record is an object
            around the list of them.
    """
    count = rows_read = 0
    wrapped = ""
    asking = bool(fields_of.image)
    names: Counter[str] = Counter()
    likely: Counter[str] = Counter()
    for row in rows:
        if isinstance(row, Row):
            rows_read += 1
            wrapped = _records_in(row.fields, fields_of.prompt) if rows_read == 1 else ""
        if asking and isinstance(row, Row):
            asking = fields_of.image not in row.fields
            count += 1
            for name, value in row.fields.items() if len(names) < _FIELDS else ():
                names[name] += 1
                likely[name] += name not in fields_of and _holds_picture(name, value)
        yield row
    if wrapped:
        raise ConfigError(
            f"{path} holds one object with the records in a list, {shown(wrapped)}: give a file that is this list"
        )
    if asking and count:
        held = [Column(name, 2 * likely[name] >= count) for name in names]
        _check(path, f"none of its {count:,} records has", fields_of.image, held)


def _records_in(fields: Fields, prompt: str) -> str:
    """The member of an object in which a list of records with prompts lies, where it has no prompt itself."""
    if prompt in fields:
        return ""
    for name, value in fields.items():
        first = next(iter(cast("list[object]", value)), None) if isinstance(value, list) else None
        if isinstance(first, Mapping) and prompt in first:
            return name
    return ""


def check_columns(files: Sequence[Path], fields_of: FieldMap, path: Path) -> None:
    """The same for tables, before a row is read; the prompt's column must be there too.

    Args:
        files: Parquet or Arrow files of one dataset; a column of any of them counts.
        fields_of: As for `fitting`.
        path: For messages.
    Raises:
        ConfigError: as of `fitting`, or there is no column of the prompt.
        DataError: a file cannot be read.
    """
    columns: dict[str, Column] = {}
    for file in files:
        columns.update((column.name, column) for column in columns_of(file))
        if fields_of.prompt in columns and (not fields_of.image or fields_of.image in columns):
            return
    if fields_of.prompt not in columns:
        listed = _listed(columns)
        raise ConfigError(f"{path} has no column {fields_of.prompt!r}; it has {listed}: name one of them in `prompt`")
    held = [
        Column(name, name not in fields_of and (one.pictures or _NAMES.fullmatch(name) is not None))
        for name, one in columns.items()
    ]
    _check(path, "it has no column", fields_of.image, held)


def _check(path: Path, none: str, image: str, columns: Sequence[Column]) -> None:
    """Refuse a picture field that was named, and the usual one where others hold pictures."""
    likely = [column.name for column in columns if column.pictures]
    if image == USUAL and not likely:
        return
    _refuse(path, none, image, [column.name for column in columns], likely)


def _refuse(path: Path, none: str, image: str, names: Sequence[str], likely: Sequence[str]) -> NoReturn:
    pictures = f"; pictures seem to lie in {_listed(likely)}" if likely else ""
    asked = "which `image` names" if image != USUAL else "where pictures are looked for"
    raise ConfigError(
        f"{path}: {none} {image!r}, {asked}; there are {_listed(names)}{pictures}. Set "
        + (f"`image = {likely[0]!r}`" if likely else "`image` to one of them")
        + ', or `image = ""` for instructions without pictures'
    )


def _listed(names: Iterable[str]) -> str:
    known = [shown(name) for name in names]
    return ", ".join(known[:_TOLD]) + (", …" if len(known) > _TOLD else "") or "none"


def _holds_picture(name: str, value: object, deep: int = 8) -> bool:
    """Whether a field looks like a picture by its name and what it holds, or by what it holds alone."""
    if isinstance(value, str):
        return bool(value and _NAMES.fullmatch(name)) or _FILE.fullmatch(value) is not None
    if not deep:
        return False
    if isinstance(value, Mapping):
        entry = cast("Fields", value)
        return any(_holds_picture(name, entry.get(key), deep - 1) for key in ("bytes", *PLACES))
    if isinstance(value, list):
        entries = cast("list[object]", value)
        return bool(entries) and _holds_picture(name, entries[0], deep - 1)
    return isinstance(value, bytes)
