"""Room 1: instruction datasets become instructions, one file per format.

A plug-in's `load(path, ...)` returns a reader; the stage does what all formats share: it opens the pictures safely,
tidies and checks prompts, gives ids, drops duplicates across sources, samples, and puts every instruction on its side
of the split. Every record that a reader yields leaves the stage as an instruction or as dropped, with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import NamedTuple

from vlfeedback._images_names import printable, shown
from vlfeedback.errors import ConfigError, DataError, ImageError
from vlfeedback.ids import instruction_id
from vlfeedback.images import Roots, side
from vlfeedback.records import Conduct, Dropped, Image, Instruction, Reason
from vlfeedback.source._opening import opened
from vlfeedback.source._sampling import Sample

__all__ = [
    "Embedded",
    "Example",
    "Found",
    "Named",
    "Picture",
    "Reader",
    "Reading",
    "Source",
    "instructions",
    "readings",
    "without_text",
]


class Named(NamedTuple):
    """A picture as a dataset names it.

    Attributes:
        path: Relative to the root.
        root: Name of an image root; empty means that of the source.
        or_else: Other paths, tried in order while no file is there.
    """

    path: str
    root: str = ""
    or_else: tuple[str, ...] = ()


class Embedded(NamedTuple):
    """A picture whose bytes are inside the dataset; kept in the run folder if its record is."""

    data: bytes
    suffix: str = ""


Picture = Named | Embedded | Image
"""What a reader says of a picture; a ready `Image` was made by the reader itself and is taken as it is."""


@dataclass(frozen=True, slots=True)
class Found:
    """An instruction as it stands in a dataset, before pictures are opened and the prompt is checked.

    Attributes:
        record_id: The dataset's own id, or `line 3`, `row 3`; for people, not unique.
        prompt: Without the markers that the format itself uses for the place of a picture.
        images: In the order of the prompt.
        category: The dataset's own word for its kind, empty if none.
        conduct: What a good model does with it, where known.
        reference: A known good answer, where there is one.
    """

    record_id: str
    prompt: str
    images: tuple[Picture, ...] = ()
    category: str = ""
    conduct: Conduct | None = None
    reference: str | None = None


Reader = Callable[[], Iterator[Found | Dropped]]
"""Reads a dataset from its beginning at every call, always in the same order; a broken record is yielded as dropped."""


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset with its settings.

    Attributes:
        name: Becomes `Instruction.source`.
        root: Name of the image root for paths that the reader gives without one.
        sample: Instructions to keep, ≥ 1; None keeps all.
        where: File or folder, for messages.
        label: What its records are called by where they are dropped; empty for its name.
    """

    name: str
    reader: Reader
    root: str = ""
    sample: int | None = None
    where: str = ""
    label: str = ""


Leak = Callable[[str, tuple[Image, ...]], str | None]
"""What a prompt and its pictures share with a benchmark, in words, or None."""


class Example(NamedTuple):
    """An example of a plug-in: files as they stand in a folder, and what its reader yields for them.

    Attributes:
        files: Content by name; the contract test writes them and calls `load(path=folder / path, **options)`, without
            `path` where `load` takes none, and with `roots` where it does.
        path: Which of them `load` is given; empty for the folder itself.
        found: Expected, in order; of a `Dropped` the detail is not compared.
        options: For `load`.
    """

    files: Mapping[str, str | bytes]
    path: str
    found: tuple[Found | Dropped, ...]
    options: Mapping[str, object] = {}


def instructions(
    sources: Sequence[Source],
    roots: Roots,
    *,
    eval_share: float = 0.0,
    leak: Leak | None = None,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Instruction | Dropped]:
    """Read all sources, in order.

    Per source, read = instructions + dropped. A sample is the records with the smallest content hashes among the usable
    ones, so that another source, another order or more records never reshuffle it.

    Args:
        sources: Several files of one dataset may share a name.
        roots: Where their pictures lie.
        eval_share: Expected share of pictures on the eval side, 0 to 1 (law 6).
        leak: Says in words what an instruction shares with a benchmark; it is dropped as `held_out` then.
        tell: Is told of a source that drops records, or has fewer usable ones than its sample.
    Raises:
        ConfigError: a setting is out of range, or an image root is missing.
        DataError: a file cannot be read, or nothing in a source can be used.
    """
    for reading in readings(sources, roots, eval_share=eval_share, leak=leak):
        yield from reading.begin()
        yield from reading.rest()
        if tell is not None:
            reading.tell(tell)


