"""Pictures as rows of preference data give them: bytes, a path, or both."""

from __future__ import annotations

from vlfeedback.exchange._items import Pictures
from vlfeedback.exchange._rows import Json
from vlfeedback.records import Image

OTHER_NAMES = ("image_path", "image_paths", "img_path", "img", "image_file", "image_url", "image_urls", "pictures")
"""Columns of other formats in which pictures are found."""


def image_of(given: Json, pictures: Pictures) -> Image:
    """The picture that a value stands for.

    Args:
        given: The bytes, a path below the root, or an object with `bytes`, `path` or both; bytes win.
    Raises:
        ImageError: it is missing, refused, or no usable picture.
        ValueError: the value stands for no picture.
    """
    if isinstance(given, bytes):
        return pictures.keep(given, "")
    if isinstance(given, str):
        return pictures.find(given)
    if isinstance(given, dict):
        data, path = given.get("bytes"), given.get("path")
        if isinstance(data, bytes):
            return pictures.keep(data, path if isinstance(path, str) else "")
        if isinstance(path, str):
            return pictures.find(path)
    raise ValueError("a picture is neither bytes nor a path")


def images_of(fields: dict[str, Json], pictures: Pictures) -> tuple[Image, ...]:
    """Pictures of the column `images` or, where it is absent or empty, `image`; none if the row has neither.

    Raises:
        ImageError: one is missing, refused, or no usable picture.
        ValueError: a value stands for no picture, or the picture is in a column that is not read: a row that was about
            a picture must not become one without.
    """
    given = fields.get("images")
    if given is None or given == []:
        given = fields.get("image")
    if given is None:
        elsewhere = [name for name in OTHER_NAMES if fields.get(name)]
        if elsewhere:
            raise ValueError(f"its picture is in the column {elsewhere[0]}, which must be called images")
        return ()
    return tuple(image_of(one, pictures) for one in (given if isinstance(given, list) else [given]))
