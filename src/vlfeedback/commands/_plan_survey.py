"""A look at a source for a plan: how many of its records can be used, and how large those are.

All records are counted and told apart by a hash; of the pictures only some are looked at, those that a sample would
take first, and of these only the headers. Bytes that stand in a record are gone before the next one is read.
"""

from __future__ import annotations

import heapq
import io
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from vlfeedback._images_fetch import fetchable
from vlfeedback.errors import DataError
from vlfeedback.images import MAX_PIXELS, Roots, Size, glance
from vlfeedback.records import Dropped, Image
from vlfeedback.source import Embedded, Found, Named, Picture, Reader, without_text
from vlfeedback.source._sampling import rank

SURVEYED = 2000
"""Instructions of a source whose pictures are looked at before there is a table of them all."""

LONG = 4096
"""Letters of a picture's name beyond which it is no path; it is looked up at once and not kept."""


class Seen(NamedTuple):
    """What is known of one instruction: letters of its prompt, and the sizes of its pictures in pixels."""

    letters: int
    sizes: tuple[Size, ...]


class Survey(NamedTuple):
    """What a source would give.

    Attributes:
        instructions: How many, by the share of usable ones among those looked at.
        seen: Those looked at whose pictures are known; all of them, or an even sample.
        warnings: How many records the reader drops, and how many of the others cannot be used where that makes them
            fewer; with the reasons.
    """

    instructions: int
    seen: list[Seen]
    warnings: tuple[str, ...] = ()


@dataclass
class Surveyor:
    """Looks at sources, one after the other.

    Attributes:
        here: Names of the image roots that are on this machine; of pictures in others nothing is known.
        max_pixels: Largest picture that a run takes.
        urls: A run may fetch pictures by URL; a plan never does.
    """

    roots: Roots
    here: frozenset[str]
    max_pixels: int = MAX_PIXELS
    urls: bool = False
    _taken: set[tuple[int, tuple[str, ...]]] = field(default_factory=set[tuple[int, tuple[str, ...]]])

    def survey(self, name: str, reader: Reader, root: str, sample: int | None) -> Survey:
        """Read a source once and look at its first records in the order of their hashes, as a sample does.

        Args:
            name: Of the source, for messages.
            root: Image root of names that the reader gives without one.
            sample: Instructions wanted, None for all.
        """
        ranks = array("Q")
        first, lost = _First(SURVEYED), _Lost()
        for item in reader():
            if isinstance(item, Dropped):
                lost.add(item)
            else:
                ranks.append(number := rank(item))
                if first.wants(number):
                    first.keep(number, self._record(item, root))
        walk = _Walk(len(ranks), _different(ranks))
        for number, record in first.in_order():
            if sample is not None and walk.usable >= sample:
                return Survey(sample, walk.seen, lost.words(name, walk.records))
            key = (number, tuple(picture.root for picture in record.pictures if isinstance(picture, Named)))
            try:
                sizes = self._sizes(record)
            except DataError as error:
                walk.refuse(str(error))
            else:
                walk.take(record.letters, sizes, again=key in self._taken)
                self._taken.add(key)
        about = walk.about
        wanted = min(walk.records, sample or walk.records)
        fewer = (walk.words(name),) if about < wanted else ()
        return Survey(min(about, wanted), walk.seen, (*lost.words(name, walk.records), *fewer))

    def _record(self, found: Found, root: str) -> _Record:
        """What is kept of a record: no text, and no bytes."""
        gone = without_text(found)
        if gone is not None:
            return _Record(0, (), gone.detail or "it has no prompt")
        try:
            pictures = tuple(self._light(picture, root) for picture in found.images)
        except DataError as error:  # its words alone: an error holds the calls it came through, and they the bytes
            return _Record(0, (), str(error))
        return _Record(len(found.prompt.strip()), pictures)

    def _light(self, picture: Picture, root: str) -> Size | Named | None:
        if isinstance(picture, Image):
            return Size(picture.width, picture.height)
        if isinstance(picture, Embedded):
            return glance(io.BytesIO(picture.data), "a picture", self.max_pixels)
        named = picture._replace(root=picture.root or root)
        return self._look(named) if max(map(len, (named.path, *named.or_else))) > LONG else named

    def _sizes(self, record: _Record) -> tuple[Size, ...] | None:
        """Sizes of a record's pictures; None where one of them cannot be known on this machine.

        Raises:
            DataError: the source will drop it.
        """
        if record.problem:
            raise DataError(record.problem)
        sizes = [self._look(one) if isinstance(one, Named) else one for one in record.pictures]
        known = tuple(one for one in sizes if one is not None)
        return known if len(known) == len(sizes) else None

    def _look(self, picture: Named) -> Size | None:
        if picture.root not in self.here or (self.urls and fetchable(picture.path)):
            return None
        problem: DataError | None = None
        for name in (picture.path, *picture.or_else):
            try:
                return self.roots.glance(picture.root, name)
            except DataError as error:
                problem = problem or error
        assert problem is not None
        raise problem


