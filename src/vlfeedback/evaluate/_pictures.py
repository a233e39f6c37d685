"""Pictures of a benchmark, found by the names under which its copies keep them."""

from __future__ import annotations

from collections.abc import Sequence

from vlfeedback.errors import DataError, ImageError
from vlfeedback.images import Roots
from vlfeedback.records import Image


def picture(roots: Roots, root: str, names: Sequence[str], benchmark: str) -> Image:
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
    raise DataError(f"{benchmark}: {detail}. Every picture of the benchmark is needed in the root {root!r}.") from error
