"""A picture's file that this process has hashed, read again bit by bit for as long as it is that very file.

Hundreds of pictures in flight, each in memory as a whole, are hundreds of cold pieces of memory to be filled and read
once; most of the time of a call with a picture of 1 MB went there. Read in pieces into a place that is used again and
again, a picture never leaves the cache of the processor on its way from the file to the socket.
"""

from __future__ import annotations

import os
import threading
from typing import NamedTuple

from vlfeedback._images_files import READING, Stamp, stamp_in
from vlfeedback._images_names import shown
from vlfeedback.errors import ImageError


class Hashed(NamedTuple):
    """A file as it was when it was hashed.

    Attributes:
        path: Where it was opened, with no link at the end; empty where it was reached by one.
    """

    stamp: Stamp
    sha256: str
    path: str


class _Place(threading.local):
    """Where pieces are read to; one for each thread."""

    room = bytearray(0)


_place = _Place()


class Still:
    """The bytes of a picture's file, none of which is in memory.

    Args:
        uri: For messages.
        hashed: What it was when it was hashed; no other file is read.
    """

    __slots__ = ("_hashed", "_uri")

    def __init__(self, uri: str, hashed: Hashed) -> None:
        self._uri, self._hashed = uri, hashed

    def __len__(self) -> int:
        return self._hashed.stamp.size

    def read(self, start: int, size: int) -> memoryview:
        """A piece of it, which stays what it is until this thread reads the next one, of any picture.

        The file is open only meanwhile: pictures that wait for a slow line hold no descriptors.

        Raises:
            ImageError: `missing_image`, or `bad_image` where it is no longer the file that was hashed.
        """
        if len(_place.room) < size:
            _place.room = bytearray(size)
        piece = memoryview(_place.room)[:size]
        try:
            descriptor = os.open(self._hashed.path, READING | os.O_NOFOLLOW)
            try:
                got = os.preadv(descriptor, [piece], start)
                stamp = stamp_in(os.fstat(descriptor))  # after the reading: what was read is from before
            finally:
                os.close(descriptor)
        except OSError as error:
            raise ImageError("missing_image", f"{shown(self._uri)}: {error.strerror or error}") from error
        if got != size or stamp != self._hashed.stamp:
            raise ImageError("bad_image", f"{shown(self._uri)} has changed while it was sent")
        return piece


def unchanged(hashed: Hashed) -> bool:
    """Whether the file still lies there as it was hashed."""
    try:
        return stamp_in(os.stat(hashed.path, follow_symlinks=False)) == hashed.stamp  # noqa: PTH116
    except OSError:
        return False
