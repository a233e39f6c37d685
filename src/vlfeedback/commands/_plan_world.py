"""What a plan can know of the instructions: how many, how long, and the true sizes of their pictures."""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vlfeedback import registry, tables
from vlfeedback.config import PluginTable, Settings, SourceTable
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.images import Roots, Size, glance
from vlfeedback.records import Image, Instruction
from vlfeedback.source import Embedded, Found
from vlfeedback.source._mix import quotas
from vlfeedback.source._sampling import rank

SURVEYED = 2000
"""Instructions of a source whose pictures are looked at before there is a table of them all."""


INJECTED = frozenset({"roots"})
"""Parameters of plug-ins that are no options."""


def check_options(table: PluginTable, known: tuple[str, ...], where: str) -> None:
    """Refuse options that a plug-in does not have.

    Raises:
        ConfigError: names the closest.
    """
    for key in table.options:
        if key not in known:
            words = registry.closest(key, (*known, *table.own))
            raise ConfigError(f"{where}: {table.use!r} has no option {key!r}; {words}")


class Seen(NamedTuple):
    """What is known of one instruction: letters of its prompt, and the sizes of its pictures in pixels."""

    letters: int
    sizes: tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class World:
    """The instructions of a run.

    Attributes:
        count: How many, or None where a source neither says nor can be counted.
        sources: The same by source.
        seen: Instructions by source, all of them or an even sample; empty where none could be looked at.
        complete: `seen` holds all of them.
    """

    count: int | None
    sources: Mapping[str, int | None]
    seen: Mapping[str, list[Seen]] = field(default_factory=dict[str, list[Seen]])
    complete: bool = False

    @property
    def looked(self) -> int:
        """How many instructions were looked at."""
        return sum(map(len, self.seen.values()))

    def mean(self, what: Callable[[Seen], float]) -> float:
        """Mean over all instructions; each source weighs as much as it has instructions."""
        parts = [(self.sources[name] or 0, [what(one) for one in rows]) for name, rows in self.seen.items() if rows]
        weight = sum(count for count, _ in parts)
        return sum(count * sum(values) / len(values) for count, values in parts) / weight if weight else 0.0


def of_table(path: Path) -> World:
    """The instructions of a run folder, all of them."""
    seen: dict[str, list[Seen]] = {}
    for one in tables.read(path, Instruction):
        sizes = tuple(Size(image.width, image.height) for image in one.images)
        seen.setdefault(one.source, []).append(Seen(len(one.prompt), sizes))
    counts = {name: len(rows) for name, rows in seen.items()}
    return World(sum(counts.values()), counts, seen, complete=True)


def of_sources(settings: Settings) -> World:
    """The instructions that the sources would give, as far as their files are here; only headers of pictures are read.

    Raises:
        ConfigError, PluginError: a source is not as its plug-in wants it.
    """
    roots = Roots({name: Path(place) for name, place in settings.images.items()})
    counts: dict[str, int | None] = {}
    seen: dict[str, list[Seen]] = {}
    listed = settings.source
    names = [table.name or table.use for table in listed]
    samples = quotas([table.sample for table in listed], [table.weight for table in listed], settings.mix.total, names)
    for number, (table, sample) in enumerate(zip(listed, samples, strict=True), 1):
        name = table.name or table.use
        while name in counts:  # two files of one dataset
            name += "'"
        counts[name], seen[name] = _source(table, sample, f"[[source]] {number}", roots)
    known = [count for count in counts.values() if count is not None]
    total = sum(known) if known and len(known) == len(counts) else None
    complete = all(len(rows) == counts[name] for name, rows in seen.items()) and total is not None
    if any(not rows for rows in seen.values()):  # a plan from half of the sources would look surer than it is
        seen = {}
    return World(total, counts, seen, complete and bool(seen))


def _source(table: SourceTable, sample: int | None, where: str, roots: Roots) -> tuple[int | None, list[Seen]]:
    plugin = registry.find("source", table.use)
    check_options(table, registry.options(plugin.load, besides=INJECTED), where)
    path = table.options.get("path")
    if not isinstance(path, str) or not Path(path).exists():
        return sample, []
    reader = registry.bind(plugin, table.options, where, inject={"roots": roots})
    count = 0

    def usable() -> Iterator[tuple[int, int, Found]]:
        nonlocal count
        for item in reader():
            if isinstance(item, Found):
                count += 1
                yield rank(item), count, item

    # those with the smallest ranks are the ones that a sample takes
    first = heapq.nsmallest(min(sample or SURVEYED, SURVEYED), usable())
    seen = [one for one in (_look(found, table.images, roots) for _, _, found in first) if one is not None]
    return min(count, sample or count), seen


def _look(found: Found, root: str, roots: Roots) -> Seen | None:
    sizes: list[Size] = []
    for picture in found.images:
        try:
            if isinstance(picture, Image):
                sizes.append(Size(picture.width, picture.height))
            elif isinstance(picture, Embedded):
                sizes.append(glance(io.BytesIO(picture.data), "a picture"))
            else:
                names = (picture.path, *picture.or_else)
                sizes.append(_first(picture.root or root, names, roots))
        except DataError:  # the source will drop it, with the reason
            return None
    return Seen(len(found.prompt.strip()), tuple(sizes))


def _first(root: str, names: tuple[str, ...], roots: Roots) -> Size:
    problem: DataError | None = None
    for name in names:
        try:
            return roots.glance(root, name)
        except DataError as error:
            problem = problem or error
    assert problem is not None
    raise problem
