"""Records of a CSV, Parquet or Arrow file, streamed."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# pyarrow has no types of its own.
from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.json_text import not_utf8, open_text
from vlfeedback.records import Dropped
from vlfeedback.source._rows import Fields, Row

LONGEST_CELL = 64 * 2**20
"""Characters of a CSV cell; the standard library's limit of 131,072 is too small for some prompts."""

LONGEST_LINE = 256 * 2**20
"""Bytes of a line of a CSV file; beyond, it is something else."""

_ROWS_AT_ONCE = 64


def csv_rows(path: Path, delimiter: str) -> Iterator[Row | Dropped]:
    """Read a CSV file with a header, whose names are stripped; cells keep their text, empty ones are missing.

    Args:
        path: UTF-8, quoted as spreadsheets do.
        delimiter: One character.
    Raises:
        ConfigError: the delimiter is not one character.
        DataError: there is no such file, it has no header, is in another encoding, or is damaged.
    """
    if len(delimiter) != 1:
        raise ConfigError(f"delimiter = {delimiter!r}: give one character, for example ','")
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    with open_text(path) as stream:
        reader = csv.reader(_text_lines(stream, path), delimiter=delimiter, strict=True)
        header = _next(reader, path)
        if header is None:
            raise DataError(f"{path} is empty: its first line must name the columns")
        header = [column.strip() for column in header]
        twice = sorted({column for column in header if column and header.count(column) > 1})
        if twice:
            raise DataError(f"{path}, line 1: {', '.join(map(repr, twice))} names more than one column: rename them")
        while (cells := _next(reader, path)) is not None:
            name = f"line {reader.line_num}"
            if not cells:
                continue
            if len(cells) != len(header):
                detail = f"{name} has {len(cells)} cells, the header {len(header)}"
                yield Dropped("source", name, "bad_record", detail)
                continue
            yield Row(name, {column: cell for column, cell in zip(header, cells, strict=True) if cell != ""})


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
        raise DataError(f"{path}, line {line}: damaged CSV: {error}. Look for a quote that is not closed") from error
