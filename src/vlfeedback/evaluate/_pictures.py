"""Pictures of a benchmark, found by the names under which its copies keep them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlfeedback.errors import DataError, ImageError
from vlfeedback.ids import hash_id
from vlfeedback.images import Roots
from vlfeedback.records import Image


class Forgiving:
    """Image roots for a look at the items of a benchmark, of which `picture` and `add` may find some broken.

    Attributes:
        unread: What was wrong with each of them; instead of it stands a record that no picture has.
    """

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._instead: set[str] = set()
        self.unread: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._roots, name)

    def add(self, data: bytes, suffix: str = "") -> Image:
        """As of `Roots`."""
        try:
            return self._roots.add(data, suffix)
        except ImageError as error:
            return self.instead(error.detail)

    def instead(self, detail: str) -> Image:
        """What stands for a picture that could not be read."""
        digest = hash_id("unread", len(self.unread), detail)
        self.unread.append(detail)
        self._instead.add(f"uri:{digest}")
        return Image(f"uri:{digest}", "", 0, 0)

    def stands_for_one(self, image: Image) -> bool:
        """Whether a record stands for a picture that could not be read."""
        return image.sha256 in self._instead


def picture(roots: Roots | Forgiving, root: str, names: Sequence[str], benchmark: str) -> Image:
    """The first picture that is there under one of its names.

    Raises:
        DataError: there is none, or it cannot be used: a benchmark needs all of its pictures.
        ConfigError: no root has that name.
    """
    error: ImageError | None = None
    for name in names:
        try:
            return roots.find(root, name)
        except ImageError as one:
            if error is None or one.reason != "missing_image":
                error = one
            if one.reason != "missing_image":
                break
    detail = error.detail if error is not None else "no name"
    if isinstance(roots, Forgiving):
        return roots.instead(detail)
    raise DataError(f"{benchmark}: {detail}. Every picture of the benchmark is needed in the root {root!r}.") from error
