"""Files of a folder of preference data: of one kind, and of which side of the split.

Found when `train --data` trained on the test split of its own export: all files of a folder had been read as one.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.records import Split
from vlfeedback.split_files import ALL, SIDE_FILES, NamedSplit, saved_files, saved_splits, side_of, splits_of
from vlfeedback.table_files import check_shards

KINDS = (".parquet", ".arrow", ".jsonl", ".json")
"""Endings of data files; the first that is there is read."""


class Part(NamedTuple):
    """Files of a split in order; `side` is None where a share of their pictures is to be held out."""

    name: str
    side: Split | None
    files: list[Path]


def parts_of(folder: Path, split: str, tally: Counter[str]) -> list[Part]:
    """What is read of a folder: the only split or the one asked for, else the training side before what is held out.

    Args:
        folder: What `save_to_disk` wrote, a snapshot of a hub, or any folder of data files.
        split: Name of the one split to read, or `all` for all as one; empty for both sides.
        tally: Counts data files that are not read.
    Raises:
        ConfigError: `split` is none of them, or their names do not say which is for training.
        DataError: there is no data file, or shards of what is read are missing.
    """
    found = _splits(folder, tally)
    chosen = _chosen(folder, found, split)
    for part in chosen:
        check_shards(part.files)
    return chosen


def _splits(folder: Path, tally: Counter[str]) -> dict[NamedSplit, list[Path]]:
    if (folder / "state.json").is_file():
        return {NamedSplit("", None): saved_files(folder)}
    if names := saved_splits(folder):
        inside = {name: folder / name for name in names}
        return {
            NamedSplit(name, side_of(name)): saved_files(place)
            if (place / "state.json").is_file()
            else _files(place, tally)
            for name, place in inside.items()
        }
    return splits_of(_files(folder, tally), folder)


def _chosen(folder: Path, found: dict[NamedSplit, list[Path]], split: str) -> list[Part]:
    known = ", ".join(repr(one.name) for one in found if one.name)
    if split:
        named = [Part(split, None, files) for one, files in found.items() if split in (one.name, ALL)]
        if not named:
            raise ConfigError(f"{folder} has " + (f"the splits {known}, not {split!r}." if known else "no splits."))
        return named
    if len(found) == 1:
        return [Part("", None, files) for files in found.values()]
    sides = Counter(one.side for one in found)
    if sides["train"] != 1 or sides[None]:
        raise ConfigError(
            f"{folder} has the splits {known}, and it is not clear which to train on: name one (`--split NAME`; with "
            f"`vlfeedback import`, `--option split=NAME`), {ALL!r} to take them for one, or give one file."
        )
    listed = [Part(one.name, one.side, files) for one, files in found.items()]
    return sorted(listed, key=lambda part: part.side != "train")  # what is trained on is known before what is held out


def _files(folder: Path, tally: Counter[str]) -> list[Path]:
    """The data files of a folder: the first kind that is there, so that side files are not read as rows."""
    # `datasets` keeps its own working files beside the data under names like these
    there = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix in KINDS
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and not file.name.startswith("cache-")
        and file.name not in SIDE_FILES
    ]
    kind = min((KINDS.index(file.suffix) for file in there), default=None)
    if kind is None:
        raise DataError(f"{folder} holds no .parquet, .arrow, .jsonl or .json file. Name the file or its folder.")
    read = [file for file in there if file.suffix == KINDS[kind]]
    if unread := [file for file in there if file.suffix != KINDS[kind]]:
        first = unread[0].relative_to(folder).as_posix()
        tally[f"files that are not read, because the folder has {KINDS[kind]} files: {first}, …"] += len(unread)
    return read
