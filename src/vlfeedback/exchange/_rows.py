"""Rows of a data file, whatever carries them: JSON lines, a JSON array, Parquet, or a folder saved by `datasets`.

Everything is streamed, so that a file larger than memory is no trouble. A damaged line is a `Dropped` with its number;
a file that as a whole is not what it should be (wrong encoding, no such file, empty) is a `DataError`.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import orjson

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.exchange._folder import parts_of
from vlfeedback.json_text import elements, not_utf8, open_text
from vlfeedback.records import Dropped, Split
from vlfeedback.table_files import Fields, arrow_rows, parquet_rows

Json = None | bool | int | float | str | bytes | list["Json"] | dict[str, "Json"]
"""A value of a data file; bytes come from Parquet only."""

LONGEST_LINE = 64 * 2**20
"""A line with more bytes is dropped instead of filling the memory."""

_SURROGATE = re.compile(rb"\\u[dD][89abAB]")


class Row(NamedTuple):
    """One row as found: where it stands (`file.jsonl:12`), its fields, and its side where the data's splits say it."""

    where: str
    fields: dict[str, Json]
    side: Split | None = None


def rows(path: Path, *, split: str = "", tally: Counter[str] | None = None) -> Iterator[Row | Dropped]:
    """Read the rows of a file or folder one after the other.

    Args:
        path: JSON lines, a JSON array of objects, a Parquet file, an Arrow file, or a folder of one kind of them.
        split: Of a folder with several, the only one to read; empty for the training split and then what is held out.
        tally: Counts what of a folder is held out or not read.
    Returns:
        Rows in the order of the file; files of a folder by split and name.
    Raises:
        ConfigError: there is no such split, or the names of several do not say which is for training.
        DataError: nothing is there, it is empty, shards are missing, or it is not in one of these formats.
    """
    if not path.is_dir():
        if split:
            raise ConfigError(f"{path} is a file, which has no splits: leave the split {split!r} away.")
        yield from _file_rows(path, path.name)
        return
    noticed: Counter[str] = Counter() if tally is None else tally
    for part in parts_of(path, split, noticed):
        for file in part.files:
            for row in _file_rows(file, file.relative_to(path).as_posix()):
                if part.side == "eval":
                    noticed[f"rows of the split {part.name!r}, which is held out"] += 1
                yield row if part.side is None or isinstance(row, Dropped) else row._replace(side=part.side)


def _file_rows(path: Path, name: str) -> Iterator[Row | Dropped]:
    with open_text(path, table=True) as stream:
        head = stream.read(4096)
        stream.seek(0)
        if not head:
            raise DataError(f"{path} is empty. If it was downloaded, download it again.")
        if head.startswith(b"PAR1"):
            yield from _table_rows(parquet_rows(path), name)
        elif path.suffix == ".arrow":
            yield from _table_rows(arrow_rows(path), name)
        else:
            yield from _json_rows(stream, head, path, name)


def _table_rows(rows: Iterable[Fields], name: str) -> Iterator[Row]:
    for number, fields in enumerate(rows, 1):
        yield Row(f"{name}:{number}", cast("dict[str, Json]", fields))


def _json_rows(stream: BinaryIO, head: bytes, path: Path, name: str) -> Iterator[Row | Dropped]:
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
            raise not_utf8(path, number, stream.tell() - len(line) + error.start, error) from error
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
    for number, value in enumerate(elements(stream, path), 1):
        where = f"{name}:{number}"
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            yield Dropped("exchange", where, "bad_record", "holds half of a surrogate pair, which is no character")
            continue
        yield _checked(where, cast("Json", value))
