"""Sources put together: how many of each, and one side of the split for what looks alike."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from vlfeedback import tables
from vlfeedback.errors import ConfigError
from vlfeedback.ids import hash_id
from vlfeedback.images import RUN_ROOT, side
from vlfeedback.records import Dropped, Image, Instruction, Reason
from vlfeedback.source._leaks import plain
from vlfeedback.source._near import Looks
from vlfeedback.source._templates import CATEGORY

if TYPE_CHECKING:
    from vlfeedback.source import Reading

Near = Literal["split", "drop", "off"]


def quotas(
    samples: Sequence[int | None], weights: Sequence[float | None], total: int | None, names: Sequence[str]
) -> list[int | None]:
    """How many instructions each source gives.

    Because a smaller sample is part of a larger one, another source takes instructions from the others but gives them
    no new ones.

    Args:
        samples: Counts, None where none is given.
        weights: Weights, > 0; sources with a weight share what `total` leaves, by largest remainder.
        total: Of all sources.
        names: Of the sources, for messages.
    Raises:
        ConfigError: a source has both or, where there is a total, neither; a weight without a total; counts beyond it.
    """
    for name, sample, weight in zip(names, samples, weights, strict=True):
        if sample is not None and weight is not None:
            raise ConfigError(f"source {name!r} has a sample and a weight: leave one of them out")
        if weight is not None and total is None:
            raise ConfigError(f"source {name!r} has weight = {weight:g}, but [mix] has no total to take a part of")
        if sample is None and weight is None and total is not None:
            raise ConfigError(f"[mix] total = {total}, but source {name!r} has neither `sample` nor `weight`")
    if total is None:
        return list(samples)
    left = total - sum(sample for sample in samples if sample is not None)
    given = sum(weight for weight in weights if weight is not None)
    if left < 0 or (not given and left):
        raise ConfigError(f"[mix] total = {total}, but the samples sum to {total - left}")
    exact = [left * weight / given if weight is not None else 0.0 for weight in weights]
    found = [int(part) for part in exact]
    short = left - sum(found) if given else 0
    # by name where two remainders are equal, so that the order of the file does not matter
    order = sorted(range(len(exact)), key=lambda index: (found[index] - exact[index], names[index], index))
    for index in [index for index in order if weights[index] is not None][:short]:
        found[index] += 1
    for name, count, weight in zip(names, found, weights, strict=True):
        if weight is not None and not count:
            raise ConfigError(f"source {name!r} gets none of [mix] total = {total}: raise its weight or the total")
    return [sample if weight is None else count for sample, weight, count in zip(samples, weights, found, strict=True)]


def sided(
    sources: Sequence[Reading],
    looks: Looks,
    spill: Path,
    *,
    eval_share: float,
    near: Near = "split",
    tell: Callable[[str], None] | None = None,
) -> Iterator[Instruction | Dropped]:
    """Put what looks alike on one side: a cluster takes the side of its smallest hash (law 6).

    What is dropped for that is replaced where a sample is filled, by the next records of the same source.

    Args:
        sources: Read to their end before the first instruction is handed on.
        looks: Of their pictures; those that are missing are added.
        spill: How the files begin that keep the instructions meanwhile; they are removed at the end.
        eval_share: Expected share of pictures on the eval side, 0 to 1.
        near: `drop` also drops an instruction that asks the same as one before of pictures that look the same; where
            an order is drawn into them, of the same files.
        tell: Is told what was found, and of every source what became of its records.
    """
    judge = _Judge(sources, _Held(spill, looks), looks, eval_share, near)
    try:
        for owner, source in enumerate(sources):
            yield from judge.held.take(owner, source.begin())
        yield from judge.filled()
        for owner, record, fate in judge.fates():
            if fate is not None:
                sources[owner].lose(record, fate.reason)
            yield record if fate is None else fate
        for source in sources:
            yield from source.rest()
    finally:
        judge.held.discard()
    if tell is not None:
        for source in sources:
            source.tell(tell)
        judge.tell(tell)


class _Held:
    """Instructions that wait in files until all pictures are known, and whose they are."""

    def __init__(self, spill: Path, looks: Looks) -> None:
        self._spill, self._looks = spill, looks
        self._files: list[tuple[int, Path]] = []
        self._texts: dict[str, str] = {}

    def take(self, owner: int, results: Iterable[Instruction | Dropped]) -> Iterator[Dropped]:
        """Keep the instructions of one source; what is dropped is handed on."""
        path = self._spill.with_name(f"{self._spill.name}.{len(self._files)}.parquet")
        writer = tables.Writer(path, Instruction, room="source")
        try:
            for record in results:
                if isinstance(record, Dropped):
                    yield record
                else:
                    writer.add(record)
                    self._look(record)
            writer.close()
            self._files.append((owner, path))
        finally:
            writer.discard()

    def _look(self, record: Instruction) -> None:
        for image in record.images:
            self._looks.add(image)
        if not record.images:
            key, own = _text_key(record), hashlib.sha256(record.prompt.encode()).hexdigest()
            self._texts[key] = min(self._texts.get(key, own), own)

    def records(self) -> Iterator[tuple[int, Instruction]]:
        """All of them with the number of their source, in the order in which they were taken."""
        for owner, path in self._files:
            for record in tables.read(path, Instruction):
                yield owner, record

    def text_hash(self, record: Instruction) -> str:
        """The smallest hash of all prompts that ask the same, for one without pictures."""
        return self._texts[_text_key(record)]

    def discard(self) -> None:
        """Remove the files, also those that a run has left which was killed."""
        for path in self._spill.parent.glob(f"{self._spill.name}.*.parquet"):
            path.unlink(missing_ok=True)


class _Fate(NamedTuple):
    """What becomes of an instruction: it is kept, on its side, or dropped."""

    owner: int
    record: Instruction
    dropped: Dropped | None


class _Judge:
    """Decides what is kept of the instructions that are held; with every further picture it decides anew."""

    def __init__(self, sources: Sequence[Reading], held: _Held, looks: Looks, eval_share: float, near: Near) -> None:
        self.held = held
        self._sources, self._looks, self._eval_share, self._near = sources, looks, eval_share, near
        self._clusters: dict[str, str] = {}
        self._begin()

    def _begin(self) -> None:
        self._first: dict[str, str] = {}
        self._alike: set[str] = set()
        self._groups: set[str] = set()
        self._again = 0
        self._kept = Counter[int]()

    def filled(self) -> Iterator[Dropped]:
        """Take further records until every sample is full or has no more.

        A round asks for twice what the one before has shown to be lacking: in a source that repeats itself the number
        of rounds, each of which reads its file, is that of the doublings. What is too much is `not_sampled`.
        """
        ahead = 1
        while True:
            self._clusters = self._looks.clusters()
            lacking = self._lacking()
            if not lacking:
                return
            for owner, count in lacking.items():
                yield from self.held.take(owner, self._sources[owner].more(ahead * count))
            ahead *= 2

    def _lacking(self) -> dict[int, int]:
        """How many are lacking of which sources that have more."""
        open_ones = {owner: one.quota for owner, one in enumerate(self._sources) if one.quota is not None and one.left}
        if open_ones:
            for _ in self.fates():
                pass
        counts = {owner: quota - self._kept[owner] for owner, quota in open_ones.items()}
        return {owner: count for owner, count in counts.items() if count > 0}

    def fates(self) -> Iterator[_Fate]:
        """What becomes of every instruction that is held, in the order in which they were taken."""
        self._begin()
        for owner, record in self.held.records():
            fate = self._fate(owner, record)
            self._kept[owner] += fate.dropped is None
            yield fate

    def _fate(self, owner: int, record: Instruction) -> _Fate:
        def dropped(reason: Reason, detail: str) -> _Fate:
            return _Fate(owner, record, Dropped("source", record.id, reason, detail))

        quota = self._sources[owner].quota
        if quota is not None and self._kept[owner] >= quota:
            return dropped("not_sampled", "")
        images = self._as_one(record.images)
        shown = [
            after if _looks_say(record, before) else before for before, after in zip(record.images, images, strict=True)
        ]
        question = hash_id("asks", plain(record.prompt), [one.sha256 for one in shown])
        if question in self._first:
            self._again += 1
            if self._near == "drop":
                return dropped("duplicate", f"asks the same of pictures that look the same as {self._first[question]}")
        self._first.setdefault(question, record.id)
        # a text's hash decides as a picture's does
        keys = images or (Image(self.held.text_hash(record), "text:", 0, 0),)
        split = side(record.prompt, keys, self._eval_share)
        if split is None:
            detail = "its pictures, or what looks like them, lie on different sides of the split"
            return dropped("split_conflict", detail)
        return _Fate(owner, record if record.split == split else replace(record, split=split), None)

    def _as_one(self, images: tuple[Image, ...]) -> tuple[Image, ...]:
        """Pictures with the smallest hash of their cluster instead of their own."""
        clusters = self._clusters
        found = tuple(replace(one, sha256=clusters.get(one.sha256, one.sha256)) for one in images)
        for before, after in zip(images, found, strict=True):
            if before.sha256 in clusters:
                self._alike.add(before.sha256)
                self._groups.add(after.sha256)
        return found

    def tell(self, tell: Callable[[str], None]) -> None:
        """Say how much looks alike, if any."""
        if not self._groups and not self._again:
            return
        kept = "dropped" if self._near == "drop" else 'kept; [mix] near = "drop" drops them'
        tell(
            f"{len(self._alike):,} pictures look like others ({len(self._groups):,} groups, each on one side of the "
            f"split); {self._again:,} instructions ask the same of what looks the same ({kept})"
        )


def _looks_say(record: Instruction, image: Image) -> bool:
    """Whether a likeness is one of what is asked: an order drawn into a photo is the question, and too small to see."""
    return not (record.category.startswith(CATEGORY) and image.uri.startswith(f"{RUN_ROOT}:"))


def _text_key(record: Instruction) -> str:
    return hash_id("text", plain(record.prompt))
