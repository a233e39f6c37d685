"""Addresses of pictures for a request body: data URLs, file URLs, or addresses below a public folder."""

from __future__ import annotations

import base64
from collections import OrderedDict
from typing import Literal
from urllib.parse import quote

from vlfeedback.errors import ConfigError
from vlfeedback.images import Roots, prepare
from vlfeedback.records import Image

ImageAs = Literal["data", "file", "url"]

KEPT_BYTES = 32 * 2**20
"""Encoded pictures kept for the next question on the same picture; calls on one picture come in a row."""


class Addresses:
    """Turns pictures into addresses, and keeps the last data URLs within a bound.

    Args:
        roots: Where pictures lie.
        image_as: `data` sends the picture, `file` the path on a disk that the server shares, `url` a public address.
        image_url: For `url`: the address of each root, e.g. `{"coco": "https://images.example/train2017/"}`.
        kept_bytes: Bound of the kept data URLs, bytes.
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
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._size = 0

    def address(self, image: Image, recipe: str) -> bytes:
        """The address of one picture, free of characters that JSON would escape.

        Raises:
            ConfigError: a recipe other than `original` with addresses, which send the file as it is.
            ImageError: the picture cannot be opened or prepared.
        """
        if self._as == "data":
            return self._data(image, recipe)
        if recipe != "original":
            raise ConfigError(
                f'image_as = "{self._as}" sends files as they are; use image_as = "data" with recipe {recipe!r}'
            )
        if self._as == "file":
            return b"file://" + quote(str(self._roots.path(image.uri))).encode()
        root, _, path = image.uri.partition(":")
        if root not in self._urls:
            raise ConfigError(f"image_url names no address for the image root {root!r}")
        return (self._urls[root].rstrip("/") + "/" + quote(path)).encode()

    def _data(self, image: Image, recipe: str) -> bytes:
        key = (image.sha256, recipe)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        prepared = prepare(self._roots.open(image), recipe)
        url = b"data:" + prepared.media_type.encode() + b";base64," + base64.b64encode(prepared.bytes)
        self._kept[key] = url
        self._size += len(url)
        while self._size > self._bound and self._kept:
            self._size -= len(self._kept.popitem(last=False)[1])
        return url
