"""Records of a JSON file, streamed: a list of objects or one object a line, whatever the file is called.

A record that is no object is dropped and named. A file that is damaged as a whole (another encoding, cut off in the
middle) is a `DataError` that says at which line and byte.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from vlfeedback.errors import DataError
from vlfeedback.records import Dropped, Reason
from vlfeedback.source import Found, Reader

Fields = Mapping[str, object]
"""The fields of one record, unchecked."""

LONGEST = 256 * 2**20
"""Longest record in bytes; beyond it a quote is missing rather than a text long."""

_CHUNK = 2**20
_OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


_PACKED = {b"\x1f\x8b": "packed with gzip", b"PK\x03\x04": "a ZIP archive", b"\x28\xb5\x2f\xfd": "packed with zstd"}


class Row(NamedTuple):
    """One record as found and what to call it: `line 3`, `record 3`."""

    name: str
    fields: Fields


class BadRecord(Exception):
    """A record that a format cannot use; its message is the detail under which it is dropped."""

    def __init__(self, detail: str, reason: Reason = "bad_record") -> None:
        super().__init__(detail)
        self.reason: Reason = reason


def json_reader(path: Path, found_in: Callable[[Row], Iterable[Found]]) -> Reader:
    """A reader of a JSON file.

    Args:
        path: The file.
        found_in: Instructions of one record; raises `BadRecord` for one it cannot use.
    """
    return row_reader(lambda: json_rows(path), found_in)


def row_reader(rows: Callable[[], Iterator[Row | Dropped]], found_in: Callable[[Row], Iterable[Found]]) -> Reader:
    """A reader of any rows, in which a record that cannot be used is dropped and the others are read on."""

    def read() -> Iterator[Found | Dropped]:
        for row in rows():
            if isinstance(row, Dropped):
                yield row
                continue
            try:
                found = list(found_in(row))
            except BadRecord as error:
                found = [Dropped("source", row.name, error.reason, f"{row.name}: {error}")]
            yield from found

    return read


def json_rows(path: Path) -> Iterator[Row | Dropped]:
    """Read the records of a JSON file one after the other.

    Args:
        path: A JSON array of objects, or JSON lines; UTF-8.
    Raises:
        DataError: there is no such file, it is empty, in another encoding, or damaged.
    """
    with open_file(path) as stream:
        start = stream.read(_CHUNK).removeprefix(codecs.BOM_UTF8).lstrip()
        if not start:
            raise DataError(f"{path} is empty: check that it was downloaded or written completely")
        stream.seek(0)
        yield from _array(stream, path) if start.startswith(b"[") else _lines(stream, path)


def json_map_rows(path: Path) -> Iterator[Row | Dropped]:
    """Read a JSON object of objects, each named by its key; or a list, as `json_rows`. The whole file is in memory.

    Raises:
        DataError: there is no such file, it is empty, larger than `LONGEST`, in another encoding, or damaged.
    """
    with open_file(path) as stream:
        raw = stream.read(LONGEST + 1)
    if len(raw) > LONGEST:
        raise DataError(f"{path} is larger than {LONGEST:,} bytes, too large for one JSON object")
    start = raw.removeprefix(codecs.BOM_UTF8).lstrip()
    if not start:
        raise DataError(f"{path} is empty: check that it was downloaded or written completely")
    if start.startswith(b"["):
        yield from json_rows(path)
        return
    try:
        value = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise not_utf8(path, raw[: error.start].count(b"\n") + 1, error.start, error) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: damaged JSON: {error}. Check that the file was copied completely") from error
    for name, entry in (as_fields(value) or {}).items():
        fields = as_fields(entry)
        yield (
            Dropped("source", name, "bad_record", f"{name!r} is not a JSON object")
            if fields is None
            else Row(name, fields)
        )


def open_file(path: Path) -> BinaryIO:
    """Open a dataset's file for reading bytes.

    Raises:
        DataError: it is not there, a folder, unreadable, or begins with the mark of another encoding than UTF-8.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}. Check `path` of the source") from error
    start = stream.read(4)
    stream.seek(0)
    for mark, name in _OTHER_ENCODINGS.items():
        if start.startswith(mark):
            stream.close()
            raise DataError(f"{path} is {name}, at byte 0: convert it, `iconv -f {name} -t UTF-8`")
    for mark, name in _PACKED.items():
        if start.startswith(mark):
            stream.close()
            raise DataError(f"{path} is {name}, at byte 0, and no text: unpack it, and give the file inside as `path`")
    if b"\0" in start and start[:4] != b"PAR1" and not start.startswith(b"\xff\xff"):
        stream.close()
        raise DataError(f"{path} has a zero byte at byte {start.index(0)}: UTF-16 without its mark, or no text at all")
    return stream


