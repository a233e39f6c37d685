"""Addresses of pictures for a request body: data URLs, file URLs, or addresses below a public folder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Literal
from urllib.parse import quote
from weakref import WeakKeyDictionary

from vlfeedback.errors import ConfigError
from vlfeedback.images import Roots, prepare
from vlfeedback.models._base64 import Base64, Piece
from vlfeedback.records import Image

ImageAs = Literal["data", "file", "url"]

Picturing = Callable[[Image, str], tuple[bytes, ...]]
"""Gives the address of a picture, prepared by a recipe, in pieces."""

Sent = Callable[[Image, str], tuple[Piece, ...]]
"""The same, for a body that is sent at once."""

KEPT_BYTES = 64 * 2**20
"""Prepared pictures kept for the next question on the same picture; calls on one picture come in a row."""


class Addresses:
    """Turns pictures into addresses, and keeps the last prepared ones within a bound.

    Args:
        roots: Where pictures lie.
        image_as: `data` sends the picture, `file` the path on a disk that the server shares, `url` a public address.
        image_url: For `url`: the address of each root, e.g. `{"coco": "https://images.example/train2017/"}`.
        kept_bytes: Bound of the kept pictures, bytes.
    """

    def __init__(
        self, roots: Roots, image_as: ImageAs, image_url: dict[str, str] | None = None, kept_bytes: int = KEPT_BYTES
    ) -> None:
        if (image_as == "url") != bool(image_url):
            raise ConfigError('image_as = "url" and image_url (the public address of each image root) need each other')
        self._roots = roots
        self._as = image_as
        self._urls = dict(image_url or {})
        self._bound = kept_bytes

    @property
    def embeds(self) -> bool:
        """Whether pictures themselves are sent."""
        return self._as == "data"

    def address(self, image: Image, recipe: str) -> tuple[bytes, ...]:
        """The address of one picture in pieces, free of characters that JSON would escape.

        Raises:
            ConfigError: a recipe other than `original` with addresses, which send the file as it is.
            ImageError: the picture cannot be opened or prepared.
        """
        if self._as == "data":
            head, picture = self._data(image, recipe)
            return (head, *picture.pieces())
        if recipe != "original":
            raise ConfigError(
                f'image_as = "{self._as}" sends files as they are; use image_as = "data" with recipe {recipe!r}'
            )
        if self._as == "file":
            return (b"file://" + quote(str(self._roots.path(image.uri))).encode(),)
        root, _, path = image.uri.partition(":")
        if root not in self._urls:
            raise ConfigError(f"image_url names no address for the image root {root!r}")
        return ((self._urls[root].rstrip("/") + "/" + quote(path)).encode(),)

    def sent(self, image: Image, recipe: str) -> tuple[Piece, ...]:
        """The same for a body that is sent at once: a picture is encoded while it goes out."""
        return self._data(image, recipe) if self._as == "data" else self.address(image, recipe)

    def _data(self, image: Image, recipe: str) -> tuple[bytes, Base64]:
        media_type = self._roots.sent_as_is(image) if recipe == "original" else ""
        if media_type and (still := self._roots.still(image)) is not None:
            return _head(media_type), Base64(still)
        kept = _KEPT.setdefault(self._roots, _Kept(self._bound))
        known = kept.find((image.sha256, recipe))
        if known is not None:
            return known
        data = self._roots.open(image)
        if not media_type:
            # What was opened has the hash of the record, and whoever hashed it decoded all of it.
            data, media_type, *_ = prepare(data, recipe, whole=not image.sha256.startswith("uri:"))
        return kept.keep((image.sha256, recipe), (_head(media_type), Base64(data)))


@lru_cache(maxsize=16)
def _head(media_type: str) -> bytes:
    return b"data:" + media_type.encode() + b";base64,"


class _Kept:
    """The last pictures of one set of roots, ready to be sent, within a bound.

    Pool and judge ask about a picture at about the same time, each with a model of its own: it is prepared once.
    """

    def __init__(self, bound: int) -> None:
        self._bound, self._size = bound, 0
        self._last: OrderedDict[tuple[str, str], tuple[bytes, Base64]] = OrderedDict()

    def find(self, key: tuple[str, str]) -> tuple[bytes, Base64] | None:
        found = self._last.get(key)
        if found is not None:
            self._last.move_to_end(key)
        return found

    def keep(self, key: tuple[str, str], url: tuple[bytes, Base64]) -> tuple[bytes, Base64]:
        self._last[key] = url
        self._size += len(url[1])
        while self._size > self._bound and self._last:
            self._size -= len(self._last.popitem(last=False)[1][1])
        return url


_KEPT: WeakKeyDictionary[Roots, _Kept] = WeakKeyDictionary()
