"""What tells one state of a source's files from another without reading them: sizes and times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vlfeedback._config_paths import BESIDE, FILES
from vlfeedback.config import PluginTable
from vlfeedback.source._files import walked


def stamp(table: PluginTable) -> list[object]:
    """Sizes and times of the files that a plug-in's options name; an option that is text is never taken for a path.

    Returns:
        Per option that names something that is there: the option, and what `_files` says of it.
    """
    places = {key: _place(table, key) for key in sorted({*FILES, *BESIDE})}
    return [[key, *_files(place)] for key, place in places.items() if place is not None and _is_there(place)]


def _place(table: PluginTable, key: str) -> Path | None:
    """What an option names, where its reader looks for it: beside the source's own path, unless it is absolute."""
    value = table.options.get(key)
    if not isinstance(value, str) or not value:
        return None
    folder = table.options.get("path") if key in BESIDE else None
    return Path(folder, value) if isinstance(folder, str) else Path(value)


def _is_there(place: Path) -> bool:
    try:
        return place.exists()
    except (OSError, ValueError):  # no name that a file can have, or in a room that is not ours: its reader will say
        return False


def _files(path: Path) -> Iterator[object]:
    """Size and time of a file; of a folder, those of all files in it that a reader would see."""
    if path.is_file():
        found = path.stat()
        yield [found.st_size, found.st_mtime_ns]
        return
    for folder, _, names in walked(path):
        for name in names:
            try:
                found = Path(folder, name).stat()
            except OSError:  # a link to nowhere: the reader will say what it thinks of it
                continue
            yield [str(Path(folder, name).relative_to(path)), found.st_size, found.st_mtime_ns]
