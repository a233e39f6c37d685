"""Records of a CSV, Parquet or Arrow file, streamed."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# pyarrow has no types of its own.
from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from vlfeedback._images_names import shown
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.json_text import not_utf8, open_text
from vlfeedback.records import Dropped
from vlfeedback.source._rows import Fields, Row

LONGEST_CELL = 64 * 2**20
"""Characters of a CSV cell; the standard library's limit of 131,072 is too small for some prompts."""

LONGEST_LINE = 256 * 2**20
"""Bytes of a line of a CSV file; beyond, it is something else."""

DELIMITERS = ",;\t|"
"""What separates columns: a comma, or what programs write where a comma is the decimal point."""

_TOLD = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)
"""A first line with which spreadsheets tell each other the delimiter."""

_ROWS_AT_ONCE = 64


def csv_rows(path: Path, delimiter: str, needed: str | None = None) -> Iterator[Row | Dropped]:
    """Read a CSV file with a header, whose names are stripped; cells keep their text, empty ones are missing.

    Args:
        path: UTF-8, quoted as spreadsheets do.
        delimiter: One character.
        needed: A column without which no row is of use, where the user can set the delimiter.
    Raises:
        ConfigError: the delimiter is not one character, or another one than the header's.
        DataError: there is no such file, it has no header, is in another encoding, or is damaged.
    """
    if len(delimiter) != 1:
        raise ConfigError(f"delimiter = {delimiter!r}: give one character, for example ','")
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    with open_text(path) as stream:
        lines = _text_lines(stream, path)
        first, above = next(lines, ""), 0
        if told := _TOLD.fullmatch(first):
            delimiter, first, above = told[1], next(lines, ""), 1
        if needed is not None:
            _check_delimiter(first, delimiter, needed, path)
        reader = csv.reader(chain([first] if first else [], lines), delimiter=delimiter, strict=True)
        header = _next(reader, path)
        if header is None:
            raise DataError(f"{path} is empty: its first line must name the columns")
        header = [column.strip() for column in header]
        twice = sorted({column for column in header if column and header.count(column) > 1})
        if twice:
            raise DataError(f"{path}, line 1: {', '.join(map(repr, twice))} names more than one column: rename them")
        while (cells := _next(reader, path)) is not None:
            name = f"line {reader.line_num + above}"
            if not cells:
                continue
            if len(cells) != len(header):
                detail = f"{name} has {len(cells)} cells, the header {len(header)}"
                yield Dropped("source", name, "bad_record", detail)
                continue
            yield Row(name, {column: cell for column, cell in zip(header, cells, strict=True) if cell != ""})


def _check_delimiter(first: str, delimiter: str, needed: str, path: Path) -> None:
    """Refuse a delimiter that makes one column of the header where another one makes several."""
    own = _cells(first, delimiter)
    if len(own) != 1 or needed in own:
        return
    others = {mark: cells for mark in DELIMITERS if len(cells := _cells(first, mark)) > 1}
    if not others:
        return
    mark = max(others, key=lambda one: (needed in others[one], len(others[one])))
    raise ConfigError(
        f"{path}, line 1: with delimiter = {json.dumps(delimiter)} the header is one column, {shown(own[0])}. "
        f"Set `delimiter = {json.dumps(mark)}`"
    )


def _cells(line: str, delimiter: str) -> list[str]:
    """Cells of a line by itself, forgiving: a quote may go on in the next one, or belong to another delimiter."""
    try:
        return [cell.strip() for cells in csv.reader([line], delimiter=delimiter) for cell in cells]
    except csv.Error:  # told with its line by whoever reads the file
        return []


def table_rows(rows: Iterable[Fields]) -> Iterator[Row | Dropped]:
    """Rows of a table (see `table_files`) by number."""
    for number, fields in enumerate(rows, 1):
        yield Row(f"row {number}", fields)


def _text_lines(stream: BinaryIO, path: Path) -> Iterator[str]:
    start = number = 0
    while raw := stream.readline(LONGEST_LINE + 1):
        number += 1
        if len(raw) > LONGEST_LINE:
            raise DataError(f"{path}, line {number}, byte {start}: longer than {LONGEST_LINE:,} bytes, so no CSV")
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8(path, number, start + error.start, error) from error
        start += len(raw)


def _next(reader: Iterator[list[str]], path: Path) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        line = getattr(reader, "line_num", "?")
        if "new-line character" in str(error):
            raise DataError(
                f"{path}, line {line}: a carriage return stands by itself, outside of quotes: as a line's end it is "
                "that of old Macs; convert the file (`tr '\\r' '\\n' < OLD > NEW`)"
            ) from error
        raise DataError(f"{path}, line {line}: damaged CSV: {error}. Look for a quote that is not closed") from error