class _Record(NamedTuple):
    """A record without its text and bytes.

    Attributes:
        pictures: Their sizes, or where they lie; None where that is not known here.
        problem: Why it cannot be used, if that is known already.
    """

    letters: int
    pictures: tuple[Size | Named | None, ...]
    problem: str = ""


class _First:
    """The records with the smallest ranks; one of each rank, since equal ones are copies of each other."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[int] = []  # negative: the largest rank is on top
        self._kept: dict[int, _Record] = {}

    def wants(self, number: int) -> bool:
        return number not in self._kept and (len(self._heap) < self._most or number < -self._heap[0])

    def keep(self, number: int, record: _Record) -> None:
        heapq.heappush(self._heap, -number)
        self._kept[number] = record
        if len(self._heap) > self._most:
            del self._kept[-heapq.heappop(self._heap)]

    def in_order(self) -> Iterator[tuple[int, _Record]]:
        return iter(sorted(self._kept.items()))


@dataclass
class _Lost:
    """What a reader drops itself, by reason."""

    reasons: Counter[str] = field(default_factory=Counter[str])
    first: str = ""

    def add(self, one: Dropped) -> None:
        self.reasons[one.reason] += 1
        self.first = self.first or (one.detail or one.record_id)[:300]

    def words(self, name: str, read: int) -> tuple[str, ...]:
        if not self.reasons:
            return ()
        gone = self.reasons.total()
        counts = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.most_common())
        return (f"source {name!r}: {gone:,} of {read + gone:,} records are dropped ({counts}; first: {self.first})",)


@dataclass
class _Walk:
    """What was found on the way through the records of a source.

    Attributes:
        records: All, copies as well.
        different: Without copies.
    """

    records: int
    different: int
    looked: int = 0
    usable: int = 0
    elsewhere: int = 0
    refused: int = 0
    reason: str = ""
    seen: list[Seen] = field(default_factory=list[Seen])

    def refuse(self, reason: str) -> None:
        self.looked += 1
        self.refused += 1
        self.reason = self.reason or reason

    def take(self, letters: int, sizes: tuple[Size, ...] | None, *, again: bool) -> None:
        """A good record; `again` if a source before has given the same."""
        self.looked += 1
        if again:
            self.elsewhere += 1
            return
        self.usable += 1
        if sizes is not None:
            self.seen.append(Seen(letters, sizes))

    @property
    def about(self) -> int:
        """Instructions in all."""
        return round(self.different * self.usable / self.looked) if self.looked else 0

    def words(self, name: str) -> str:
        """Why there are fewer instructions than records."""
        why = [
            f"{self.records - self.different:,} are copies of others" if self.records > self.different else "",
            f"{self.refused:,} of {self.looked:,} looked at cannot be used (first: {self.reason})"
            if self.refused
            else "",
            f"{self.elsewhere:,} of {self.looked:,} looked at stand in a source before it" if self.elsewhere else "",
        ]
        counts = "; ".join(one for one in why if one)
        return f"source {name!r}: about {self.about:,} of {self.records:,} records are usable: {counts}"


def _different(ranks: array[int]) -> int:
    import numpy as np

    return int(np.unique(np.frombuffer(ranks, np.uint64)).size) if ranks else 0
