"""What a plan can know of the instructions: how many, how long, and the true sizes of their pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vlfeedback import registry, tables
from vlfeedback.commands._plan_survey import Seen, Survey, Surveyor
from vlfeedback.config import PluginTable, Settings, SourceTable
from vlfeedback.errors import ConfigError
from vlfeedback.images import MAX_PIXELS, Size
from vlfeedback.records import Instruction
from vlfeedback.run_folder import home_of, roots_of
from vlfeedback.source._mix import quotas

INJECTED = frozenset({"roots", "home"})
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


@dataclass(frozen=True, slots=True)
class World:
    """The instructions of a run.

    Attributes:
        count: How many, or None where a source neither says nor can be counted.
        sources: The same by source.
        seen: Instructions by source, all of them or an even sample; empty where none could be looked at.
        complete: `seen` holds all of them.
        warnings: Sources of which much cannot be used.
    """

    count: int | None
    sources: Mapping[str, int | None]
    seen: Mapping[str, list[Seen]] = field(default_factory=dict[str, list[Seen]])
    complete: bool = False
    warnings: tuple[str, ...] = ()

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


def of_sources(settings: Settings, *, allow_plugins: bool = False) -> World:
    """The instructions that the sources would give, as far as their files are here; only headers of pictures are read.

    Args:
        allow_plugins: Whether a source may be code from outside of the package.
    Raises:
        ConfigError, PluginError: a source is not as its plug-in wants it.
    """
    limits = settings.image_limits
    here = frozenset(name for name, place in settings.images.items() if Path(place).exists())
    surveyor = Surveyor(
        roots_of(settings, fetch=False), here, max_pixels=limits.max_pixels or MAX_PIXELS, urls=limits.allow_urls
    )
    counts: dict[str, int | None] = {}
    seen: dict[str, list[Seen]] = {}
    warnings: list[str] = []
    listed = settings.source
    names = [table.name or table.use for table in listed]
    samples = quotas([table.sample for table in listed], [table.weight for table in listed], settings.mix.total, names)
    for number, (table, sample) in enumerate(zip(listed, samples, strict=True), 1):
        name = table.name or table.use
        while name in counts:  # two files of one dataset
            name += "'"
        plugin = registry.find("source", table.use, allow_plugins=allow_plugins)
        found = _survey(plugin, table, sample, f"[[source]] {number}", surveyor, home_of(settings, table), name)
        counts[name], seen[name] = (sample, []) if found is None else (found.instructions, found.seen)
        warnings += found.warnings if found is not None else ()
    known = [count for count in counts.values() if count is not None]
    total = sum(known) if known and len(known) == len(counts) else None
    complete = all(len(rows) == counts[name] for name, rows in seen.items()) and total is not None
    # a plan from half of the sources would look surer than it is; one that gives nothing has nothing to see
    if any(not rows and counts[name] != 0 for name, rows in seen.items()):
        seen = {}
    return World(total, counts, seen, complete and bool(seen), tuple(warnings))


def _survey(
    plugin: registry.Plugin,
    table: SourceTable,
    sample: int | None,
    where: str,
    surveyor: Surveyor,
    home: Path | None,
    name: str,
) -> Survey | None:
    """A look at a source, or None where its file is not here."""
    check_options(table, registry.options(plugin.load, besides=INJECTED), where)
    path = table.options.get("path")
    if not isinstance(path, str) or not Path(path).exists():
        return None
    reader = registry.bind(plugin, table.options, where, inject={"roots": surveyor.roots, "home": home})
    return surveyor.survey(name, reader, table.images, sample)
