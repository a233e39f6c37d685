"""Room 1 of a run: [[source]] tables → instructions."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

from vlfeedback import progress, registry, source as source_room, tables
from vlfeedback._sourcing_stamps import stamp
from vlfeedback.collecting import Outcome, reused
from vlfeedback.config import Settings, SourceTable
from vlfeedback.errors import ConfigError, DataError, ImageError
from vlfeedback.evaluate._pictures import Forgiving
from vlfeedback.pipeline import written
from vlfeedback.records import Dropped, Image, Instruction
from vlfeedback.run_folder import RunFolder, Sink, home_of, inputs_digest
from vlfeedback.run_models import Access
from vlfeedback.source._leaks import Known, Leaks
from vlfeedback.source._mix import quotas, sided
from vlfeedback.source._near import Looks

MIXER = "2"
"""Version of the mixer's rules; a change of it reads the sources again."""


def source(run: RunFolder, reach: Access) -> list[Outcome]:
    """Room 1: [[source]] → instructions."""
    settings = run.settings
    if not settings.source:
        raise ConfigError(
            f"there is no [[source]] in {run.path / 'run.toml'}: add one, or start with `vlfeedback import`."
        )
    mix, inputs = settings.mix, instructions_from(settings)
    names = [table.name or table.use for table in settings.source]
    counts = [table.sample for table in settings.source]
    counts = quotas(counts, [table.weight for table in settings.source], mix.total, names)
    if run.fresh("instructions", inputs):
        _say_what_lacks_pictures(run)
        return [reused(run, "source", "instructions")]
    sources = [
        _source(table, number, count, reach, home_of(settings, table))
        for number, (table, count) in enumerate(zip(settings.source, counts, strict=True), 1)
    ]
    seen = mix.near != "off" or mix.leaks != "off"
    with reach.roots.looking() if seen else nullcontext():
        looks = Looks(reach.roots)
        leaks = None if mix.leaks == "off" else Leaks(_benchmark_items(run, reach), looks)
        told = Counter[str]()

        def leak(prompt: str, images: tuple[Image, ...]) -> str | None:
            found = leaks.found(prompt, images) if leaks is not None else None
            told["leaks"] += found is not None
            return found if mix.leaks == "drop" else None

        share = settings.eval_share
        if mix.near == "off":
            stream = source_room.instructions(sources, reach.roots, eval_share=share, leak=leak, tell=_tell)
        else:  # where looks count, the split waits for them
            opened = source_room.readings(sources, reach.roots, leak=leak)
            spill = run.path / ".instructions.mixing"
            stream = sided(opened, looks, spill, eval_share=share, near=mix.near, tell=_tell)
        if settings.limit is not None:
            stream = _limited(stream, settings.limit)
        sink: Sink[Instruction] = Sink(run, "instructions", "source")
        outcome = written(sink, progress.track(stream, "source", unit="records"), inputs)
    if told["leaks"]:
        fate = "dropped as held_out" if mix.leaks == "drop" else "kept: [mix] leaks = 'tell'"
        _tell(f"{told['leaks']:,} records share a picture or their question with a benchmark ({fate})")
    if leaks is not None and leaks.asked_elsewhere:
        _tell(f"{leaks.asked_elsewhere:,} instructions ask a benchmark's question of another picture, and are kept")
    return [outcome]


def instructions_from(settings: Settings) -> str:
    """What decides the table of instructions: the sources and the state of their files, [mix], split and limits."""
    mix = settings.mix
    places = {name: str(Path(place).resolve()) for name, place in settings.images.items()}
    described = [
        [table.model_dump(mode="json"), stamp(table), places.get(table.images or "")] for table in settings.source
    ]
    limits = settings.image_limits.model_dump()
    benchmarks = [[name, table.use, table.options, stamp(table)] for name, table in settings.evaluate.items()]
    mixed = [mix.model_dump(mode="json"), MIXER, [] if mix.leaks == "off" else benchmarks]
    return inputs_digest("source", described, settings.eval_share, settings.limit, limits, mixed)


def _say_what_lacks_pictures(run: RunFolder) -> None:
    """Nobody looks again whether pictures are there now: that takes as long as reading all sources."""
    if not run.dropped("source").exists():
        return
    lacking = sum(one.reason in ("missing_image", "bad_image") for one in tables.read(run.dropped("source"), Dropped))
    if lacking:
        _tell(
            f"{lacking:,} records were left out because their picture was not there or not readable. If it is now: "
            f"delete {run.table('instructions')} and run again, no answer is bought twice"
        )


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _benchmark_items(run: RunFolder, reach: Access) -> Iterator[Known]:
    """Questions of the benchmarks of [evaluate]; what of one cannot be read is told of, and not looked at."""
    for name, table in run.settings.evaluate.items():
        roots, items, lacking = Forgiving(reach.roots), 0, 0
        try:
            plugin = registry.find("evaluate", table.use or name, allow_plugins=reach.allow_plugins)
            benchmark = registry.bind(plugin, table.options, f"[evaluate.{name}]", inject={"roots": roots})
            for item in benchmark.items():
                items += 1
                lacking += any(map(roots.stands_for_one, item.images))
                yield Known(f"{name} ({item.item_id})", item.prompt, item.images)
        except (DataError, ImageError) as error:
            if items:
                known = (
                    f"could not be read behind its first {items:,} items, so nothing is known of leaks into the rest"
                )
            else:
                known = "could not be read, so nothing is known of leaks into it"
            _tell(f"[evaluate.{name}] {known}: {error}")
        if lacking:
            _tell(
                f"[evaluate.{name}]: the pictures of {lacking:,} of {items:,} items could not be read, so leaks of "
                f"these pictures are not seen; all others were compared. The first: {roots.unread[0]}"
            )


def _source(
    table: SourceTable, number: int, sample: int | None, reach: Access, home: Path | None
) -> source_room.Source:
    where = f"[[source]] {number}"
    plugin = registry.find("source", table.use, allow_plugins=reach.allow_plugins)
    reader = registry.bind(plugin, table.options, where, inject={"roots": reach.roots, "home": home}, own=table.own)
    name = table.name or table.use
    return source_room.Source(name, reader, table.images, sample, str(table.options.get("path", "")))


def _limited(stream: Iterable[Instruction | Dropped], limit: int) -> Iterator[Instruction | Dropped]:
    """The instructions with the smallest ids, so that a larger limit keeps those of a smaller one."""
    held: list[Instruction] = []
    for record in stream:
        if isinstance(record, Dropped):
            yield record
        else:
            held.append(record)
    chosen = {one.id for one in sorted(held, key=lambda one: one.id)[:limit]}
    for one in held:
        yield one if one.id in chosen else Dropped("source", one.id, "not_sampled", f"limit = {limit}")
