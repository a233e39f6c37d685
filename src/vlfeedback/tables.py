"""Tables of records as Parquet: streamed, written atomically, digested.

A table's schema is derived from its record. Its file carries what is needed to trust it: the room that made it, the
digest of its rows, the digest of its inputs and settings, and whether the room came to its end.
"""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false, reportMissingTypeStubs=false

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from vlfeedback._tables_digest import Digest
from vlfeedback._tables_forms import arrow, packer, unpacker
from vlfeedback.errors import BooksError, DataError
from vlfeedback.table_files import DAMAGED

T = TypeVar("T")

ROWS_AT_ONCE = 4096
_PREFIX = "vlfeedback."


@dataclass(frozen=True, slots=True)
class TableInfo:
    """What a table file says of itself.

    Attributes:
        rows: Number of records.
        digest: 64 hexadecimal digits over the rows in any order, without times and costs.
        inputs: Digest of the inputs and settings the room was given.
        complete: False where the room was interrupted.
        room: Who wrote it.
        record: Name of the record class.
    """

    rows: int
    digest: str
    inputs: str
    complete: bool
    room: str
    record: str


class But(NamedTuple):
    """All rows but those with one of these values in a column."""

    column: str
    values: Collection[str]


class Among(NamedTuple):
    """Only rows with one of these values in a column, and only from these pieces (row groups) of the file."""

    column: str
    values: Collection[str]
    pieces: Sequence[int]


class Loaded(NamedTuple):
    """A table in memory; `rows` is an Arrow table."""

    rows: Any
    info: TableInfo


def give_back() -> None:
    """Return to the system what tables no longer need: the next room of the same process may need it."""
    pa.default_memory_pool().release_unused()


def schema(record: type[Any]) -> pa.Schema:
    """The Arrow schema of a record class: nested records become structs, tuples become lists."""
    return pa.schema([(name, arrow(hint)) for name, hint in get_type_hints(record).items()])


