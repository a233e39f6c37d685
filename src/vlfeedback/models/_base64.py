"""Base64 of a picture, made bit by bit while it is sent.

Encoded as a whole beforehand, hundreds of pictures in flight are as many cold pieces of memory to be filled: measured
on 200 kB pictures, to read and encode one takes 0.2 ms of processor time, and 0.07 ms where each bit is dropped before
the next one is made. A picture whose file was hashed before is not in memory at all. pybase64 takes a fortieth of the
time of `binascii`, which stands in where it is missing.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator
from functools import partial

from vlfeedback.images import Still

ENCODED = 1536 * 1024
"""Bytes of a picture per piece, a multiple of three, so that only the last one is filled up.

Every piece lets go of the interpreter several times. 1 MB pictures at 512 in flight, four sizes by turns, three times:
pieces of 192 kB 397 calls/s, 384 kB 460, 768 kB 463, one piece 482, all with a peak of 103 to 115 MiB.
"""

AT_ONCE = 4 * ENCODED // 3
"""Bytes of the largest picture that goes out in one piece: a small second one costs as much as a large one."""


def _binascii(data: memoryview) -> bytes:
    return binascii.b2a_base64(data, newline=False)


def _fastest() -> Callable[[memoryview], bytes]:
    try:
        from pybase64 import b64encode
    except ImportError:
        return _binascii
    return b64encode


_encode = _fastest()


class Base64:
    """A picture in a body: bytes that are sent as base64. No bytes itself, so that nobody joins it by mistake."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes | Still) -> None:
        self._data = data

    def __len__(self) -> int:
        """Of the base64."""
        return (len(self._data) + 2) // 3 * 4

    def pieces(self) -> Iterator[bytes]:
        """The base64 in pieces that give the whole when joined.

        Raises:
            ImageError: the file has gone or is another one now; what came before it is to be sent to nobody.
        """
        data = self._data
        read = data.read if isinstance(data, Still) else partial(_part, memoryview(data))
        size = len(data)
        step = size if size <= AT_ONCE else ENCODED
        for start in range(0, size, step or 1):
            yield _encode(read(start, min(step, size - start)))


def _part(view: memoryview, start: int, size: int) -> memoryview:
    return view[start : start + size]


Piece = bytes | Base64
"""Of a body on its way."""


def whole(piece: Piece) -> bytes:
    """What a piece is in the body."""
    return piece if isinstance(piece, bytes) else b"".join(piece.pieces())
