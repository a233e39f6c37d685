"""Rows of a data file, whatever carries them: JSON lines, a JSON array, Parquet, or a folder saved by `datasets`.

Everything is streamed, so that a file larger than memory is no trouble. A damaged line is a `Dropped` with its number;
a file that as a whole is not what it should be (wrong encoding, no such file, empty) is a `DataError`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false
# pyarrow has no types of its own.
from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from vlfeedback.errors import DataError
from vlfeedback.records import Dropped

Json = None | bool | int | float | str | bytes | list["Json"] | dict[str, "Json"]
"""A value of a data file; bytes come from Parquet only."""

LONGEST_LINE = 64 * 2**20
"""A line with more bytes is dropped instead of filling the memory."""

_CHUNK = 2**20
_ROWS_AT_ONCE = 64
_SURROGATE = re.compile(rb"\\u[dD][89abAB]")
_OTHER_ENCODINGS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Row(NamedTuple):
    """One row as found: where it stands (`file.jsonl:12`) and its fields."""

    where: str
    fields: dict[str, Json]


def rows(path: Path) -> Iterator[Row | Dropped]:
    """Read the rows of a file or folder one after the other.

    Args:
        path: JSON lines, a JSON array of objects, a Parquet file, an Arrow file, or a folder of one kind of them.
    Returns:
        Rows in the order of the file; files of a folder by name.
    Raises:
        DataError: nothing is there, it is empty, or it is not in one of these formats.
    """
    if path.is_dir():
        files = _files(path)
        if not files:
            raise DataError(f"{path} holds no .parquet, .arrow, .jsonl or .json file. Name the file or its folder.")
        for file in files:
            yield from _file_rows(file, file.relative_to(path).as_posix())
    else:
        yield from _file_rows(path, path.name)


def _files(folder: Path) -> list[Path]:
    """The data files of a folder: the first kind that is there, so that side files are not read as rows."""
    for pattern in ("*.parquet", "*.arrow", "*.jsonl", "*.json"):
        found = sorted(
            file
            for file in folder.rglob(pattern)
            # `datasets` keeps its own working files beside the data under these names
            if not file.name.startswith((".", "cache-")) and file.name not in ("dataset_info.json", "state.json")
        )
        if found:
            return found
    return []


def _file_rows(path: Path, name: str) -> Iterator[Row | Dropped]:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Check the path.") from error
    with stream:
        head = stream.read(4096)
        stream.seek(0)
        if not head:
            raise DataError(f"{path} is empty. If it was downloaded, download it again.")
        if head.startswith(b"PAR1"):
            yield from _table_rows(path, name, _parquet_batches(path))
        elif path.suffix == ".arrow":
            yield from _table_rows(path, name, _arrow_batches(path))
        else:
            yield from _json_rows(stream, head, path, name)


def _parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=_ROWS_AT_ONCE)


def _arrow_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as batches:
        for batch in batches:
            for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                yield batch.slice(start, _ROWS_AT_ONCE)


def _table_rows(path: Path, name: str, batches: Iterator[pa.RecordBatch]) -> Iterator[Row]:
    number = 0
    try:
        for batch in batches:
            for fields in cast("list[dict[str, Json]]", batch.to_pylist()):
                number += 1
                yield Row(f"{name}:{number}", fields)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged after row {number:,} ({error}). Download or write it again.") from error


def _json_rows(stream: BinaryIO, head: bytes, path: Path, name: str) -> Iterator[Row | Dropped]:
    if head.startswith(_OTHER_ENCODINGS) or b"\0" in head[:4]:
        raise DataError(f"{path} is UTF-16 or UTF-32, not UTF-8. Convert it: `iconv -f UTF-16 -t UTF-8`.")
    if head.startswith(codecs.BOM_UTF8):
        stream.seek(len(codecs.BOM_UTF8))
        head = head[len(codecs.BOM_UTF8) :]
    if head.lstrip().startswith(b"["):
        values: Iterable[Row | Dropped] = _array_rows(stream, path, name)
    else:
        values = _line_rows(stream, path, name)
    empty = True
    for value in values:
        empty = False
        yield value
    if empty:
        raise DataError(f"{path} holds no row. If it was downloaded, download it again.")


def _line_rows(stream: BinaryIO, path: Path, name: str) -> Iterator[Row | Dropped]:
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        where = f"{name}:{number}"
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := stream.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            yield Dropped("exchange", where, "bad_record", f"the line is longer than {LONGEST_LINE:,} bytes")
            continue
        if not line.strip():
            continue
        fields = _quick(line)
        if fields is not None:
            yield Row(where, fields)
            continue
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, line {number:,}, byte {error.start:,}: not UTF-8. "
                "Convert the file first, for example with `iconv -f LATIN1 -t UTF-8`."
            ) from error
        yield _row(where, text, line)


def _quick(line: bytes) -> dict[str, Json] | None:
    """What nearly every line is; None where a closer look is due.

    `orjson` takes a third of the time of `json`, refuses halves of characters and NaN, and makes a float of an id of
    more than 64 bits.
    """
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict):
        return None
    fields = cast("dict[str, Json]", found)
    return None if float in map(type, fields.values()) else fields


def _row(where: str, text: str, line: bytes) -> Row | Dropped:
    try:
        value: Json = json.loads(text)
        if _SURROGATE.search(line):  # half a character, which no table could store, or an honest pair
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return Dropped("exchange", where, "bad_record", "holds half of a surrogate pair, which is no character")
    except RecursionError:
        return Dropped("exchange", where, "bad_record", "nested too deeply")
    except ValueError as error:
        return Dropped("exchange", where, "bad_record", f"no JSON: {error}")
    return _checked(where, value)


def _checked(where: str, value: Json) -> Row | Dropped:
    if not isinstance(value, dict):
        return Dropped("exchange", where, "bad_record", f"an object was expected, found {type(value).__name__}")
    return Row(where, value)


def _array_rows(stream: BinaryIO, path: Path, name: str) -> Iterator[Row | Dropped]:
    """Elements of one JSON array, decoded as the text comes in."""
    text = _Text(stream, path)
    text.skip("[")
    number = 0
    while not text.at("]"):
        if number:
            text.skip(",")
        number += 1
        where = f"{name}:{number}"
        value = text.value(where)
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            yield Dropped("exchange", where, "bad_record", "holds half of a surrogate pair, which is no character")
            continue
        yield _checked(where, value)


class _Text:
    """A window on a long text that grows at its end and is cut at its start."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream, self._path = stream, path
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder()
        self._window, self._start, self._ended = "", 0, False

    def _grow(self) -> None:
        data = self._stream.read(max(_CHUNK, len(self._window)))  # doubling keeps long elements linear
        self._ended = not data
        try:
            more = self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self._path} is not UTF-8 ({error}). Convert it first, for example with `iconv`."
            ) from error
        self._window, self._start = self._window[self._start :] + more, 0

    def _peek(self) -> str:
        while True:
            while self._start < len(self._window) and self._window[self._start] in " \t\r\n":
                self._start += 1
            if self._start < len(self._window):
                return self._window[self._start]
            if self._ended:
                raise DataError(f"{self._path} breaks off inside its JSON array. Download or write it again.")
            self._grow()

    def at(self, sign: str) -> bool:
        return self._peek() == sign

    def skip(self, sign: str) -> None:
        if self._peek() != sign:
            raise DataError(
                f"{self._path}: {sign!r} expected in the JSON array, found {self._peek()!r}. Mend the file."
            )
        self._start += 1

    def value(self, where: str) -> Json:
        self._peek()
        while True:
            try:
                value, end = self._json.raw_decode(self._window, self._start)
                if end < len(self._window) or self._ended:  # a number at the edge may go on
                    self._start = end
                    return cast("Json", value)
            except RecursionError as error:
                raise DataError(f"{self._path}: {where} is nested too deeply.") from error
            except ValueError as error:
                if self._ended:
                    raise DataError(
                        f"{self._path}: {where} is no JSON ({error}). Mend or download the file."
                    ) from error
                if len(self._window) - self._start > LONGEST_LINE:
                    raise DataError(
                        f"{self._path}: {where} is no JSON, or longer than {LONGEST_LINE:,} bytes."
                    ) from error
            self._grow()
