"""A sample that depends on content alone: the records with the smallest hashes among those that can be used."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from vlfeedback.errors import DataError
from vlfeedback.ids import hash_id
from vlfeedback.records import Dropped, Image, Instruction

if TYPE_CHECKING:
    from vlfeedback.source import Embedded, Found, Named, Reader


def rank(found: Found) -> int:
    """Place of a record in the order of its source: 64 bits of a hash of prompt and picture names."""
    digest = hash_id("sample", found.prompt.strip(), [_name(picture) for picture in found.images])
    return int(digest[:16], 16)


def sampled(
    reader: Reader, resolve: Callable[[Iterator[Found]], Iterator[Instruction | Dropped]], sample: int, where: str
) -> Iterator[Instruction | Dropped]:
    """Keep `sample` records; only as many pictures are opened as that takes.

    The file is read once for the hashes and once more for the records with the smallest ones; a further time for each
    round of replacements of records that turn out to be unusable. What stands in memory is a number and a name per
    record.

    Args:
        reader: Called more than once.
        resolve: Makes the instructions, or says why not.
        sample: Instructions to keep, ≥ 1.
        where: File, for messages.
    Raises:
        DataError: the file changed between two readings.
    """
    ranks = array("Q")
    names: list[str] = []
    for item in reader():
        if isinstance(item, Dropped):
            yield item
        else:
            ranks.append(rank(item))
            names.append(item.record_id)
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    kept = taken = 0
    while kept < sample and taken < len(order):
        wanted = set(order[taken : taken + sample - kept])
        taken += len(wanted)
        for result in resolve(_picked(reader, wanted, where)):
            kept += isinstance(result, Instruction)
            yield result
    for position in sorted(order[taken:]):
        yield Dropped("source", names[position], "not_sampled")


def _picked(reader: Reader, wanted: set[int], where: str) -> Iterator[Found]:
    """Records at the wanted positions, in the order of the file."""
    position = -1
    left = len(wanted)
    for item in reader():
        if isinstance(item, Dropped):
            continue
        position += 1
        if position in wanted:
            left -= 1
            yield item
            if not left:
                return
    raise DataError(f"{where} changed while it was being read: start again when nothing writes to it")


def _name(picture: Named | Embedded | Image) -> str:
    if isinstance(picture, Image):
        return picture.sha256
    first = picture[0]
    return hashlib.sha256(first).hexdigest() if isinstance(first, bytes) else first
