"""Sources put together: how many of each, and one side of the split for what looks alike."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from vlfeedback import tables
from vlfeedback.errors import ConfigError
from vlfeedback.ids import hash_id
from vlfeedback.images import RUN_ROOT, side
from vlfeedback.records import Dropped, Image, Instruction
from vlfeedback.source._leaks import plain
from vlfeedback.source._near import Looks
from vlfeedback.source._templates import CATEGORY

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
    stream: Iterable[Instruction | Dropped],
    looks: Looks,
    spill: Path,
    *,
    eval_share: float,
    near: Near = "split",
    tell: Callable[[str], None] | None = None,
) -> Iterator[Instruction | Dropped]:
    """Put what looks alike on one side: a cluster takes the side of its smallest hash (law 6).

    Args:
        stream: Instructions on any side; read to its end before the first is handed on.
        looks: Of their pictures; those that are missing are added.
        spill: A file to keep the instructions in meanwhile; removed at the end.
        eval_share: Expected share of pictures on the eval side, 0 to 1.
        near: `drop` also drops an instruction that asks the same as one before of pictures that look the same; where
            an order is drawn into them, of the same files.
        tell: Is told what was found.
    """
    texts: dict[str, str] = {}
    writer = tables.Writer(spill, Instruction, room="source")
    try:
        for record in stream:
            if isinstance(record, Dropped):
                yield record
                continue
            writer.add(record)
            for image in record.images:
                looks.add(image)
            if not record.images:
                key, own = _text_key(record), hashlib.sha256(record.prompt.encode()).hexdigest()
                texts[key] = min(texts.get(key, own), own)
        writer.close()
        yield from _placed(tables.read(spill, Instruction), looks, texts, eval_share, near, tell)
    finally:
        writer.discard()
        spill.unlink(missing_ok=True)


def _placed(
    records: Iterable[Instruction],
    looks: Looks,
    texts: dict[str, str],
    eval_share: float,
    near: Near,
    tell: Callable[[str], None] | None,
) -> Iterator[Instruction | Dropped]:
    clusters = looks.clusters()
    first: dict[str, str] = {}
    found = Counter[str]()
    alike: set[str] = set()
    groups: set[str] = set()
    for record in records:
        images = tuple(replace(one, sha256=clusters.get(one.sha256, one.sha256)) for one in record.images)
        for before, after in zip(record.images, images, strict=True):
            if before.sha256 in clusters:
                alike.add(before.sha256)
                groups.add(after.sha256)
        shown = [
            after if _looks_say(record, before) else before for before, after in zip(record.images, images, strict=True)
        ]
        question = hash_id("asks", plain(record.prompt), [one.sha256 for one in shown])
        if question in first:
            found["again"] += 1
            if near == "drop":
                detail = f"asks the same of pictures that look the same as {first[question]}"
                yield Dropped("source", record.id, "duplicate", detail)
                continue
        first.setdefault(question, record.id)
        keys = images or (Image(texts[_text_key(record)], "text:", 0, 0),)  # a text's hash decides as a picture's does
        split = side(record.prompt, keys, eval_share)
        if split is None:
            detail = "its pictures, or what looks like them, lie on different sides of the split"
            yield Dropped("source", record.id, "split_conflict", detail)
        else:
            yield record if record.split == split else replace(record, split=split)
    if tell is not None and (groups or found["again"]):
        kept = "dropped" if near == "drop" else 'kept; [mix] near = "drop" drops them'
        tell(
            f"{len(alike):,} pictures look like others ({len(groups):,} groups, each on one side of the split); "
            f"{found['again']:,} instructions ask the same of what looks the same ({kept})"
        )


def _looks_say(record: Instruction, image: Image) -> bool:
    """Whether a likeness is one of what is asked: an order drawn into a photo is the question, and too small to see."""
    return not (record.category.startswith(CATEGORY) and image.uri.startswith(f"{RUN_ROOT}:"))


def _text_key(record: Instruction) -> str:
    return hash_id("text", plain(record.prompt))
