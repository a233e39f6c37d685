"""Records of a JSON file, streamed: a list of objects or one object a line, whatever the file is called.

A record that is no object is dropped and named. A file that is damaged as a whole (another encoding, cut off in the
middle) is a `DataError` that says at which line and byte.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from vlfeedback import json_text
from vlfeedback._images_names import shown
from vlfeedback.errors import DataError
from vlfeedback.json_text import elements, not_utf8, open_text
from vlfeedback.records import Dropped, Reason
from vlfeedback.source import Found, Reader
from vlfeedback.table_files import Fields as Fields


class Row(NamedTuple):
    """One record as found and what to call it: `line 3`, `record 3`."""

    name: str
    fields: Fields


class BadRecord(Exception):
    """A record that a format cannot use; its message is the detail under which it is dropped."""

    def __init__(self, detail: str, reason: Reason = "bad_record") -> None:
        super().__init__(detail)
        self.reason: Reason = reason

    def dropped(self, name: str) -> Dropped:
        """The record as dropped, or a part of it that has a name of its own."""
        return Dropped("source", name, self.reason, f"{name}: {self}")


def json_reader(path: Path, found_in: Callable[[Row], Iterable[Found | Dropped]]) -> Reader:
    """A reader of a JSON file.

    Args:
        path: The file.
        found_in: Instructions of one record, and what of it is dropped; raises `BadRecord` for one it cannot use.
    """
    return row_reader(lambda: json_rows(path), found_in)


def row_reader(
    rows: Callable[[], Iterator[Row | Dropped]], found_in: Callable[[Row], Iterable[Found | Dropped]]
) -> Reader:
    """A reader of any rows, in which a record that cannot be used is dropped and the others are read on."""

    def read() -> Iterator[Found | Dropped]:
        for row in rows():
            if isinstance(row, Dropped):
                yield row
                continue
            try:
                found = list(found_in(row))
            except BadRecord as error:
                found = [error.dropped(row.name)]
            except RecursionError:
                found = [BadRecord("it is nested too deeply").dropped(row.name)]
            yield from found

    return read


def json_rows(path: Path) -> Iterator[Row | Dropped]:
    """Read the records of a JSON file one after the other.

    Args:
        path: A JSON array of objects, or JSON lines; UTF-8.
    Raises:
        DataError: there is no such file, it is empty, in another encoding, or damaged.
    """
    with open_text(path) as stream:
        start = stream.read(json_text.CHUNK).removeprefix(codecs.BOM_UTF8).lstrip()
        while not start and (more := stream.read(json_text.CHUNK)):
            start = more.lstrip()
        if not start:
            raise DataError(f"{path} is empty: check that it was downloaded or written completely")
        stream.seek(0)
        yield from _array(stream, path) if start.startswith(b"[") else _lines(stream, path)


def json_map_rows(path: Path) -> Iterator[Row | Dropped]:
    """Read a JSON object of objects, each named by its key; or a list, as `json_rows`. The whole file is in memory.

    Of a name that stands more than once the last object counts, as for every reader of JSON; the others are dropped.

    Raises:
        DataError: there is no such file, it is empty, larger than `json_text.LONGEST`, in another encoding, or damaged.
    """
    with open_text(path) as stream:
        raw = stream.read(json_text.LONGEST + 1)
    if len(raw) > json_text.LONGEST:
        raise DataError(f"{path} is larger than {json_text.LONGEST:,} bytes, too large for one JSON object")
    start = raw.removeprefix(codecs.BOM_UTF8).lstrip()
    if not start:
        raise DataError(f"{path} is empty: check that it was downloaded or written completely")
    if start.startswith(b"["):
        yield from json_rows(path)
        return
    try:
        value = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_Object)
    except UnicodeDecodeError as error:
        raise not_utf8(path, raw[: error.start].count(b"\n") + 1, error.start, error) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: damaged JSON: {error}. Check that the file was copied completely") from error
    pairs = value.pairs if isinstance(value, _Object) else []
    last = {name: at for at, (name, _) in enumerate(pairs)}
    for at, (name, entry) in enumerate(pairs):
        fields = as_fields(entry)
        if at != last[name]:
            yield Dropped(
                "source", name, "bad_record", f"{shown(name)} stands more than once; the last of them is read"
            )
        elif fields is None:
            yield Dropped("source", name, "bad_record", f"{shown(name)} is not a JSON object")
        else:
            yield Row(name, fields)


class _Object(dict[str, object]):
    """A JSON object that also knows what stood under a name before the last of that name."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def as_fields(value: object) -> Fields | None:
    """A JSON object as fields, or None if it is something else."""
    return cast("Fields", value) if isinstance(value, dict) else None


def _lines(stream: BinaryIO, path: Path) -> Iterator[Row | Dropped]:
    number = start = 0
    while raw := stream.readline(json_text.LONGEST + 1):
        number += 1
        if len(raw) > json_text.LONGEST:
            raise DataError(
                f"{path}, line {number}, byte {start}: longer than {json_text.LONGEST:,} bytes, so no JSON line"
            )
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise not_utf8(path, number, start + error.start, error) from error
        start += len(raw)
        name = f"line {number}"
        if line in ("{", "}") and number == 1:
            raise DataError(f"{path} holds one JSON object; expected a list of objects, or one object a line")
        if not line:
            continue
        try:
            fields = as_fields(json.loads(line))
        except (ValueError, RecursionError) as error:
            yield Dropped("source", name, "bad_record", f"{name} is not JSON: {error}")
            continue
        if fields is None:
            yield Dropped("source", name, "bad_record", f"{name} is not a JSON object")
        else:
            yield Row(name, fields)


def _array(stream: BinaryIO, path: Path) -> Iterator[Row | Dropped]:
    for number, value in enumerate(elements(stream, path), 1):
        name = f"record {number}"
        fields = as_fields(value)
        if fields is None:
            yield Dropped("source", name, "bad_record", f"{name} is not a JSON object")
        else:
            yield Row(name, fields)
