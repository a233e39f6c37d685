"""What a format reads and writes: items, pictures, and the two protocols of the room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from vlfeedback._images_archive import open_archive
from vlfeedback._images_names import shown
from vlfeedback.errors import DataError, ImageError
from vlfeedback.exchange._rows import Json
from vlfeedback.images import RUN_ROOT, Roots, unopened
from vlfeedback.records import Dropped, Group, Image, Split

IMAGES_ROOT = "images"
"""Root under which the pictures of an import lie; `import` writes it into run.toml."""

ASPECTS = ("Helpfulness", "Ethical Considerations", "Visual Faithfulness")
"""Aspects of the released data, in the order in which its judge rated them."""

Tally = Counter[str]
"""Counts of what a format noticed, by words for the user."""


class Verdict(NamedTuple):
    """A rating as found; score None where the file has no whole number from 1 to 5."""

    aspect: str
    score: int | None
    rationale: str


class Preference(NamedTuple):
    """Positions in an item's completions of a better and a worse one."""

    chosen: int
    rejected: int
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer of an item.

    Attributes:
        model: Name as the file has it.
        text: What becomes the response.
        raw: The text exactly as found, for the ledger.
        verdicts: One per aspect, or none where the file does not rate it.
        found: The ratings as found, for the ledger.
    """

    model: str
    text: str
    raw: str
    verdicts: tuple[Verdict, ...] = ()
    found: Json = None


@dataclass(frozen=True, slots=True)
class Item:
    """One row of an imported file.

    Attributes:
        where: Place in the file (`data.jsonl:12`), for what is dropped.
        completions: In the order of the file; an unusable one is its own `Dropped`, so that positions stay.
        side: Where the data's own splits say it; else the pictures decide.
    """

    where: str
    prompt: str
    images: tuple[Image, ...]
    category: str
    completions: tuple[Completion | Dropped, ...]
    preferences: tuple[Preference, ...] = ()
    side: Split | None = None


class Pictures:
    """Where an import finds its pictures.

    Args:
        run: Folder for pictures that come inside a data file.
        place: Folder or `.zip` of the user's pictures, or None: then pictures are only named.
        hashing: Open, check and hash every picture; else it is only named, and its id hashes the name.
        allow_outside: Let paths leave `place`; for the user's own data only.
    Attributes:
        unopened: How many times a picture was only named.
    Raises:
        DataError: there is no such folder or archive.
    """

    def __init__(self, run: Path, place: Path | None, *, hashing: bool = True, allow_outside: bool = False) -> None:
        mapping = {RUN_ROOT: run} if place is None else {RUN_ROOT: run, IMAGES_ROOT: place}
        if place is not None and not place.exists():
            raise DataError(f"{place} does not exist. Give the folder or .zip that holds the pictures.")
        self._roots = Roots(mapping, allow_outside=allow_outside)
        self._place = place
        self._hashing = hashing and place is not None
        self._allow_outside = allow_outside
        self._homes = () if place is None or not place.is_dir() else (place.absolute(), place.resolve())
        self._members: frozenset[str] | None = None
        self.unopened = 0

    def find(self, *names: str) -> Image:
        """The picture under the first of some names that exists.

        Args:
            names: Paths below the root, or absolute ones that lead into it; the first one is the picture's name where
                nothing is opened.
        Raises:
            ImageError: under none of the names is a usable picture.
        """
        names = tuple(map(self._below, names))
        if not self._hashing:
            self.unopened += 1
            named = unopened(IMAGES_ROOT, names[0])
            return next((replace(named, uri=f"{IMAGES_ROOT}:{name}") for name in names[1:] if self._there(name)), named)
        first: ImageError | None = None
        for name in names:
            try:
                return self._roots.find(IMAGES_ROOT, name)
            except ImageError as error:
                if error.reason != "missing_image":
                    raise
                first = first or error
        raise first or ImageError("missing_image", "the row names no picture")

    def _below(self, name: str) -> str:
        """A name as one below the root; whether it climbs out again is looked at by whoever opens it."""
        if not name.startswith("/"):
            return name
        for home in self._homes:
            if (path := Path(name)).is_relative_to(home):
                return path.relative_to(home).as_posix()
        if self._allow_outside:
            return name
        where = "and no folder of pictures was given" if self._place is None else f"not inside {self._place}"
        raise ImageError(
            "refused_path",
            f"{shown(name)} is an absolute path, {where}: give a folder that holds it as that of pictures (--images)",
        )

    def _there(self, name: str) -> bool:
        """Whether a second name exists, so that an unopened picture can still be found later."""
        if self._place is None:
            return False
        if self._place.is_dir():
            return (self._place / unopened(IMAGES_ROOT, name).uri.partition(":")[2]).is_file()
        if self._members is None:
            with open_archive(self._place) as archive:
                self._members = frozenset(archive.namelist())
        return name in self._members

    def keep(self, data: bytes, name: str) -> Image:
        """Store a picture that came inside the data file.

        Args:
            data: The complete image file.
            name: Its name as found, for the suffix only.
        Raises:
            ImageError: the bytes are no usable picture.
        """
        suffix = Path(name).suffix.lower()
        return self._roots.add(data, suffix if suffix in (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp") else ".img")


class Shape(NamedTuple):
    """How many rows an export wrote, and what it left out and why."""

    rows: dict[str, int]
    left_out: dict[str, int]


@runtime_checkable
class Importer(Protocol):
    """A format that can be read.

    Attributes:
        judge: Name of whoever rated, empty if the format has no ratings.
        prefers: Whether the format states preferences, so that pairs.parquet is written.
    """

    judge: str
    prefers: bool

    def read(self, path: Path, pictures: Pictures, tally: Tally) -> Iterator[Item | Dropped]:
        """Items of a file or folder, exactly one item or `Dropped` for each of its rows."""
        ...


@runtime_checkable
class Exporter(Protocol):
    """A format that can be written."""

    def write(self, groups: Iterable[Group], open_image: Callable[[Image], bytes], out: Path) -> Shape:
        """Write groups into the folder `out`, which exists and is empty."""
        ...


@runtime_checkable
class Both(Importer, Exporter, Protocol):
    """A format that can be read and written."""


Format = Importer | Exporter
"""What a plug-in's `load` returns: something that reads, writes, or both."""