def readings(
    sources: Sequence[Source], roots: Roots, *, eval_share: float = 0.0, leak: Leak | None = None
) -> list[Reading]:
    """The sources to be read one after the other, for whoever drops more of them later and wants others instead.

    Args and what is raised: as of `instructions`; files are opened by `begin` of each.
    """
    if not 0 <= eval_share <= 1:
        raise ConfigError(f"eval_share = {eval_share}: a share lies between 0 and 1")
    for source in sources:
        if source.sample is not None and source.sample < 1:
            raise ConfigError(f"source {source.name!r}: sample = {source.sample}, but at least 1 is needed")
    rules = _Rules(eval_share, {}, leak)
    return [Reading(source, roots, rules) for source in _told_apart(sources)]


def _told_apart(sources: Sequence[Source]) -> list[Source]:
    """Sources of one name, which are files of one dataset, with labels that say which."""
    names = Counter(source.name for source in sources)
    files = Counter((source.name, PurePath(source.where).name) for source in sources)

    def label(source: Source) -> str:
        if names[source.name] == 1 or not source.where:
            return source.label
        file = PurePath(source.where).name
        return f"{source.name}/{file if files[source.name, file] == 1 else source.where}"

    return [replace(source, label=label(source)) for source in sources]


class _Rules(NamedTuple):
    """What holds for all sources: the split, what was seen before, what must not be seen."""

    eval_share: float
    first_seen: dict[str, str]
    leak: Leak | None


class Reading:
    """One source on its way: what of it is kept and dropped so far. Call `begin` once, then `more`, at last `rest`.

    Attributes:
        kept: Instructions that it has given, without those that were lost again.
    """

    def __init__(self, source: Source, roots: Roots, rules: _Rules) -> None:
        self.kept = 0
        self._source, self._roots, self._rules = source, roots, rules
        self._pictured = 0
        self._reasons: Counter[str] = Counter()
        self._example = ""
        wanted, where = source.sample, source.where or source.name
        self._sample = None if wanted is None else Sample(source.reader, self._resolve, where)

    @property
    def quota(self) -> int | None:
        """Instructions that are wanted of it; None for all."""
        return self._source.sample

    @property
    def left(self) -> bool:
        """Whether there are records that nobody has looked at."""
        return self._sample is not None and self._sample.left

    def begin(self) -> Iterator[Instruction | Dropped]:
        """All of a source without a sample; else the first that fill it.

        Raises:
            DataError: a file cannot be read, or nothing can be used.
        """
        if self._sample is None:
            yield from self._counted(self._resolve(self._source.reader()))
        else:
            yield from self._counted(self._sample.begin())
            yield from self.more(self._source.sample or 0)
        if not self.kept:
            raise self._useless()

    def more(self, count: int) -> Iterator[Instruction | Dropped]:
        """Further instructions of a sample, by their rank; fewer than `count` where there are no more."""
        if self._sample is not None:
            yield from self._counted(self._sample.more(count))

    def rest(self) -> Iterator[Dropped]:
        """The records that the sample has no room for."""
        for one in self._counted(self._sample.rest() if self._sample is not None else ()):
            if isinstance(one, Dropped):
                yield one

    def lose(self, one: Instruction, reason: Reason) -> None:
        """Count an instruction that was dropped after it had been given."""
        self.kept -= 1
        self._pictured -= bool(one.images)
        self._reasons[reason] += 1

    def tell(self, tell: Callable[[str], None]) -> None:
        """Say what became of the records, when nothing of it changes any more."""
        source, kept, wanted, root = self._source, self.kept, self._source.sample, self._source.root
        name = source.label or source.name
        if wanted is not None and 0 < kept < wanted:
            tell(f"source {name}: {kept:,} usable records of the {wanted:,} that were asked for")
        if kept and root and not self._pictured:
            tell(
                f"source {name}: 0 of {kept:,} instructions have a picture, although `images = {root!r}` is "
                "given: see which field holds them, and which one the format reads"
            )
        if kept and self._reasons:
            gone = self._reasons.total()
            tell(f"source {name}: {kept + gone:,} read = {kept:,} kept + {gone:,} dropped ({self._by_reason()})")

    def _resolve(self, records: Iterable[Found | Dropped]) -> Iterator[Instruction | Dropped]:
        return _resolved(records, self._source, self._roots, self._rules)

    def _counted(self, results: Iterable[Instruction | Dropped]) -> Iterator[Instruction | Dropped]:
        for result in results:
            if isinstance(result, Dropped):
                self._reasons[result.reason] += 1
                self._example = self._example or printable(_as_unicode(result.detail))
                name = _name(self._source, result.record_id)
                yield Dropped(result.room, name, result.reason, _as_unicode(result.detail))
            else:
                self.kept += 1
                self._pictured += bool(result.images)
                yield result

    def _by_reason(self) -> str:
        return ", ".join(f"{number:,} {reason}" for reason, number in self._reasons.most_common())

    def _useless(self) -> DataError:
        source = self._source
        where = f"{source.name} ({source.where})" if source.where else source.name
        if not self._reasons:
            return DataError(f"source {where} has no records: check the path and the format named in `use`")
        total = self._reasons.total()
        return DataError(
            f"source {where}: none of its {total:,} records can be used ({self._by_reason()}). {self._example}"
        )


