"""Pictures that look alike: the same photo in another size, format or quality.

Candidates have difference hashes of at most `BITS` different bits; a likeness is confirmed where no pixel of their
thumbnails differs by more than `PIXEL` and all of them by no more than `MEAN` on average, and where both are pale, as
pages of text are, no pixel of their finer ones by more than `FINE_PART` of their contrast. Measured on 37 pictures:
copies of half and a third of the size, of JPEG quality 30, and cropped by 1 % stay within 7 bits, 8 and 46; pages of
FigStep, and different pocket scenes, are 67 and more apart.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from vlfeedback.errors import DataError, ImageError
from vlfeedback.images import FINE, THUMB, Roots
from vlfeedback.records import Image

BITS = 7
PIXEL = 48
MEAN = 8.0
FINE_PART, FINE_LEAST = 0.35, 8
LEADERS = 300
"""Different pictures of one hash (blank pages, say) that are compared with each other; beyond, only equal files are."""
CROWD = 1000
_BANDS, _WIDTH = 4, 16  # with 7 bits in 4 bands, some band has at most one of them
_AT_ONCE = 1 << 20

Array = np.ndarray[Any, Any]


_ONES = np.array([bin(value).count("1") for value in range(256)], dtype=np.uint8)


class Fines:
    """Finer thumbnails of pale pictures by number, in a file without a name: a set of pages has one for every page."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._places: dict[int, int] = {}

    def add(self, number: int, pixels: bytes) -> None:
        """Keep the `FINE` x `FINE` pixels of a picture.

        Raises:
            DataError: the folder for temporary files is full.
        """
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  (gone with this object)
            place = FINE * FINE * len(self._places)
            os.pwrite(self._file.fileno(), pixels, place)
        except OSError as error:
            raise DataError(
                f"{tempfile.gettempdir()} could not be written ({error}): it takes 4 kB for every pale picture. "
                "Free some space, or name another folder by TMPDIR."
            ) from error
        self._places[number] = place

    def get(self, number: int) -> Array | None:
        """Of a picture; None where it is not pale."""
        place = self._places.get(number)
        if place is None or self._file is None:
            return None
        return np.frombuffer(os.pread(self._file.fileno(), FINE * FINE, place), dtype=np.uint8).astype(np.int16)


class Looks:
    """Looks of pictures by content, each opened once.

    Args:
        roots: Where the pictures lie.
    """

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._places: dict[str, int | None] = {}
        self._hashes: list[str] = []
        self._prints: list[int] = []
        self._thumbs = bytearray()
        self._fines = Fines()

    def add(self, image: Image) -> int | None:
        """Take a picture in; its number, or None where it has no look (not hashed, or gone since it was read)."""
        key = image.sha256
        if key in self._places:
            return self._places[key]
        self._places[key] = None
        if key.startswith("uri:"):
            return None
        try:
            seen = self._roots.appearance(image)
        except ImageError:  # the stage has found it whole a moment ago; decode will say what became of it
            return None
        self._places[key] = number = len(self._hashes)
        self._hashes.append(key)
        self._prints.append(seen.fingerprint)
        self._thumbs += seen.thumb
        if seen.fine:
            self._fines.add(number, seen.fine)
        return number

    def within(self, numbers: Sequence[int]) -> Within:
        """Some numbered pictures, to find one by its look."""
        arrays = self._arrays()
        chosen = np.asarray(numbers, dtype=np.int64)
        return Within(list(numbers), arrays.thumbs[chosen], arrays.prints[chosen], self._fines)

    def look_of(self, number: int) -> OneLook:
        """The look of one numbered picture."""
        size = THUMB * THUMB * 3
        thumb = np.frombuffer(bytes(self._thumbs[number * size : (number + 1) * size]), dtype=np.uint8)
        return OneLook(thumb, self._prints[number], self._fines.get(number))

    def clusters(self) -> dict[str, str]:
        """For every picture that looks like another: the smallest hash of all that it is connected to."""
        thumbs, prints, fines = self._arrays()
        joined = _Joined(len(self._hashes))
        leaders: list[int] = []
        for members in _equal(prints):
            leaders += _lead(members, thumbs, fines, joined)
        for one, two in _candidates(np.asarray(leaders, dtype=np.int64), prints):
            same = _same(thumbs, fines, one, two)
            for first, second in zip(one[same], two[same], strict=True):
                joined.join(int(first), int(second))
        groups: dict[int, list[int]] = defaultdict(list)
        for number in range(len(self._hashes)):
            groups[joined.root(number)].append(number)
        found: dict[str, str] = {}
        for numbers in groups.values():
            if len(numbers) > 1:
                smallest = min(self._hashes[number] for number in numbers)
                found |= {self._hashes[number]: smallest for number in numbers}
        return found

    def _arrays(self) -> _Arrays:
        # a view: it must be gone before the next picture is added
        thumbs = np.frombuffer(self._thumbs, dtype=np.uint8).reshape(-1, THUMB * THUMB * 3)
        return _Arrays(thumbs, np.array(self._prints, dtype=np.uint64), self._fines)


class _Arrays(NamedTuple):
    """Thumbnails, shape (pictures, pixels), difference hashes, shape (pictures,), and finer thumbnails by number."""

    thumbs: Array
    prints: Array
    fines: Fines


class OneLook(NamedTuple):
    """Thumbnail, difference hash and, of a pale picture, finer thumbnail."""

    thumb: Array
    fingerprint: int
    fine: Array | None


