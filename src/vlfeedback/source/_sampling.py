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


class Sample:
    """Records of a source in the order of their hashes; only as many pictures are opened as are asked for.

    The file is read once for the hashes and once more for the records with the smallest ones; a further time for each
    round of replacements of records that turn out to be unusable. What stands in memory is a number and a name per
    record.

    Args:
        reader: Called more than once.
        resolve: Makes the instructions, or says why not.
        where: File, for messages.
    """

    def __init__(
        self, reader: Reader, resolve: Callable[[Iterator[Found]], Iterator[Instruction | Dropped]], where: str
    ) -> None:
        self._reader, self._resolve, self._where = reader, resolve, where
        self._names: list[str] = []
        self._order = array("Q")
        self._taken = 0

    @property
    def left(self) -> bool:
        """Whether there are records that were not taken."""
        return self._taken < len(self._order)

    def begin(self) -> Iterator[Dropped]:
        """Read the file for the hashes; what the reader itself drops."""
        ranks = array("Q")
        for item in self._reader():
            if isinstance(item, Dropped):
                yield item
            else:
                ranks.append(rank(item))
                self._names.append(item.record_id)
        self._order = array("Q", sorted(range(len(ranks)), key=ranks.__getitem__))

    def more(self, count: int) -> Iterator[Instruction | Dropped]:
        """The next `count` usable records, and the unusable ones on the way; fewer where there are no more.

        Raises:
            DataError: the file changed between two readings.
        """
        kept = 0
        while kept < count and self.left:
            wanted = set(self._order[self._taken : self._taken + count - kept])
            self._taken += len(wanted)
            for result in self._resolve(_picked(self._reader, wanted, self._where)):
                kept += isinstance(result, Instruction)
                yield result

    def rest(self) -> Iterator[Dropped]:
        """All that was not taken, as dropped."""
        for position in sorted(self._order[self._taken :]):
            yield Dropped("source", self._names[position], "not_sampled")


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
