"""Records of a CSV, Parquet or Arrow file, streamed."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# pyarrow has no types of its own.
from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.records import Dropped
from vlfeedback.source._rows import Fields, Row, not_utf8, open_file

LONGEST_CELL = 64 * 2**20
"""Characters of a CSV cell; the standard library's limit of 131,072 is too small for some prompts."""

LONGEST_LINE = 256 * 2**20
"""Bytes of a line of a CSV file; beyond, it is something else."""

_ROWS_AT_ONCE = 64


def csv_rows(path: Path, delimiter: str) -> Iterator[Row | Dropped]:
    """Read a CSV file with a header; cells keep their text, empty ones are missing.

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
    with open_file(path) as stream:
        reader = csv.reader(_text_lines(stream, path), delimiter=delimiter, strict=True)
        header = _next(reader, path)
        if header is None:
            raise DataError(f"{path} is empty: its first line must name the columns")
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


def parquet_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row | Dropped]:
    """Read a Parquet file, a few rows at a time: they may hold pictures.

    Args:
        path: The file.
        columns: Read only these, as far as they are there; None reads all.
    Raises:
        DataError: there is no such file, or it is not Parquet.
    """
    with open_file(path) as stream:
        try:
            table = pq.ParquetFile(stream, pre_buffer=False)
            chosen = None if columns is None else [name for name in table.schema_arrow.names if name in columns]
            names = _class_names(table.schema_arrow)
            number = 0
            for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=chosen):
                for fields in batch.to_pylist():
                    number += 1
                    yield Row(f"row {number}", _worded(cast("Fields", fields), names))
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{path} cannot be read as Parquet: {error}. Check that it was copied completely"
            ) from error


def arrow_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row | Dropped]:
    """Read an Arrow file as `datasets` saves it (a stream, or Arrow's file format), a few rows at a time.

    Args:
        path: The file; it is mapped into memory, not read.
        columns: As for `parquet_rows`.
    Raises:
        DataError: there is no such file, or it is not Arrow.
    """
    open_file(path).close()
    try:
        with pa.memory_map(str(path)) as source:
            reader = _arrow_reader(source)
            chosen = [name for name in reader.schema.names if columns is None or name in columns]
            names = _class_names(reader.schema)
            number = 0
            for batch in reader.batches:
                batch.validate(full=True)  # a damaged one may point anywhere in memory
                for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                    for fields in batch.slice(start, _ROWS_AT_ONCE).select(chosen).to_pylist():
                        number += 1
                        yield Row(f"row {number}", _worded(cast("Fields", fields), names))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as Arrow: {error}. Check that it was copied completely") from error


class _Batches(NamedTuple):
    schema: Any
    batches: Iterator[Any]


def _arrow_reader(source: Any) -> _Batches:
    if source.read(6) == b"ARROW1":
        source.seek(0)
        file = pa.ipc.open_file(source)
        return _Batches(file.schema, (file.get_batch(number) for number in range(file.num_record_batches)))
    source.seek(0)
    stream = pa.ipc.open_stream(source)
    return _Batches(stream.schema, iter(stream))


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Names of the classes of columns that `datasets` keeps as numbers, from the metadata that it leaves in a file."""
    try:
        said = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = said.get("info", {}).get("features", {})
        return {
            str(column): [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (ValueError, AttributeError, TypeError, KeyError):
        return {}  # somebody else's metadata: the numbers stay numbers


def _worded(fields: Fields, names: dict[str, list[str]]) -> Fields:
    """A row with its classes as words."""
    if not names:
        return fields

    def word(column: str, value: object) -> object:
        known = names.get(column)
        if known is None or not isinstance(value, int) or not 0 <= value < len(known):
            return value
        return known[value]

    return {column: word(column, value) for column, value in fields.items()}


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
