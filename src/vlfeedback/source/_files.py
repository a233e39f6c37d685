"""The files of a dataset that may be one file or a folder of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.json_text import not_utf8, open_text
from vlfeedback.records import Dropped
from vlfeedback.source import Found

_ENDS = re.compile(r"\r\n?|\n")
PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst")
"""Endings of files that have to be unpacked before they are read."""
MOST = 64 * 2**20
"""Largest text file that is read at once, bytes."""


OF_A_RUN = (".lock", "instructions.parquet")
"""What lies beside `run.toml` in the folder of a run, and not where somebody has written one."""


def is_run_folder(folder: Path) -> bool:
    """Whether a folder holds a run, this one or another: what a run has drawn or written is no source of its own."""
    return (folder / "run.toml").is_file() and any((folder / name).exists() for name in OF_A_RUN)


def walked(path: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """What `os.walk` gives, in order of names, without the folders of runs.

    Args:
        path: Where a run lies in this folder itself, only its `images` are left out. One inside a run is read, because
            somebody has named it.
    """
    for folder, folders, names in os.walk(path):
        drawn = "images" if folder == str(path) and is_run_folder(path) else ""
        folders[:] = sorted(one for one in folders if one != drawn and not is_run_folder(Path(folder, one)))
        yield folder, folders, sorted(names)


def everything(path: Path) -> list[Path]:
    """Everything that lies below a folder, sorted, links to folders too, which are not followed; see `walked`."""
    return sorted(Path(folder, name) for folder, folders, names in walked(path) for name in (*folders, *names))


def below(path: Path, home: Path | None) -> str:
    """What the names of a folder's pictures begin with in their image root: nothing, or the way to the folder.

    Args:
        path: The folder.
        home: The root's place. Of an archive, of one that is not there and of None nothing is known, nor said.
    Raises:
        ConfigError: the folder does not lie in the root, so that the names would be those of other pictures or of none.
    """
    if home is None or not home.is_dir():
        return ""
    for folder, root in ((_plain(path), _plain(home)), (path.resolve(), home.resolve())):
        if folder.is_relative_to(root):
            way = folder.relative_to(root).as_posix()
            return "" if way == "." else f"{way}/"
    raise ConfigError(
        f"the pictures of {path} do not lie in its image root, which is {home}: set `images` to a root of [images] "
        "that is this folder, or one that holds it"
    )


def _plain(path: Path) -> Path:
    """A path from the top, without `..`, and with its links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100  (`resolve` follows links)


def files_of(path: Path, endings: Sequence[str], *, skip_empty: bool = False) -> list[Path]:
    """A file itself, or the files of a folder and its sub-folders, by name; hidden ones are left out.

    Args:
        path: File or folder.
        endings: Of the files that are wanted in a folder, lower case, with the dot.
        skip_empty: Leave files without a byte out.
    Raises:
        DataError: there is nothing at the path, no such file in the folder, or a packed one.
    """
    if not path.is_dir():
        return [path]  # one that is not there is told of when it is opened
    shown = [
        file
        for file in everything(path)
        if not any(part.startswith(".") for part in file.relative_to(path).parts) and file.is_file()
    ]
    found = [file for file in shown if file.name.lower().endswith(tuple(endings))]
    for file in shown:
        if file.name.lower().endswith(tuple(f"{one}{packed}" for one in endings for packed in PACKED)):
            _refuse_packed(file, found)
    found = [file for file in found if not (skip_empty and not file.stat().st_size)]
    if not found:
        raise DataError(f"{path} holds no file that ends in {' or '.join(endings)}. Check `path` of the source")
    return found


def _refuse_packed(file: Path, found: Sequence[Path]) -> None:
    if file.with_suffix("") not in found:
        raise DataError(f"{file} is packed and would be left out: unpack it there, or move it out of the folder")


def named_by_file(items: Iterable[Found | Dropped], file: Path, path: Path) -> Iterator[Found | Dropped]:
    """What a reader gives of one file; where it is one of a folder's, what is dropped says of which, as ids do."""
    if not path.is_dir():
        yield from items
        return
    place = file.relative_to(path)
    for item in items:
        if isinstance(item, Dropped):
            name = f"{place.with_suffix('').as_posix()}/{item.record_id}"
            item = replace(item, record_id=name, detail=f"{place.as_posix()}, {item.detail}")
        yield item


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
