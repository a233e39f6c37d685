"""Splits of a dataset on disk: as `datasets` saves them, and as the files of a hub are named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, cast

from vlfeedback._images_names import shown
from vlfeedback.errors import DataError
from vlfeedback.records import Split
from vlfeedback.table_files import Fields, shard_start

SIDE_FILES = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""What `datasets` keeps beside the data and reads as no rows."""

ALL = "all"
"""Instead of the name of a split: all of them as one, as `datasets` calls it."""

_SIDES: Mapping[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation"), "eval"),
}
"""Words that name a split for `datasets`, anywhere in the name of a file or folder."""


class NamedSplit(NamedTuple):
    """A split as its files name it, and the side that such a name stands for; None for a name of the author's own."""

    name: str
    side: Split | None


def splits_of(files: Iterable[Path], folder: Path) -> dict[NamedSplit, list[Path]]:
    """Files of a folder by split; a single entry where nothing tells several splits apart.

    Shards (`train_prefs-00000-of-00002.parquet`) are of the split they begin with. Other files are of the one whose
    word is in their name, or in that of the nearest folder with such a word.
    """
    found: dict[NamedSplit, list[Path]] = {}
    for file in files:
        found.setdefault(_named(file, folder), []).append(file)
    plain = found.pop(NamedSplit("", None), [])
    if not found:
        return {NamedSplit("", None): plain}
    for file in plain:  # beside files that name a split, what names none is one by itself
        found.setdefault(NamedSplit(file.stem, None), []).append(file)
    return found


def saved_splits(folder: Path) -> list[str]:
    """Splits of what `save_to_disk` made of several; empty for any other folder.

    Raises:
        DataError: the list of them cannot be read, or one of its names is refused.
    """
    listing = folder / "dataset_dict.json"
    if not listing.is_file():
        return []
    names = _json(listing).get("splits")
    if not isinstance(names, list):
        raise DataError(f"{listing} lists no splits: check that the dataset was copied completely")
    found = [str(name) for name in cast("list[object]", names)]
    for name in found:
        if not _is_plain(name):
            raise DataError(f"{listing} lists the split {shown(name)}, which is no folder of this one")
    return found


def _is_plain(name: str) -> bool:
    """Whether a name leads into its folder and no further: nowhere else, and not back to where it is listed."""
    return Path(name).name == name and name not in ("", "..")


def saved_files(folder: Path) -> list[Path]:
    """Files that `state.json` lists; a name that leads out of the folder is refused.

    Raises:
        DataError: there is no such list, or one of its names is refused.
    """
    listed = _json(folder / "state.json").get("_data_files")
    if not isinstance(listed, list):
        raise DataError(f"{folder / 'state.json'} lists no files: check that the dataset was copied completely")
    found: list[Path] = []
    for entry in cast("list[object]", listed):
        name = cast("Fields", entry).get("filename") if isinstance(entry, Mapping) else None
        if not isinstance(name, str) or not _is_plain(name):
            raise DataError(f"{folder / 'state.json'} lists {name!r}, which is no file of this folder")
        found.append(folder / name)
    return found


def side_of(name: str) -> Split | None:
    """The side that the name of a split, a file or a folder stands for, by its first word that names a split."""
    word = _word(name)
    return _SIDES[word] if word else None


def _word(name: str) -> str:
    return next((word for word in re.split(r"[^a-z]+", name.lower()) if word in _SIDES), "")


def _named(file: Path, folder: Path) -> NamedSplit:
    start = shard_start(file.name)
    if start and _word(start):
        return NamedSplit(start, side_of(start))
    if not start and (word := _word(file.stem)):
        return NamedSplit(word, _SIDES[word])
    for part in reversed(file.relative_to(folder).parts[:-1]):
        if _word(part):
            return NamedSplit(part, side_of(part))
    return NamedSplit(start, None)


def _json(path: Path) -> Fields:
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}. Check that the dataset was copied completely") from error
    return cast("Fields", value) if isinstance(value, dict) else {}
