"""Rows of Parquet and Arrow files of others, streamed; classes of `datasets` by their names, times as text."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# pyarrow has no types of its own.
from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from vlfeedback.errors import DataError
from vlfeedback.json_text import open_text

Fields = Mapping[str, object]
"""One row by column, unchecked."""

DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, OverflowError)
"""What pyarrow raises for a file that is damaged: text that is not UTF-8 and a column named twice among it."""

_ROWS_AT_ONCE = 64
"""They may hold pictures."""


_SHARD = re.compile(r"(?P<start>.*)-(?P<number>\d{1,9})-of-(?P<total>\d{1,9})(?=[-.])")
_TOLD = 5
"""Missing shards that are told one by one."""


def shard_start(name: str) -> str:
    """What stands before `-00000-of-00002` in the name of a shard; empty for any other file."""
    named = _SHARD.match(name)
    return named["start"] if named else ""


def check_shards(files: Iterable[Path]) -> None:
    """Refuse a part of a dataset: a name such as `train-00000-of-00003.parquet` says how many shards there are.

    Raises:
        DataError: some of them are missing.
    """
    sets: dict[tuple[Path, str, str], set[int]] = defaultdict(set)
    for file in files:
        if named := _SHARD.match(file.name):
            sets[file.parent, named["start"], named["total"]].add(int(named["number"]))
    for (folder, start, total), found in sets.items():
        first = 1 if int(total) in found else 0  # some count from one
        absent = (number for number in range(first, int(total) + first) if number not in found)
        missing = list(islice(absent, _TOLD + 1))
        if missing:
            named = ", ".join(f"{start}-{number:0{len(total)}d}-of-{total}" for number in missing[:_TOLD])
            more = ", …" if len(missing) > _TOLD else ""
            raise DataError(
                f"{folder} has {len(found)} of the {int(total):,} shards of {start!r}; missing: {named}{more}. "
                "Fetch them; or give one file as the path, for that part alone"
            )


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet does.

    Raises:
        DataError: it cannot be opened.
    """
    with open_text(path, table=True) as stream:
        return stream.read(4) == b"PAR1"


def parquet_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[Fields]:
    """Read a Parquet file, a few rows at a time.

    Args:
        path: The file.
        columns: Read only these, as far as they are there; None reads all. Blanks around a file's names do not count.
    Raises:
        DataError: there is no such file, or it is not Parquet.
    """
    with open_text(path, table=True) as stream:
        try:
            table = pq.ParquetFile(stream, pre_buffer=False)
            wanted = _chosen(table.schema_arrow, columns)
            names = _class_names(table.schema_arrow)
            for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns and wanted):
                for fields in _plain(batch).to_pylist():
                    yield _worded(cast("Fields", fields), names)
        except DAMAGED as error:
            raise DataError(
                f"{path} cannot be read as Parquet: {error}. Check that it was copied completely"
            ) from error


def arrow_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[Fields]:
    """Read an Arrow file as `datasets` saves it (a stream, or Arrow's file format), a few rows at a time.

    Args:
        path: The file; it is mapped into memory, not read.
        columns: As for `parquet_rows`.
    Raises:
        DataError: there is no such file, or it is not Arrow.
    """
    open_text(path, table=True).close()
    try:
        with pa.memory_map(str(path)) as source:
            reader = _arrow_reader(source)
            chosen = _chosen(reader.schema, columns)
            names = _class_names(reader.schema)
            for batch in reader.batches:
                batch.validate(full=True)  # a damaged one may point anywhere in memory
                for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                    for fields in _plain(batch.slice(start, _ROWS_AT_ONCE).select(chosen)).to_pylist():
                        yield _worded(cast("Fields", fields), names)
    except DAMAGED as error:
        raise DataError(f"{path} cannot be read as Arrow: {error}. Check that it was copied completely") from error


class Column(NamedTuple):
    """A column of a table, and whether its type is that of pictures: bytes, a struct with bytes, or a list of these."""

    name: str
    pictures: bool


def columns_of(path: Path) -> list[Column]:
    """Columns of a Parquet file, or of an Arrow file by its name; blanks around their names do not count.

    Raises:
        DataError: there is no such file, or it is of neither kind.
    """
    kind = "Arrow" if path.suffix == ".arrow" else "Parquet"
    with open_text(path, table=True) as stream:
        try:
            if kind == "Parquet":
                schema = pq.read_schema(stream)
            else:
                with pa.memory_map(str(path)) as source:
                    schema = _arrow_reader(source).schema
            return [Column(field.name.strip(), _holds_bytes(field.type)) for field in schema]
        except DAMAGED as error:
            raise DataError(f"{path} cannot be read as {kind}: {error}. Check that it was copied completely") from error


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds_bytes(kind.value_type)
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _plain(batch: Any) -> Any:
    """Some rows with points and spans of time as their text, in UTC.

    Python's own have a narrower range and no nanoseconds, and want to know every time zone.
    """
    if not any(pa.types.is_temporal(field.type) for field in batch.schema):
        return batch
    columns = [_without_time(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _without_time(column: Any) -> Any:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp(kind.unit)).cast(pa.string())
    whole = pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind)
    return column.cast(pa.string()) if whole else column


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


def _chosen(schema: Any, columns: Sequence[str] | None) -> list[str]:
    """Those columns of a file that are wanted.

    Raises:
        ValueError: two columns have one name, so that a row would keep one of them.
    """
    names = [name.strip() for name in schema.names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} names more than one column")
    return [name for name in schema.names if columns is None or name.strip() in columns]


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
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        return {}  # somebody else's metadata: the numbers stay numbers


def _worded(fields: Fields, names: dict[str, list[str]]) -> Fields:
    """A row with its classes as words, and blanks around its names left out."""
    if not names and all(column == column.strip() for column in fields):
        return fields

    def word(column: str, value: object) -> object:
        known = names.get(column)
        if known is None or not isinstance(value, int) or not 0 <= value < len(known):
            return value
        return known[value]

    return {column.strip(): word(column, value) for column, value in fields.items()}
