"""The files of a dataset that may be one file or a folder of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vlfeedback.errors import DataError
from vlfeedback.json_text import not_utf8, open_text

_ENDS = re.compile(r"\r\n?|\n")
MOST = 64 * 2**20
"""Largest text file that is read at once, bytes."""


def files_of(path: Path, endings: Sequence[str], *, skip_empty: bool = False) -> list[Path]:
    """A file itself, or the files of a folder and its sub-folders, by name; hidden ones are left out.

    Args:
        path: File or folder.
        endings: Of the files that are wanted in a folder, lower case, with the dot.
        skip_empty: Leave files without a byte out.
    Raises:
        DataError: there is nothing at the path, or no such file in the folder.
    """
    if not path.is_dir():
        return [path]  # one that is not there is told of when it is opened
    found = [
        file
        for file in sorted(path.rglob("*"))
        if file.name.lower().endswith(tuple(endings))
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and file.is_file()
        and not (skip_empty and not file.stat().st_size)
    ]
    if not found:
        raise DataError(f"{path} holds no file that ends in {' or '.join(endings)}. Check `path` of the source")
    return found


def lines_of(path: Path) -> list[str]:
    """Lines of a text file that are not blank, stripped; they end at a line feed or carriage return, and nowhere else.

    Raises:
        DataError: it is not there, too large, or not UTF-8.
    """
    with open_text(path) as stream:
        raw = stream.read(MOST + 1)
    if len(raw) > MOST:
        raise DataError(f"{path} is larger than {MOST:,} bytes, too large for a list of one line each")
    try:
        return [line.strip() for line in _ENDS.split(raw.decode("utf-8-sig")) if line.strip()]
    except UnicodeDecodeError as error:
        raise not_utf8(path, raw[: error.start].count(b"\n") + 1, error.start, error) from error
