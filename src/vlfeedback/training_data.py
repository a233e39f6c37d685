"""What a training reads: the groups of one or several run folders, joined by id and filtered."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from vlfeedback import groups
from vlfeedback.config import PairTable
from vlfeedback.errors import ConfigError, ImageError
from vlfeedback.ids import hash_id
from vlfeedback.images import Roots
from vlfeedback.pipeline import paired
from vlfeedback.records import Dropped, Group, Image, PreferencePair
from vlfeedback.run_folder import RunFolder

FIELDS = ("source", "category", "conduct", "prompt", "split", "pictures", "responses", "pairs", "run")
"""What `where` can ask of a group; `run` is the name of a folder it comes from."""

COUNTED = frozenset({"pictures", "responses", "pairs"})
"""Those of them that are numbers."""

_MADE_OF = ("instructions", "responses", "annotations", "pairs")


class TrainingData(NamedTuple):
    """What is trained on.

    Attributes:
        groups: Of all folders, one per instruction, those that `where` keeps. One that several runs have is asked for
            once as each run's, and has the pairs of those that fit.
        filtered: Pairs of the others, and preferences that another run has as well under another strategy.
        pictures: Where the bytes come from.
    """

    groups: list[Group]
    filtered: list[Dropped]
    pictures: Pictures


class Pictures:
    """Pictures of several runs, each looked up under the roots of the run that speaks of it.

    The same name can lie under other roots in another run: `run:` always does.
    """

    def __init__(self) -> None:
        self._places: dict[Image, list[Roots]] = {}
        self._named: dict[str, tuple[Image, Roots]] = {}

    def add(self, images: Iterable[Image], roots: Roots) -> None:
        """Pictures that a run's records name.

        Raises:
            ConfigError: another run calls another picture so, and neither was hashed: nothing could tell them apart.
        """
        for image in images:
            if image.sha256.startswith("uri:"):
                first = self._named.setdefault(image.sha256, (image, roots))
                if first[1] is not roots and not _same_file(first, (image, roots)):
                    raise ConfigError(
                        f"two runs speak of {image.uri} without having hashed it, and nothing here shows that it is "
                        "one picture: import them with --images, or train on one of them."
                    )
            places = self._places.setdefault(image, [])
            if roots not in places:
                places.append(roots)

    def open(self, image: Image) -> bytes:
        """The bytes of a picture, from the first run that has it.

        Raises:
            ImageError: no run has it; the reason is the first one's.
        """
        problem: ImageError | None = None
        for roots in self._places.get(image, ()):
            try:
                return roots.open(image)
            except ImageError as error:
                problem = problem or error
        raise problem or ImageError("missing_image", f"{image.uri} is a picture of none of the runs")


def _same_file(one: tuple[Image, Roots], other: tuple[Image, Roots]) -> bool:
    """Whether two names stand for the same bytes."""
    try:
        if one[1].path(one[0].uri).samefile(other[1].path(other[0].uri)):
            return True
    except (ImageError, OSError):
        pass  # in an archive, which has no paths, or not there
    try:
        return one[1].open(one[0]) == other[1].open(other[0])
    except ImageError:
        return False


def folders(run: RunFolder) -> list[RunFolder]:
    """The run folders that a run trains on: those of `[train] data`, or itself.

    Raises:
        ConfigError: one is no run folder.
        StaleInput: one has no pairs yet.
    """
    found = [RunFolder.open(Path(place)) for place in run.settings.train.data] or [run]
    for one in found:
        one.need("pairs", "pair")
    return found


def digest(run: RunFolder) -> str:
    """Digest of everything that pairs and groups are made from."""
    if not run.settings.train.data:
        return hash_id("groups", _digests(run))
    return hash_id("groups of runs", [_digests(one) for one in folders(run)])


def _digests(run: RunFolder) -> list[str | None]:
    return [found.digest if (found := run.info(name)) else None for name in _MADE_OF]


def load(run: RunFolder, pairing: PairTable | None = None, *, allow_plugins: bool = False) -> TrainingData:
    """Groups to train on.

    An instruction that several runs have becomes one group with the responses, ratings and pairs of all. A picture that
    any run holds out is held out here too.

    Args:
        run: Whose [train] says which folders and which groups.
        pairing: Pair the annotations of each folder anew by this strategy; None takes the pairs that are there.
        allow_plugins: For the strategy.
    Raises:
        ConfigError: `where` cannot be read or nothing fits it, or a folder has no ratings to pair anew.
    """
    pictures = Pictures()
    joined: dict[str, Group] = {}
    came_from: dict[str, set[str]] = {}  # runs by instruction, and by pair
    for one in folders(run):
        roots = one.roots
        if pairing is not None and one.info("annotations") is None:
            raise ConfigError(f"{one.path} holds pairs and no ratings: they cannot be paired by {pairing.use!r}.")
        found: Iterable[Group] = (
            groups.load(one.path, rationales=False) if pairing is None else paired(one, pairing, allow_plugins)
        )
        for group in found:
            pictures.add(group.instruction.images, roots)
            name = group.instruction.id
            joined[name] = _together(joined[name], group) if name in joined else group
            for known in (name, *(pair.id for pair in group.pairs)):
                came_from.setdefault(known, set()).add(one.path.resolve().name)
    listed = list(_held_out_together(list(joined.values())))
    fitting = _fitting(listed, came_from, run.settings.train.where)
    kept: list[Group] = []
    filtered: list[Dropped] = []
    for group in listed:
        runs = fitting.get(group.instruction.id, set())
        lost = [pair for pair in group.pairs if not came_from[pair.id] & runs]
        filtered += [Dropped("train", pair.id, "filtered", "where") for pair in lost]
        if runs:
            once, again = _once(_without(group, {pair.id for pair in lost}))
            kept.append(once)
            filtered += again
    return TrainingData(kept, filtered, pictures)


def _together(first: Group, second: Group) -> Group:
    """One instruction's group out of two runs'; what both have is taken once, and held out is held out."""
    asked = first.instruction if first.instruction.split == "eval" else second.instruction
    both = replace(first.instruction, split=asked.split)
    responses = {one.id: one for one in (*first.responses, *second.responses)}
    pairs = {one.id: one for one in (*first.pairs, *second.pairs)}
    ratings = dict.fromkeys((*first.ratings, *second.ratings))
    said = {"responses": tuple(responses.values()), "ratings": tuple(ratings), "pairs": tuple(pairs.values())}
    return replace(first, instruction=both, **said)


def _without(group: Group, gone: set[str]) -> Group:
    """The group without the pairs of these ids."""
    return replace(group, pairs=tuple(pair for pair in group.pairs if pair.id not in gone))


def _once(group: Group) -> tuple[Group, list[Dropped]]:
    """The group with every preference once, and the pairs that repeat one."""
    again = list(_repeated(group))
    return _without(group, {one.record_id for one in again}), again


def _repeated(group: Group) -> Iterator[Dropped]:
    """Pairs of a group that prefer the same response to the same one as another, which a second strategy has made.

    The one of the run that is named first is kept, and one that has a margin before one that has none.
    """
    kept: dict[tuple[str, str], PreferencePair] = {}
    for pair in sorted(group.pairs, key=lambda one: one.margin is None):
        first = kept.setdefault((pair.chosen_id, pair.rejected_id), pair)
        if first is not pair:
            yield Dropped("train", pair.id, "duplicate", f"the same preference as {first.id} by {first.strategy}")


def _held_out_together(listed: Sequence[Group]) -> Iterator[Group]:
    """Runs may hold out different shares: what one holds out by its picture, none trains on.

    A group that is held out for one of its pictures holds out the others as well, and what shows them.
    """
    shown = [frozenset(image.sha256 for image in group.instruction.images) for group in listed]
    out = [group.instruction.split == "eval" for group in listed]
    held: set[str] = set()
    while more := set[str]().union(*(pictures for pictures, is_out in zip(shown, out, strict=True) if is_out)) - held:
        held |= more
        out = [is_out or bool(pictures & held) for pictures, is_out in zip(shown, out, strict=True)]
    for group, is_out in zip(listed, out, strict=True):
        yield replace(group, instruction=replace(group.instruction, split="eval")) if is_out else group


def _fitting(listed: Sequence[Group], came_from: Mapping[str, set[str]], where: str) -> dict[str, set[str]]:
    """Instructions that fit, by id, and as whose: those of their runs with which they do.

    Raises:
        ConfigError: the words are no condition, name an unknown field, or fit nothing.
    """
    if not where:
        return {group.instruction.id: came_from[group.instruction.id] for group in listed}
    import polars as pl

    rows = [_row(_once(group)[0], run) for group in listed for run in sorted(came_from[group.instruction.id])]
    types = {name: pl.Int64() if name in COUNTED else pl.String() for name in ("id", *FIELDS)}
    frame = pl.DataFrame(rows, schema=types)
    try:
        found = frame.filter(pl.sql_expr(where)).select("id", "run").rows()
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"[train] where = {where!r}: {reason}. It is a condition as in SQL over {', '.join(FIELDS)}, such as "
            "\"category = 'red_team' AND pairs > 2\"."
        ) from error
    if not found:
        seen = sorted({str(row["category"]) for row in rows})[:10]
        raise ConfigError(f"[train] where = {where!r} fits none of {len(listed):,} groups; categories here: {seen}.")
    fitting: dict[str, set[str]] = {}
    for name, run in found:
        fitting.setdefault(name, set()).add(run)
    return fitting


def _row(group: Group, run: str) -> dict[str, Any]:
    asked = group.instruction
    return {
        "id": asked.id, "source": asked.source, "category": asked.category, "conduct": asked.conduct,
        "prompt": asked.prompt, "split": asked.split, "pictures": len(asked.images),
        "responses": len(group.responses), "pairs": len(group.pairs), "run": run,
    }  # fmt: skip
