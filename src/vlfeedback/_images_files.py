"""Files of pictures on disk: opened without being led astray, and written whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO, NamedTuple

from vlfeedback._images_names import shown
from vlfeedback.errors import ImageError

# O_NONBLOCK: a pipe in a dataset's folder must not hang the run before it is known to be one.
READING = os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_WHOLE = 4 * 2**20
"""Files up to this size are read once, for the hash and for decoding; larger ones twice, a piece at a time."""
_CHUNK = 2**20


class Stamp(NamedTuple):
    """What changes when a file does."""

    size: int
    modified: int
    changed: int
    node: int


def stamp_of(stream: BinaryIO) -> Stamp | None:
    """Of a file on disk; None for what lies in an archive."""
    if isinstance(stream, io.BytesIO):
        return None
    return stamp_in(os.fstat(stream.fileno()))


def stamp_in(status: os.stat_result) -> Stamp:
    """What the system says of a file as a stamp."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def hashed(stream: BinaryIO, stamp: Stamp | None, uri: str, max_bytes: int) -> tuple[str, BinaryIO | None]:
    """Hash of a file, and its bytes where they are few; the stream is at its beginning again.

    Raises:
        ImageError: it is empty (`bad_image`) or `image_too_large`.
    """
    asked = min(stamp.size, _WHOLE) + 1 if stamp else _WHOLE + 1
    chunk = stream.read(asked)
    whole = io.BytesIO(chunk) if len(chunk) < asked else None
    digest = hashlib.sha256()
    read = 0
    while chunk:
        read += len(chunk)
        if read > max_bytes:
            raise ImageError("image_too_large", f"{shown(uri)} is larger than {max_bytes:,} bytes")
        digest.update(chunk)
        chunk = b"" if whole else stream.read(_CHUNK)
    if not read:
        raise ImageError("bad_image", f"{shown(uri)} is empty")
    stream.seek(0)
    return digest.hexdigest(), whole


def open_regular(path: Path, name: str, max_bytes: int) -> BinaryIO:
    """Open a file by its path; see `regular`."""
    try:
        descriptor = os.open(path, READING)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageError("missing_image", f"{shown(name)}: {reason or error}") from error
    return regular(descriptor, name, max_bytes)


def regular(descriptor: int, name: str, max_bytes: int) -> BinaryIO:
    """The stream of an open file that is neither a pipe nor a device, nor too large.

    Raises:
        ImageError: `bad_image` or `image_too_large`; the file is closed.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ImageError("bad_image", f"{shown(name)} is not a regular file")
    if status.st_size > max_bytes:
        os.close(descriptor)
        raise ImageError("image_too_large", f"{shown(name)} has {status.st_size:,} bytes, more than {max_bytes:,}")
    return os.fdopen(descriptor, "rb")


def write_atomically(target: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".partial")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        part.chmod(0o644)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
