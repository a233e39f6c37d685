"""How the bytes of a picture are read for training: as they are, hidden, or damaged."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from io import BytesIO
from typing import Any, Protocol

from vlfeedback.images import prepare
from vlfeedback.records import Image


class Pictures(Protocol):
    """Where the bytes of pictures come from; `vlfeedback.images.Roots` is one."""

    def open(self, image: Image) -> bytes:
        """The bytes of a picture.

        Raises:
            ImageError: it cannot be used.
        """
        ...


class Reader:
    """How the bytes of a picture are read.

    Args:
        pictures: Where they lie.
        mean: Shows an even picture of this colour (0 to 255) and the same size instead: the image-blind control.
    """

    def __init__(self, pictures: Pictures, *, mean: tuple[int, int, int] | None) -> None:
        self._pictures, self._mean = pictures, mean
        self._originals: dict[str, Image] = {}
        self._contents: dict[str, str] = {}

    def damaged(self, image: Image) -> Image:
        """A name for a picture of which a fifth of the area is shown, enlarged to the whole size; the same every time.

        The size stays, because it decides how many tokens stand for the picture.
        """
        name = hashlib.sha256(f"damaged {image.sha256}".encode()).hexdigest()
        self._originals[name] = image
        return replace(image, sha256=name, uri=f"damaged:{image.uri}")

    def blank(self) -> Image:
        """A name for an even picture."""
        return _BLANK

    def content(self, image: Image) -> str:
        """Hash of the bytes of a picture that was named and never hashed; empty for others, whose names are hashes."""
        named = self._originals.get(image.sha256, image)
        if not named.sha256.startswith("uri:"):
            return ""
        if named.sha256 not in self._contents:
            self._open(named)
        return self._contents[named.sha256]

    def _open(self, image: Image) -> bytes:
        data = self._pictures.open(image)
        if image.sha256.startswith("uri:"):
            self._contents[image.sha256] = hashlib.sha256(data).hexdigest()
        return data

    def __call__(self, image: Image, recipe: str) -> bytes:
        """Bytes of a picture under a preparation recipe."""
        from PIL import Image as pillow

        if image == _BLANK:
            return _png(pillow.new("RGB", (image.width, image.height), self._mean or (127, 127, 127)))
        original = self._originals.get(image.sha256)
        found = prepare(self._open(original or image), recipe)
        if self._mean is not None:
            return _png(pillow.new("RGB", (found.width, found.height), self._mean))
        if original is None:
            return found.bytes
        whole = pillow.open(BytesIO(found.bytes)).convert("RGB")
        return _png(whole.crop(_part(whole.size, image.sha256)).resize(whole.size))


# Both edges hold whole patches of 14, 16 and 28 pixels.
_BLANK = Image(hashlib.sha256(b"blank").hexdigest(), "blank:", 112, 112)

DAMAGED_SHARE = 0.2
"""Share of the area that a damaged picture shows."""


def _part(size: tuple[int, int], name: str) -> tuple[int, int, int, int]:
    """A box of `DAMAGED_SHARE` of the area, its place decided by a name of hexadecimal digits."""
    width, height = (max(1, round(edge * DAMAGED_SHARE**0.5)) for edge in size)
    left = int(name[:8], 16) % (size[0] - width + 1)
    top = int(name[8:16], 16) % (size[1] - height + 1)
    return left, top, left + width, top + height


def _png(picture: Any) -> bytes:
    data = BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def reader(pictures: Pictures, *, mean: tuple[int, int, int] | None) -> Reader:
    """See `Reader`."""
    return Reader(pictures, mean=mean)
