"""Pictures as rows of preference data give them: bytes, a path, or both."""

from __future__ import annotations

from vlfeedback.exchange._items import Pictures
from vlfeedback.exchange._rows import Json
from vlfeedback.records import Image

OTHER_NAMES = ("image_path", "image_paths", "img_path", "img", "image_file", "image_url", "image_urls", "pictures")
"""Columns of other formats in which pictures are found."""

UNREAD = ("videos", "video", "audios", "audio", "tools")
"""Columns that an instruction cannot hold: an answer to them would be trained as an answer to text alone."""

LATE = "rows with pictures amid or after the text: they are shown before it"
MORE = "rows with more pictures than places for them: all are shown"
BOTH = "rows with images and another image: the column image is not read"


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


def refuse_unread(fields: dict[str, Json]) -> None:
    """Refuse a row that is about more than text and pictures.

    Raises:
        ValueError: it has a video, a sound, or tools that could be called.
    """
    for name in UNREAD:
        if (given := fields.get(name)) and given != "[]":  # LLaMA-Factory keeps its tools as JSON text
            raise ValueError(f"the row has {name}, and an instruction is only text and pictures")


def is_second(fields: dict[str, Json]) -> bool:
    """Whether a row's column `image` holds a picture that is not read, because `images` has others."""
    given, other = fields.get("images"), fields.get("image")
    if not given or other is None:
        return False
    listed = given if isinstance(given, list) else [given]
    return any(one not in listed for one in (other if isinstance(other, list) else [other]))


def images_of(fields: dict[str, Json], pictures: Pictures) -> tuple[Image, ...]:
    """Pictures of the column `images` or, where it is absent or empty, `image`; none if the row has neither.

    Raises:
        ImageError: one is missing, refused, or no usable picture.
        ValueError: a value stands for no picture, the picture is in a column that is not read, or the row is about
            more than text and pictures: a row that was about something must not become one without.
    """
    refuse_unread(fields)
    given = fields.get("images")
    if given is None or given == []:
        given = fields.get("image")
    if given is None:
        elsewhere = [name for name in OTHER_NAMES if fields.get(name)]
        if elsewhere:
            raise ValueError(f"its picture is in the column {elsewhere[0]}, which must be called images")
        return ()
    return tuple(image_of(one, pictures) for one in (given if isinstance(given, list) else [given]))