def not_utf8(path: Path, line: int, byte: int, error: UnicodeDecodeError) -> DataError:
    """What to tell of a file with bytes that are not UTF-8."""
    return DataError(
        f"{path}, line {line}, byte {byte}: 0x{error.object[error.start]:02x} is not UTF-8. "
        "Convert the file (for example `iconv -f WINDOWS-1252 -t UTF-8`) or mend that line"
    )


def as_fields(value: object) -> Fields | None:
    """A JSON object as fields, or None if it is something else."""
    return cast("Fields", value) if isinstance(value, dict) else None


def _lines(stream: BinaryIO, path: Path) -> Iterator[Row | Dropped]:
    number = start = 0
    while raw := stream.readline(LONGEST + 1):
        number += 1
        if len(raw) > LONGEST:
            raise DataError(f"{path}, line {number}, byte {start}: longer than {LONGEST:,} bytes, so no JSON line")
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
    text = _Text(stream, path)
    text.expect("[")
    number = 0
    while True:
        following = text.peek()
        if following == "]":
            break
        if number:
            text.expect(",")
        number += 1
        name = f"record {number}"
        fields = as_fields(text.value())
        if fields is None:
            yield Dropped("source", name, "bad_record", f"{name} is not a JSON object")
        else:
            yield Row(name, fields)
    text.expect("]")
    if text.peek():
        raise text.damaged("there is more after the end of the list")


class _Text:
    """A window of decoded text on a file, that grows until the value at its beginning is whole."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._json = json.JSONDecoder()
        self._window = ""
        self._at = 0
        self._bytes = 0
        self._lines = 1
        self._ended = False

    def peek(self) -> str:
        """The next letter that is not blank, or nothing at the end of the file."""
        while True:
            while self._at < len(self._window):
                if not self._window[self._at].isspace():
                    return self._window[self._at]
                self._at += 1
            if not self._grow():
                return ""

    def expect(self, letter: str) -> None:
        """Step over a letter that must come next."""
        if self.peek() != letter:
            raise self.damaged(f"expected {letter!r}" + ("" if self.peek() else ", but the file ends"))
        self._at += 1

    def value(self) -> object:
        """Parse the value that comes next."""
        self.peek()
        while True:
            try:
                value, end = self._json.raw_decode(self._window, self._at)
            except json.JSONDecodeError as error:
                left = len(self._window) - error.pos
                unended = error.msg.startswith("Unterminated string")
                # literals and escapes that are cut off are reported at their beginning, a few letters before the end
                if not ((unended or left < 16) and self._grow()):
                    self._at = len(self._window) - left
                    raise self.damaged(error.msg + (", and the file ends" if unended or left < 2 else "")) from error
            except (ValueError, RecursionError) as error:
                raise self.damaged(str(error)) from error
            else:
                if end < len(self._window) or not self._grow():  # a number may go on in the next piece
                    self._at = end
                    return value

    def damaged(self, what: str) -> DataError:
        """What to tell of the place that was reached."""
        line = self._lines + self._window.count("\n", 0, self._at)
        byte = self._bytes - len(self._window[self._at :].encode("utf-8", "surrogatepass"))
        return DataError(
            f"{self._path}, line {line}, about byte {max(byte, 0)}: damaged JSON: {what}. "
            "Check that the file was copied completely"
        )

    def _grow(self) -> bool:
        if self._ended:
            return False
        if len(self._window) - self._at > LONGEST:
            raise self.damaged(f"a record longer than {LONGEST:,} letters")
        piece = self._stream.read(max(_CHUNK, len(self._window) - self._at))
        self._lines += self._window.count("\n", 0, self._at)
        self._window = self._window[self._at :]
        self._at = 0
        try:
            self._window += self._decode.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            # the decoder may have kept up to 3 bytes of the piece before
            start = self._bytes - (len(error.object) - len(piece)) + error.start
            line = self._lines + self._window.count("\n") + error.object[: error.start].count(b"\n")
            raise not_utf8(self._path, line, start, error) from error
        self._bytes += len(piece)
        self._ended = not piece
        return bool(piece)
