"""Names of pictures: what a path in a dataset may look like."""

from __future__ import annotations

import posixpath
import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from vlfeedback.errors import ImageError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://|(?:data|file|https?|ftp|javascript):", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_SHOWN = 120
_SENTENCE = 1000


class Uri(NamedTuple):
    """The two halves of `root:relative/path`."""

    root: str
    relative: str


def split_uri(uri: str) -> Uri:
    """Take `root:relative/path` apart.

    Raises:
        ImageError: `refused_uri`: it has no root, or is a URL.
    """
    root, colon, relative = uri.partition(":")
    if not colon or not root or _URL.match(uri):
        raise ImageError("refused_uri", f"{shown(uri)} is not of the form root:relative/path")
    return Uri(root, relative)


def check_relative(relative: str, *, allow_outside: bool = False) -> str:
    """Make sure that a path stays below its root as far as its letters tell, and normalise it.

    Args:
        relative: As a dataset has it.
        allow_outside: Let `..`, absolute paths and `file://` pass.
    Returns:
        The path without `.` and `..` parts.
    Raises:
        ImageError: `refused_uri` or `refused_path`.
    """
    if _URL.match(relative.lstrip()):
        if not (allow_outside and relative.lower().startswith("file://")):
            raise ImageError(
                "refused_uri",
                f"{shown(relative)} is a URL; pictures are read from the roots of [images]: put it there as a file",
            )
        relative = unquote(urlsplit(relative).path)
    plain = relative.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in relative)
    if not relative or "\0" in relative or not plain:
        raise ImageError("refused_path", f"{shown(relative)} is not the name of a file")
    normal = posixpath.normpath(relative)
    if allow_outside:
        return normal
    if normal.startswith("/") or _DRIVE.match(normal):
        raise ImageError("refused_path", f"{shown(relative)} is an absolute path; give it relative to its root")
    if normal == ".." or normal.startswith("../") or ".." in relative.split("\\"):
        raise ImageError("refused_path", f"{shown(relative)} climbs out of its root")
    return normal


def shown(text: str) -> str:
    """A text of a stranger for a message: quoted, without control characters, and not too long."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def printable(text: str) -> str:
    """A sentence that may quote a stranger, for a terminal: control characters are written out, and thousands cut."""
    some = text if len(text) <= _SENTENCE else text[:_SENTENCE] + "…"
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in some)