class Writer:
    """Writes one table in pieces; nothing is visible under its name before `close`.

    Args:
        path: The file to make or to replace.
        record: Class of the rows.
        room: Who writes.
    """

    def __init__(self, path: Path, record: type[Any], *, room: str) -> None:
        self._path, self._record, self._room = path, record, room
        path.parent.mkdir(parents=True, exist_ok=True)
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._schema = schema(record)
        self._file: pq.ParquetWriter | None = None
        self._pack = cast("Callable[[Any], dict[str, Any]]", packer(record))
        self._digest = Digest()
        self._rows: list[dict[str, Any]] = []

    def add(self, row: Any) -> None:
        """Take one record."""
        packed = self._pack(row)
        self._digest.add(packed)
        self._rows.append(packed)
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def take(self, loaded: Loaded) -> None:
        """Take all rows of another table of these records, none of them looked at."""
        self._digest.merge(loaded.info.digest, loaded.info.rows)
        self._write(loaded.rows.cast(self._schema))

    def _flush(self) -> None:
        self._write(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []

    def _write(self, rows: pa.Table) -> None:
        try:
            if self._file is None:  # with checksums a damaged page is found when it is read
                self._file = pq.ParquetWriter(self._part, self._schema, compression="zstd", write_page_checksum=True)
            if rows.num_rows:
                self._file.write_table(rows)
        except OSError as error:
            self.discard()
            raise DataError(
                f"{self._path} could not be written ({error}). Free some disk space and run again."
            ) from error

    def close(self, *, inputs: str = "", complete: bool = True) -> TableInfo:
        """Make the table visible, and say what was written.

        Raises:
            DataError: the disk is full or not writable; a table that was there before stays as it was.
        """
        self._flush()
        info = TableInfo(self._digest.rows, self._digest.hex(), inputs, complete, self._room, self._record.__name__)
        file = cast("pq.ParquetWriter", self._file)
        try:
            file.add_key_value_metadata({_PREFIX + f.name: json.dumps(getattr(info, f.name)) for f in fields(info)})
            file.close()
            with self._part.open("rb") as written:
                os.fsync(written.fileno())
            self._part.replace(self._path)
        except OSError as error:
            self.discard()
            raise DataError(
                f"{self._path} could not be written ({error}). Free some disk space and run again."
            ) from error
        return info

    def discard(self) -> None:
        """Leave no trace."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                self._file = None  # the disk that stopped the writing stops the closing too; the part goes anyway
        self._part.unlink(missing_ok=True)


def write(
    path: Path, record: type[T], records: Iterable[T], *, room: str, inputs: str = "", complete: bool = True
) -> TableInfo:
    """Write a whole table from an iterator, atomically; on any error the old file stays."""
    writer = Writer(path, record, room=room)
    try:
        for row in records:
            writer.add(row)
    except BaseException:
        writer.discard()
        raise
    return writer.close(inputs=inputs, complete=complete)


_BROKEN = (*DAMAGED, TypeError, AttributeError)
"""A damaged file may also lack a part of a record, or have another in its place."""


def _open(path: Path) -> pq.ParquetFile:
    if not path.exists():
        raise DataError(f"{path} is not there. `vlfeedback status {path.parent}` says which room makes it.")
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except _BROKEN as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is damaged ({error}). Delete it and run the room that makes it again.")


def load(path: Path, record: type[Any]) -> Loaded:
    """A whole table in memory, for `Writer.take`.

    Raises:
        DataError: the file is missing, damaged anywhere, or not a table of just these records.
    """
    said, file = info(path), _open(path)
    try:
        rows = file.read()
    except _BROKEN as error:
        raise _damaged(path, error) from error
    finally:
        file.close()
    if said.record != record.__name__ or said.rows != rows.num_rows or not rows.schema.equals(schema(record)):
        raise DataError(f"{path} is no table of {record.__name__} of this version: delete it.")
    return Loaded(rows, said)


def read(
    path: Path,
    record: type[T],
    *,
    columns: Sequence[str] | None = None,
    but: But | None = None,
    among: Among | None = None,
) -> Iterator[T]:
    """Records of a table, in the order they were written.

    Args:
        path: A table of `record`.
        columns: Read only these (Parquet paths such as `ratings.list.element.score`); left-out fields must have
            defaults.
        but: Leave out some rows, which costs next to nothing.
        among: Read some rows alone; other pieces of the file are not looked at.
    Raises:
        DataError: the file is missing, damaged, or a table of other records.
    """
    file = _open(path)
    try:
        have, want = set(file.schema_arrow.names), {f.name for f in fields(cast("Any", record))}
        needed = {f.name for f in fields(cast("Any", record)) if f.default is MISSING and f.default_factory is MISSING}
        if not needed <= have:
            missing = ", ".join(sorted(needed - have))
            raise DataError(
                f"{path} is no table of {record.__name__}: it lacks {missing}. Make it again with its room."
            )
        names = list(columns) if columns is not None else sorted(have & want)
        unpack = cast("Callable[[Any], T]", unpacker(record))
        pieces = None if among is None else list(among.pieces)
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=names, row_groups=pieces):
            if but is not None and but.values:
                batch = batch.filter(pa.array([one not in but.values for one in batch[but.column].to_pylist()]))
            if among is not None:
                batch = batch.filter(pa.array([one in among.values for one in batch[among.column].to_pylist()]))
            for row in batch.to_pylist():
                yield unpack(row)
    except _BROKEN as error:
        raise _damaged(path, error) from error
    finally:
        file.close()


def batches(path: Path, columns: Sequence[str], rows: int = ROWS_AT_ONCE) -> Iterator[Any]:
    """Some columns of a table in pieces of so many rows as Arrow has them, where records would take too long."""
    file = _open(path)
    try:
        yield from file.iter_batches(batch_size=rows, columns=list(columns))
    except _BROKEN as error:
        raise _damaged(path, error) from error
    finally:
        file.close()


def pieces(path: Path) -> list[int]:
    """Rows of each piece of a table, see `Among`."""
    file = _open(path)
    try:
        return [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    finally:
        file.close()


def info(path: Path) -> TableInfo:
    """What a table says of itself, without reading its rows.

    Raises:
        DataError: the file is missing, damaged, or not made by this package.
    """
    file = _open(path)
    try:
        found = {key.decode(): value for key, value in (file.metadata.metadata or {}).items()}
        return TableInfo(**{f.name: json.loads(found[_PREFIX + f.name]) for f in fields(TableInfo)})
    except KeyError as error:
        raise DataError(f"{path} was not written by vlfeedback: it lacks the mark {error}.") from error
    finally:
        file.close()


def frame(path: Path, columns: Sequence[str] | None = None) -> Any:
    """A table as a polars DataFrame; nested records are structs, tuples are lists.

    Raises:
        DataError: the file is missing or damaged.
    """
    import polars as pl

    file = _open(path)
    try:
        found = file.read(columns=None if columns is None else list(columns))
        found.validate(full=True)
        return pl.from_arrow(found)
    except (*_BROKEN, pl.exceptions.PanicException) as error:  # no Exception: what Rust throws at what cannot be
        raise _damaged(path, error) from error
    finally:
        file.close()


def balance(room: str, read_count: int, **written: int) -> None:
    """Check that what a room read equals what it wrote plus what it dropped (law 3).

    Args:
        room: For the message.
        read_count: Records, slots or combinations that came in.
        written: Where each of them went, by name.
    Raises:
        BooksError: they differ.
    """
    total = sum(written.values())
    if total != read_count:
        parts = " + ".join(f"{count:,} {name}" for name, count in written.items())
        raise BooksError(
            f"{room}: {read_count:,} came in, but {parts} = {total:,} went out. Nothing was written. "
            "This is a fault of the program: please report it with `vlfeedback status`."
        )
