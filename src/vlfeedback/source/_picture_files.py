"""The pictures of a folder: what is taken for one, what is passed over, and what is told of because it is neither."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vlfeedback._images_pixels import UNKNOWN, suffix_of
from vlfeedback.records import Dropped
from vlfeedback.source._files import everything

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""Endings of files that are taken for pictures; a name without an ending is one where its file begins as they do."""

BESIDE = frozenset({
    ".txt", ".md", ".json", ".jsonl", ".csv", ".tsv", ".parquet", ".toml", ".yaml", ".yml", ".xml", ".html", ".log",
    ".py", ".ini", ".db",
})  # fmt: skip
"""Endings of files that lie beside pictures and are none; they are passed over."""


def picture_files(path: Path) -> Iterator[Path | Dropped]:
    """The pictures of a folder and its sub-folders by name, and as dropped what may have been meant to be one.

    Hidden files are passed over, and links to folders are not followed.
    """
    for place in everything(path):
        if place.name.startswith(".") or place.suffix.lower() in BESIDE or (place.is_dir() and not place.is_symlink()):
            continue
        name = place.relative_to(path).as_posix()
        if place.is_dir():
            detail = f"{name} is a link to a folder, which is not followed: give that folder as a source of its own"
            yield Dropped("source", name, "refused_path", detail)
        elif not place.exists():
            yield Dropped("source", name, "missing_image", f"{name} is a link that leads nowhere")
        elif not place.is_file():
            yield Dropped("source", name, "bad_image", f"{name} is a pipe or a device, and no file")
        elif place.suffix.lower() in SUFFIXES or (not place.suffix and _begins_as_one(place)):
            yield place
        elif place.suffix:
            detail = f"{name} ends in {place.suffix!r}, which is not read: give JPEG, PNG, WebP, GIF, BMP or TIFF"
            yield Dropped("source", name, "bad_image", detail)


def _begins_as_one(place: Path) -> bool:
    try:
        with place.open("rb") as stream:
            return suffix_of(stream.read(16)) != UNKNOWN
    except OSError:  # whoever opens it will say why it cannot be read
        return True
