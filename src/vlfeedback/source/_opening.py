"""Pictures of many records opened at the same time: decoding them is nearly all of the time of this room.

Records keep their order, and each is told of its first broken picture, as if they had been opened one after the other.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from vlfeedback import flow
from vlfeedback.errors import ImageError
from vlfeedback.records import Dropped, Image

if TYPE_CHECKING:
    from vlfeedback.source import Embedded, Found, Named

RECORDS = 256
"""Records of a chunk: the next one begins when all pictures of this one are open."""
BYTES = 32 << 20
"""Bytes of pictures that lie in the records themselves, and letters of names, of a chunk."""
THREADS = max(2, min(16, os.cpu_count() or 1))


class Opened(NamedTuple):
    """A record with its pictures, or with what stands in their way."""

    found: Found
    images: tuple[Image, ...] | Exception


def opened(
    records: Iterable[Found | Dropped],
    open_one: Callable[[Named | Embedded], Image],
    known: Callable[[Named | Embedded], Image | None],
) -> Iterator[Opened | Dropped]:
    """Open the pictures of all records.

    Args:
        records: In the order of the dataset; what is dropped already is handed on.
        open_one: Makes the record of a picture, or raises; called by several threads.
        known: The same for a picture that needs no work, or None.
    Raises:
        KeyboardInterrupt: the user has asked to stop.
    """
    for chunk in _chunks(records):
        found = [one for one in chunk if not isinstance(one, Dropped)]
        named = dict.fromkeys(picture for one in found for picture in one.images)
        images = _at_once([one for one in named if not isinstance(one, Image)], open_one, known)
        flow.stop_if_interrupted()
        for one in chunk:
            yield one if isinstance(one, Dropped) else Opened(one, _all(one, images))


def _all(one: Found, images: dict[Named | Embedded, Image | Exception]) -> tuple[Image, ...] | Exception:
    mine: list[Image] = []
    for picture in one.images:
        image = picture if isinstance(picture, Image) else images[picture]
        if isinstance(image, Exception):
            return image
        mine.append(image)
    return tuple(mine)


def _at_once(
    pictures: list[Named | Embedded],
    open_one: Callable[[Named | Embedded], Image],
    known: Callable[[Named | Embedded], Image | None],
) -> dict[Named | Embedded, Image | Exception]:
    """Every picture, or why it cannot be opened; some are missing where the user has asked to stop."""

    def result(picture: Named | Embedded) -> tuple[Named | Embedded, Image | Exception]:
        try:
            return picture, open_one(picture)
        except ImageError as error:  # without the calls it came through, which hold the names of all pictures
            return picture, ImageError(error.reason, error.detail)
        except Exception as error:  # in the order of the records it is decided what becomes of it
            return picture, error

    async def answer(picture: Named | Embedded) -> tuple[Named | Embedded, Image | Exception]:
        return await asyncio.to_thread(result, picture)

    def at_hand(picture: Named | Embedded) -> tuple[Named | Embedded, Image | Exception] | None:
        image = known(picture)
        return None if image is None else (picture, image)

    return dict(flow.each(pictures, answer, in_flight=THREADS, known=at_hand))


def _chunks(records: Iterable[Found | Dropped]) -> Iterator[list[Found | Dropped]]:
    """Some records at a time; what the reader raises comes after what it gave before."""
    chunk: list[Found | Dropped] = []
    held = 0
    failed: Exception | None = None
    source = iter(records)
    while True:
        try:
            one = next(source)
        except StopIteration:
            break
        except Exception as error:
            failed = error
            break
        chunk.append(one)
        held += 0 if isinstance(one, Dropped) else sum(_size(picture) for picture in one.images)
        if len(chunk) >= RECORDS or held >= BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk
    if failed is not None:
        raise failed


def _size(picture: Named | Embedded | Image) -> int:
    """Of a picture that lies in its record, or of what a record calls it: such a name may be a picture's base64."""
    return 0 if isinstance(picture, Image) else len(picture[0])
