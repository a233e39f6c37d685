"""Images by content: found under named roots, opened safely, hashed, measured, prepared for sending.

A record holds `root:relative/path`. What a dataset says about where a picture lies is never trusted: it cannot leave
its root (also not by a symbolic link), cannot name a URL, and cannot make the machine decode a bomb.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from vlfeedback._images_archive import Archive
from vlfeedback._images_fetch import fetch, fetchable
from vlfeedback._images_files import READING, Stamp, hashed, open_regular, regular, stamp_of, write_atomically
from vlfeedback._images_names import check_relative, shown, split_uri
from vlfeedback._images_pixels import (
    FINE,
    MAX_PIXELS,
    THUMB,
    Appearance,
    Look,
    Prepared,
    Size,
    appearance,
    fingerprint,
    glance,
    look,
    measure,
    parse_recipe,
    prepare,
    suffix_of,
)
from vlfeedback._images_room import limited
from vlfeedback._images_still import Hashed, Still, unchanged
from vlfeedback.errors import ConfigError, DataError, ImageError
from vlfeedback.ids import hash_id
from vlfeedback.records import Image, Split

__all__ = [
    "FINE", "MAX_BYTES", "MAX_PIXELS", "RUN_ROOT", "THUMB", "Appearance", "Prepared", "Roots", "Size", "Still",
    "appearance",
    "fingerprint", "glance", "measure", "parse_recipe", "prepare", "side", "unopened",
]  # fmt: skip


MAX_BYTES = 64 * 2**20
"""Default limit of a picture's file, bytes."""

RUN_ROOT = "run"
"""Name of the root inside a run folder, for pictures that a source generated or unpacked."""

_REMEMBERED = 65_536
_SEEN = 2048


