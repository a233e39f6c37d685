"""Large JSON files of others: opened with a look at what they are, and a list read without having it in memory.

A file that is damaged as a whole (another encoding, cut off in the middle) is a `DataError` that says at which line
and byte.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vlfeedback.errors import DataError

LONGEST = 256 * 2**20
"""Longest record in bytes; beyond it a quote is missing rather than a text long."""

CHUNK = 2**20
_OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_POINTER = b"version https://git-lfs.github.com/spec/"
_PACKED = {
    b"\x1f\x8b": "packed with gzip", b"PK\x03\x04": "a ZIP archive", b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"\xfd7zX": "packed with xz", b"BZh91AY&SY": "packed with bzip2",
}  # fmt: skip
_USE = {"Parquet": '`use = "parquet"` or `"hugging_face"`', "Arrow": '`use = "hugging_face"`'}
_TABLES = {b"PAR1": "Parquet", b"ARROW1\0\0": "Arrow", b"\xff\xff\xff\xff": "Arrow"}


def open_text(path: Path, *, table: bool = False) -> BinaryIO:
    """Open a dataset's file for reading bytes.

    Args:
        path: The file.
        table: Whether it may be Parquet or Arrow as well.
    Raises:
        DataError: it is not there, no regular file, unreadable, packed, a table where that is not asked for, or begins
            with the mark of another encoding than UTF-8.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise DataError(
                f"{path} is no regular file but a pipe, a device or a socket: write what it gives to a file"
            )
        stream = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}. Check the path") from error
    except ValueError as error:  # a zero byte in the name
        raise DataError(f"{str(path)!r} cannot be opened: {error}. Check the path") from error
    start = stream.read(len(_POINTER))
    stream.seek(0)
    if start == _POINTER:
        stream.close()
        raise DataError(f"{path} is a pointer of Git LFS and not the file: fetch it, `git lfs pull` in its repository")
    _check_start(start, stream, path, table)
    return stream


def _check_start(start: bytes, stream: BinaryIO, path: Path, table: bool) -> None:
    """Refuse, and close, what begins as something else than text does."""
    for mark, name in _OTHER_ENCODINGS.items():
        if start.startswith(mark):
            stream.close()
            raise DataError(f"{path} is {name}, at byte 0: convert it, `iconv -f {name} -t UTF-8`")
    for mark, name in _PACKED.items():
        if start.startswith(mark):
            stream.close()
            raise DataError(f"{path} is {name}, at byte 0, and no text: unpack it, and give the file inside as `path`")
    for mark, name in _TABLES.items():
        if start.startswith(mark):
            if table:
                return
            stream.close()
            raise DataError(
                f"{path} is a file of {name}, at byte 0, and no text: a [[source]] reads it with {_USE[name]}"
            )
    if b"\0" in start[:4] and not start.startswith(b"\xff\xff"):
        stream.close()
        raise DataError(f"{path} has a zero byte at byte {start.index(0)}: UTF-16 without its mark, or no text at all")


def not_utf8(path: Path, line: int, byte: int, error: UnicodeDecodeError) -> DataError:
    """What to tell of a file with bytes that are not UTF-8."""
    return DataError(
        f"{path}, line {line}, byte {byte}: 0x{error.object[error.start]:02x} is not UTF-8. "
        "Convert the file (for example `iconv -f WINDOWS-1252 -t UTF-8`) or mend that line"
    )


def elements(stream: BinaryIO, path: Path) -> Iterator[object]:
    """Values of a JSON list, one after the other.

    Raises:
        DataError: it is no list, damaged, not UTF-8, or a value is longer than `LONGEST`.
    """
    text = _Text(stream, path)
    text.expect("[")
    first = True
    while text.peek() != "]":
        if not first:
            text.expect(",")
        first = False
        yield text.value()
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
        piece = self._stream.read(max(CHUNK, len(self._window) - self._at))
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