class Within(NamedTuple):
    """Numbered pictures with their thumbnails and hashes, in the same order."""

    numbers: list[int]
    thumbs: Array
    prints: Array
    fines: Fines

    def alike(self, one: OneLook) -> int | None:
        """The number of the first picture that looks like a given one, or None."""
        for place in np.flatnonzero(_bits(self.prints ^ np.uint64(one.fingerprint)) <= BITS):
            number = self.numbers[int(place)]
            apart = np.abs(self.thumbs[place].astype(np.int16) - one.thumb)
            if apart.max() <= PIXEL and apart.mean() <= MEAN and _finely(one.fine, self.fines.get(number)):
                return number
        return None


class _Joined:
    """Which numbers are connected (union-find)."""

    def __init__(self, size: int) -> None:
        self._above = list(range(size))

    def root(self, number: int) -> int:
        while self._above[number] != number:
            self._above[number] = self._above[self._above[number]]
            number = self._above[number]
        return number

    def join(self, one: int, two: int) -> None:
        self._above[max(self.root(one), self.root(two))] = min(self.root(one), self.root(two))


def _bits(values: Array) -> Array:
    """Bits that are set in each 64-bit number."""
    return _ONES[np.ascontiguousarray(values).view(np.uint8)].reshape(-1, 8).sum(axis=1)


def _finely(one: Array | None, two: Array | None) -> bool:
    """Whether two pale pictures look the same; others have no finer thumbnail and are taken for it."""
    if one is None or two is None:
        return True
    bound = max(float(FINE_LEAST), FINE_PART * max(np.ptp(one), np.ptp(two)))
    return bool(np.abs(one - two).max() <= bound)


def _same(thumbs: Array, fines: Fines, one: Array, two: Array) -> Array:
    """Which pairs of numbers look the same, as truth values."""
    found = np.zeros(len(one), dtype=bool)
    step = max(1, _AT_ONCE // thumbs.shape[1])
    for start in range(0, len(one), step):
        here = slice(start, start + step)
        apart = np.abs(thumbs[one[here]].astype(np.int16) - thumbs[two[here]])
        found[here] = (apart.max(axis=1) <= PIXEL) & (apart.mean(axis=1) <= MEAN)
    for place in np.flatnonzero(found):
        found[place] = _finely(fines.get(int(one[place])), fines.get(int(two[place])))
    return found


def _equal(prints: Array) -> Iterator[Array]:
    """Numbers of pictures with equal hashes, together."""
    if not len(prints):
        return
    order = np.argsort(prints, kind="stable")
    cuts = np.flatnonzero(np.diff(prints[order])) + 1
    yield from np.split(order, cuts)


def _lead(members: Array, thumbs: Array, fines: Fines, joined: _Joined) -> list[int]:
    """Join what looks the same among pictures of one hash; the first of each kind."""
    leaders: list[int] = []
    left = members
    while len(left) and len(leaders) < LEADERS:
        first = int(left[0])
        leaders.append(first)
        same = _same(thumbs, fines, np.full(len(left), first), left)
        for number in left[same]:
            joined.join(first, int(number))
        left = left[~same]
    return leaders


def _candidates(numbers: Array, prints: Array) -> Iterator[tuple[Array, Array]]:
    """Pairs of numbers whose hashes differ in at most `BITS` bits, some of them several times.

    Of more than `CROWD` pictures that agree in a whole band, each is compared with that many only.
    """
    hashes = prints[numbers]
    everybody = np.arange(len(hashes))
    for part in _bands(hashes):
        order = np.argsort(part, kind="stable")
        ordered = part[order]
        after = everybody + 1
        ends = np.searchsorted(ordered, ordered, side="right")
        yield from _near_pairs(numbers, hashes, order, order, after, np.minimum(ends - after, CROWD))
        for flip in (1 << bit for bit in range(_WIDTH)):
            wanted = part ^ np.uint16(flip)
            first = np.searchsorted(ordered, wanted, side="left")
            count = np.searchsorted(ordered, wanted, side="right") - first
            count[(part > wanted) | (count > CROWD)] = 0  # the other of the two finds it
            yield from _near_pairs(numbers, hashes, everybody, order, first, count)


def _bands(hashes: Array) -> Iterator[Array]:
    """Four bands of 16 bits each; every fourth bit, because whole rows of a picture may be flat."""
    bits = np.unpackbits(np.ascontiguousarray(hashes).view(np.uint8).reshape(-1, 8), axis=1)
    for band in range(_BANDS):
        yield np.packbits(bits[:, band::_BANDS], axis=1).view(np.uint16).ravel()


def _near_pairs(
    numbers: Array, hashes: Array, own: Array, order: Array, first: Array, count: Array
) -> Iterator[tuple[Array, Array]]:
    """Of ranges of candidates the pairs that are near, a million candidates at a time."""
    ends = np.cumsum(count)
    start = 0
    while start < len(count):
        stop = max(start + 1, int(np.searchsorted(ends, (ends[start - 1] if start else 0) + _AT_ONCE, side="right")))
        some = count[start:stop]
        one = own[np.repeat(np.arange(start, stop), some)]
        offsets = np.arange(int(some.sum())) - np.repeat(np.cumsum(some) - some, some)
        two = order[np.repeat(first[start:stop], some) + offsets]
        keep = _bits(hashes[one] ^ hashes[two]) <= BITS
        if keep.any():
            yield numbers[one[keep]], numbers[two[keep]]
        start = stop