def _resolved(
    records: Iterable[Found | Dropped], source: Source, roots: Roots, rules: _Rules
) -> Iterator[Instruction | Dropped]:
    """What becomes of every record, in their order."""

    def open_one(picture: Named | Embedded) -> Image:
        return _picture(picture, source, roots)

    def known(picture: Named | Embedded) -> Image | None:
        return roots.found(picture.root or source.root, picture.path) if isinstance(picture, Named) else None

    asked = (without_text(one) or one if isinstance(one, Found) else one for one in records)
    for one in opened(asked, open_one, known):
        if isinstance(one, Dropped):
            yield one
        elif isinstance(one.images, ImageError):
            yield _dropped(one.found, one.images.reason, one.images.detail)
        elif isinstance(one.images, Exception):
            raise one.images
        else:
            yield _resolve(one.found, one.images, source, rules)


def without_text(found: Found) -> Dropped | None:
    """A record that is dropped for its text, before a picture is opened."""
    prompt = found.prompt.strip()
    if not any(letter.isprintable() and not letter.isspace() for letter in prompt):
        return _dropped(found, "empty_prompt")
    for text in (prompt, found.category, found.reference or ""):
        if not _is_unicode(text):
            return _dropped(found, "bad_record", "its text holds half of a surrogate pair and is no valid Unicode")
    return None


def _resolve(found: Found, images: tuple[Image, ...], source: Source, rules: _Rules) -> Instruction | Dropped:
    prompt = found.prompt.strip()
    key = instruction_id(prompt, images)
    if key in rules.first_seen:
        return _dropped(found, "duplicate", f"same prompt and pictures as {rules.first_seen[key]}")
    split = side(prompt, images, rules.eval_share)
    if split is None:
        return _dropped(found, "split_conflict", "its pictures lie on different sides of the split")
    leaked = rules.leak(prompt, images) if rules.leak is not None else None
    if leaked is not None:
        return _dropped(found, "held_out", leaked)
    rules.first_seen[key] = _name(source, found.record_id)
    return Instruction(
        id=key,
        prompt=prompt,
        images=images,
        source=source.name,
        category=found.category,
        conduct=found.conduct,
        split=split,
        reference=found.reference,
    )


def _picture(picture: Named | Embedded, source: Source, roots: Roots) -> Image:
    if isinstance(picture, Embedded):
        return roots.add(picture.data, picture.suffix)
    root = picture.root or source.root
    if not root:
        raise ConfigError(
            f"source {source.name!r} names pictures such as {shown(picture.path)}, but no root to find them in: "
            'add `images = "NAME"` to it and NAME = "/path/to/folder" under [images]'
        )
    paths = (picture.path, *picture.or_else)
    for path in paths:
        try:
            return roots.find(root, path)
        except ImageError as error:
            if error.reason != "missing_image" or len(paths) == 1:
                raise
    raise ImageError("missing_image", f"no file {' or '.join(map(shown, paths))} in root {root!r}")


def _name(source: Source, record_id: str) -> str:
    return _as_unicode(f"{source.label or source.name}/{record_id}")


def _is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: JSON may hold one half of a surrogate pair, a table cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_unicode(text: str) -> str:
    return text if _is_unicode(text) else text.encode("utf-8", "backslashreplace").decode()


def _dropped(found: Found, reason: Reason, detail: str = "") -> Dropped:
    return Dropped("source", found.record_id, reason, detail)
