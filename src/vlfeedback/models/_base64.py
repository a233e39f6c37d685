"""Base64 of a picture, in pieces: pybase64 where it is installed, which takes a fortieth of the time of `binascii`."""

from __future__ import annotations

import binascii
from collections.abc import Callable

ENCODED = 48 * 1024
"""Bytes of a picture per piece, a multiple of three, so that only the last one is filled up. `binascii` asks for twice
the room that it needs and gives the rest back: for a whole picture that takes longer than the encoding."""


def _binascii(data: memoryview) -> bytes:
    return binascii.b2a_base64(data, newline=False)


def _fastest() -> Callable[[memoryview], bytes]:
    try:
        from pybase64 import b64encode
    except ImportError:
        return _binascii
    return b64encode


_encode = _fastest()


def pieces_of(data: bytes) -> list[bytes]:
    """Base64 in pieces that give the whole one when joined."""
    view = memoryview(data)
    return [_encode(view[start : start + ENCODED]) for start in range(0, len(view), ENCODED)]