class Roots:
    """Named places where pictures lie; safe to use from several threads.

    Args:
        mapping: Name to folder or `.zip` file (read in place, never unpacked). The name `run` is where `add` writes.
        max_pixels: Largest width times height.
        max_bytes: Largest file, bytes.
        allow_outside: Let paths leave their root: `..`, absolute, `file://` and symbolic links. For your own data only.
        allow_urls: Fetch pictures named by `http://`, `https://` and `data:` into the root `run`.
    Raises:
        ConfigError: a root's name is empty or contains a colon or slash.
    """

    def __init__(
        self,
        mapping: Mapping[str, Path],
        *,
        max_pixels: int = MAX_PIXELS,
        max_bytes: int = MAX_BYTES,
        allow_outside: bool = False,
        allow_urls: bool = False,
    ) -> None:
        for name in mapping:
            if not name or ":" in name or "/" in name:
                raise ConfigError(f"[images] {name!r}: a root's name must not be empty nor contain ':' or '/'")
        self._places = {name: Path(place) for name, place in mapping.items()}
        self._archives: dict[str, Archive] = {}
        self._lock = Lock()
        self._max_pixels = max_pixels
        self._max_bytes = max_bytes
        self._allow_outside = allow_outside
        self._allow_urls = allow_urls
        self._found: dict[tuple[str, str], Image] = {}
        self._folder = lru_cache(maxsize=4096)(self._folder_inside)
        self._hashed: dict[str, Hashed] = {}
        self._as_is: dict[str, str] = {}
        self._looking = False
        self._seen: dict[str, Appearance] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the roots, in the order given."""
        return tuple(self._places)

    def path(self, uri: str) -> Path:
        """Where a picture lies on this machine.

        Args:
            uri: `root:relative/path`.
        Raises:
            ImageError: `refused_path`, `refused_uri`, or `missing_image` where the root is unknown or an archive.
        """
        root, relative = split_uri(uri)
        place = self._known(root)
        if _is_archive(place):
            raise ImageError("missing_image", f"{shown(uri)} lies in the archive {place} and has no path; use open()")
        return self._inside(place, relative)

    def open(self, image: Image) -> bytes:
        """Read a picture's bytes and make sure that they are still the ones the record speaks of.

        Raises:
            ImageError: it is missing, refused, too large, or another file than the one that was hashed (`bad_image`).
        """
        root, relative = split_uri(image.uri)
        self._known(root)
        with self._stream(root, relative) as stream:
            stamp = stamp_of(stream)
            # By its size where there is one: room for the largest picture that is allowed takes long to get.
            data = stream.read(min(stamp.size, self._max_bytes) + 1 if stamp else self._max_bytes + 1)
        if len(data) > self._max_bytes:
            raise ImageError("image_too_large", f"{shown(image.uri)} is larger than {self._max_bytes:,} bytes")
        if image.sha256.startswith("uri:") or (
            stamp is not None
            and (known := self._hashed.get(image.uri)) is not None
            and known[:2] == (stamp, image.sha256)
        ):
            return data
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise ImageError("bad_image", f"{shown(image.uri)} has changed since it was read: its hash is another now")
        self._remember(image.uri, stamp, image.sha256)
        return data

    def sent_as_is(self, image: Image) -> str:
        """Media type of a picture that was decoded in this process and goes out as it is; empty if unknown."""
        return self._as_is.get(image.sha256, "")

    def still(self, image: Image) -> Still | None:
        """A picture that `open` would give without hashing it, to be read bit by bit; None for any other."""
        known = self._hashed.get(image.uri)
        if known is None or known.sha256 != image.sha256 or not known.path or not unchanged(known):
            return None
        return Still(image.uri, known)

    def _remember(self, uri: str, stamp: Stamp | None, sha256: str) -> None:
        """A file whose size, time and place are unchanged since this process hashed it is not hashed again."""
        if stamp is None:
            return
        if len(self._hashed) >= _REMEMBERED:
            self._hashed.clear()
            self._as_is.clear()
        self._hashed[uri] = Hashed(stamp, sha256, self._direct(*split_uri(uri)))

    def find(self, root: str, relative: str) -> Image:
        """Look a picture up, check all of it, and make its record.

        Args:
            root: Name of a root.
            relative: Path below it, with forward slashes, as a dataset names it.
        Raises:
            ImageError: `missing_image`, `bad_image`, `image_too_large`, `refused_path` or `refused_uri`.
            ConfigError: no root has that name.
            DataError: the root's folder or archive does not exist or cannot be read.
        """
        if root not in self._places:
            close = difflib.get_close_matches(root, self._places, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"no image root is called {root!r}{hint} Known: {', '.join(self._places) or 'none'}")
        found = self._found.get((root, relative))
        return self._keep(root, relative, self._find(root, relative)) if found is None else found

    def found(self, root: str, relative: str) -> Image | None:
        """The record of a picture that `find` has made lately, without a look at the disk."""
        return self._found.get((root, relative))

    @contextmanager
    def looking(self) -> Generator[None]:
        """While pictures are found, also keep what they look like for `appearance`: decoding is nearly all of both."""
        self._looking = True
        try:
            yield
        finally:
            self._looking = False
            self._seen.clear()

    def appearance(self, image: Image) -> Appearance:
        """What a picture looks like; at no cost once, soon after it was found while `looking`.

        Raises:
            ImageError: as of `open`.
        """
        seen = self._seen.pop(image.sha256, None)
        return appearance(self.open(image), max_pixels=self._max_pixels) if seen is None else seen

    def glance(self, root: str, relative: str) -> Size:
        """Size of a picture by its header alone, for estimates; `find` reads and checks all of it.

        Raises:
            ImageError, DataError: as of `find`.
        """
        name = f"{root}:{check_relative(relative, allow_outside=self._allow_outside)}"
        self._known(root)
        with self._stream(root, relative) as stream:
            return glance(stream, shown(name), self._max_pixels)

    def weight(self, image: Image) -> int:
        """Bytes of a picture's file without opening it, for bounds of memory; a guess where it lies in an archive."""
        root, _, relative = image.uri.partition(":")
        place = self._places.get(root)
        try:  # nothing is opened, so the name needs no checking
            return 0 if place is None else os.stat(f"{place}/{relative}").st_size  # noqa: PTH116  (three times as fast)
        except (OSError, ValueError):
            return image.width * image.height // 2  # inside an archive

    def add(self, data: bytes, suffix: str = "") -> Image:
        """Store a picture's bytes under their hash in the root `run`; storing equal bytes again is free.

        Args:
            data: A complete image file.
            suffix: Of the file's name, with its dot: `.png`; empty for the one that the bytes ask for.
        Raises:
            ImageError: the bytes are not a usable picture.
            ConfigError: there is no root `run`.
            DataError: the disk is full or cannot be written.
        """
        place = self._places.get(RUN_ROOT)
        if place is None:
            raise ConfigError(f"pictures can only be added where a root {RUN_ROOT!r} is given")
        digest = hashlib.sha256(data).hexdigest()
        relative = f"{digest[:2]}/{digest}{check_relative(suffix or suffix_of(data))}"
        uri, target = f"{RUN_ROOT}:{relative}", place / relative
        kept = self._found.get((RUN_ROOT, relative))
        if kept is not None and target.exists():
            return kept
        size = self._looked(io.BytesIO(data), uri, digest).size
        if not target.exists():
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(target, data)
            except OSError as error:
                raise DataError(
                    f"{target} could not be written ({error}). Free some disk space and run again."
                ) from error
        return self._keep(RUN_ROOT, relative, Image(digest, uri, size.width, size.height))

    def _known(self, root: str) -> Path:
        """The place of a root that a record names; unknown here means that this machine lacks the picture."""
        place = self._places.get(root)
        if place is None:
            raise ImageError(
                "missing_image", f"[images] has no root {root!r}; known: {', '.join(self._places) or 'none'}"
            )
        return place

    def _find(self, root: str, relative: str) -> Image:
        if self._allow_urls and fetchable(relative):
            return self.add(fetch(relative, self._max_bytes))
        place = self._places[root]
        uri = f"{root}:{check_relative(relative, allow_outside=self._allow_outside)}"
        if not place.is_dir():
            if not place.exists():
                raise DataError(f"[images] {root} = {place}: there is no such folder or archive")
            if not _is_archive(place):
                raise DataError(
                    f"[images] {root} = {place}: this is a file, neither a folder nor a .zip. Unpack it, and name the "
                    "folder"
                )
        with self._stream(root, relative) as stream:
            stamp = stamp_of(stream)
            digest, whole = hashed(stream, stamp, uri, self._max_bytes)
            seen = self._looked(stream if whole is None else whole, uri, digest)
        self._remember(uri, stamp, digest)
        if seen.as_is:
            self._as_is[digest] = seen.as_is
        return Image(digest, uri, seen.size.width, seen.size.height)

    def _keep(self, root: str, relative: str, found: Image) -> Image:
        with self._lock:
            limited(self._found, _REMEMBERED)[root, relative] = found
        return found

    def _looked(self, stream: BinaryIO, uri: str, digest: str) -> Look:
        """Decode a picture once, for its size, to be sure that it is whole, and for what it looks like."""
        seen = look(stream, shown(uri), self._max_pixels, small=self._looking)
        if seen.appearance is not None:
            with self._lock:
                limited(self._seen, _SEEN)[digest] = seen.appearance
        return seen

    def _stream(self, root: str, relative: str) -> BinaryIO:
        place = self._places[root]
        if place.suffix and _is_archive(place):
            return io.BytesIO(self._archive(root, place).read(check_relative(relative), self._max_bytes))
        name = f"{root}:{relative}"
        if not self._allow_outside:
            check_relative(relative)
            try:  # nearly all: a file that is no link, in a folder that was looked at before
                descriptor = os.open(self._direct(root, relative), READING | os.O_NOFOLLOW)
            except (OSError, RuntimeError, ValueError):
                pass  # the long way says what is wrong
            else:
                return regular(descriptor, name, self._max_bytes)
        return open_regular(self._inside(place, relative), name, self._max_bytes)

    def _direct(self, root: str, relative: str) -> str:
        """Path of a file in a folder that was looked at before, empty if none; whoever opens it must refuse a link."""
        try:
            folder, _, file = check_relative(relative).rpartition("/")
            return f"{self._folder(root, folder)}/{file}"
        except (OSError, RuntimeError, ValueError, ImageError):
            return ""

    def _folder_inside(self, root: str, folder: str) -> str:
        """A folder of a root with every link on the way followed.

        Raises:
            OSError, RuntimeError, ValueError: it is not there, or not inside the root.
        """
        home = self._places[root].resolve(strict=True)
        target = (home / folder).resolve(strict=True)
        target.relative_to(home)
        return str(target)

    def _archive(self, root: str, place: Path) -> Archive:
        with self._lock:
            if root not in self._archives:
                self._archives[root] = Archive(place)
            return self._archives[root]

    def _inside(self, place: Path, relative: str) -> Path:
        """Path of a file below a folder, with every link on the way followed and checked."""
        safe = check_relative(relative, allow_outside=self._allow_outside)
        try:
            named = place / safe
            if self._allow_outside or named.is_symlink():
                target = named.resolve()
            else:
                target = _followed(named.parent) / named.name
            home = _followed(place)
        except (OSError, RuntimeError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "a name or link that leads nowhere"
            raise ImageError("missing_image", f"{shown(f'{place / safe}')} cannot be followed: {reason}") from error
        if not self._allow_outside and not target.is_relative_to(home):
            raise ImageError("refused_path", f"{shown(relative)} leads out of {place} by a symbolic link")
        return target


def side(prompt: str, images: Sequence[Image], eval_share: float) -> Split | None:
    """Side of an instruction, decided by its pictures and by nothing else, so that no picture is ever on both sides.

    Args:
        prompt: Decides only where there is no picture.
        images: Pictures of the instruction.
        eval_share: Expected share of the eval side, 0 to 1.
    Returns:
        The side that all pictures share, or None where they lie on different sides.
    """
    keys = [image.sha256 for image in images] or [hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()]
    sides: set[Split] = {"eval" if _fraction(key) < eval_share else "train" for key in keys}
    return sides.pop() if len(sides) == 1 else None


def unopened(root: str, relative: str) -> Image:
    """Record of a picture that is named but neither opened nor hashed: `uri:` + 32 digits, size 0.

    Raises:
        ImageError: `refused_path` or `refused_uri`.
    """
    uri = f"{root}:{check_relative(relative)}"
    return Image(f"uri:{hash_id('image uri', uri)}", uri, 0, 0)


def _fraction(key: str) -> float:
    return int(key.removeprefix("uri:")[:13], 16) / 16**13  # 52 bits: exact in a double, and below 1


def _followed(folder: Path) -> Path:
    """A folder with every link followed, once: a data set has few folders, and a look at every part of a path takes as
    long as to read the file."""
    try:
        return _followed_once(folder)
    except FileNotFoundError:
        return folder.resolve()


@lru_cache(maxsize=4096)
def _followed_once(folder: Path) -> Path:
    return folder.resolve(strict=True)


def _is_archive(place: Path) -> bool:
    return place.suffix.lower() == ".zip" and not place.is_dir()
