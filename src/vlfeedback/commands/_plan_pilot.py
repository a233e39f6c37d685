"""`vlfeedback plan --pilot N`: a few real calls through the run's own ledger, which the run does not buy again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from vlfeedback import collecting, decode, flow, pipeline, preflight, progress, sourcing, tables
from vlfeedback._collecting_figures import Figures
from vlfeedback._pipeline_options import check as check_options
from vlfeedback.annotate import Answered, Waiting
from vlfeedback.commands._plan_estimate import Measured
from vlfeedback.commands._plan_world import Seen
from vlfeedback.errors import Stopped
from vlfeedback.ids import hash_id
from vlfeedback.images import Size
from vlfeedback.ledger import Ledger
from vlfeedback.records import Annotation, Instruction, Room
from vlfeedback.run_folder import RunFolder
from vlfeedback.run_models import Access, access


@dataclass(frozen=True, slots=True)
class Pilot:
    """What a pilot found.

    Attributes:
        instructions: How many were asked about.
        bought: Calls that were made for it; the `reused` ones were in the ledger.
        failed: Of the bought ones, those without an answer.
        calls: All that were answered, measured.
    """

    instructions: int
    bought: int
    reused: int
    failed: int
    calls: tuple[Measured, ...]


class _Key(NamedTuple):
    """A call to look up."""

    room: Room
    model: str
    instruction: str
    call: str


def pilot(run: RunFolder, count: int, *, allow_plugins: bool = False) -> Pilot:
    """Collect on an even sample of a run's instructions, and measure it; only instructions and their plan are written.

    Args:
        count: Instructions, ≥ 1.
    Raises:
        Stopped: the user asked to stop; what was bought is in the ledger.
        Others as of `pipeline.run_rooms`.
    """
    preflight.check(run.settings)
    preflight.require_models(run.settings, training=False)
    rooms = ("source", "decode", "annotate")
    check_options(run.settings, run.roots, rooms, plugins=allow_plugins, new=not run.written)
    with run.writing(), flow.draining_on_interrupt(), access(run, allow_plugins=allow_plugins) as reach:
        with pipeline.keeping_settings(run, reach):
            sourcing.source(run, reach)
        chosen = _chosen(run, count)
        with progress.figures(Figures(reach)):
            keys = list(_ask(run, reach, chosen))
        if flow.interrupted():
            raise Stopped("Stopped amid the pilot. What it bought is in the ledger; run the same command to go on.")
        counted = reach.counters
        found = tuple(_measure(reach.book.ledger, keys, {one.id: one for one in chosen}))
    return Pilot(len(chosen), counted.made, counted.reused, counted.failed, found)


def _chosen(run: RunFolder, count: int) -> list[Instruction]:
    """Every n-th instruction in the order of source, pictures and length: each kind comes up as often as it occurs."""
    rows: list[tuple[str, int, int, str]] = []
    for one in tables.read(run.table("instructions"), Instruction):
        pixels = sum(image.width * image.height for image in one.images)
        rows.append((one.source, pixels // 100_000, len(one.prompt) // 50, hash_id("pilot", one.id) + one.id))
    rows.sort()
    step = max(1.0, len(rows) / count)
    wanted = {rows[int((place + 0.5) * step)][3][32:] for place in range(min(count, len(rows)))}
    return [one for one in tables.read(run.table("instructions"), Instruction) if one.id in wanted]


def _ask(run: RunFolder, reach: Access, chosen: list[Instruction]) -> Iterator[_Key]:
    rubric, judges = collecting.rubric_of(run.settings, reach.allow_plugins), reach.judges()
    pool, wanted = reach.pool(), {one.id for one in chosen}
    decode.check_pool(pool, run.settings.decode.k)
    collecting.plan(run, pool, run.need("instructions", "source").digest)  # of all: the pilot's slots are the run's
    slots = [row for row in tables.read(run.table("plan"), decode.Plan) if row.instruction_id in wanted]
    decoded: list[_Key] = []

    def answered() -> Iterator[Answered | Waiting]:
        for one in collecting.ask_pool(run.settings, chosen, pool, reach.roots, slots):
            name = one.instruction.id
            decoded.extend(_Key("decode", response.model, name, response.call_key) for response in one.responses)
            yield collecting.to_judge(run.settings, one)

    total = len(chosen) * len(judges) * run.settings.annotate.orders
    stream = collecting.ask_judges(run.settings, answered(), judges, rubric, reach.roots)
    for record in progress.track(stream, "pilot", total, "judgements"):
        if isinstance(record, Annotation):
            yield _Key("annotate", record.judge, record.instruction_id, record.call_key)
    yield from decoded


def _measure(ledger: Ledger, keys: list[_Key], chosen: dict[str, Instruction]) -> Iterator[Measured]:
    for key in keys:
        call = ledger.find(key.call)
        if call is None or call.generation is None:
            continue
        one = chosen[key.instruction]
        seen = Seen(len(one.prompt), tuple(Size(image.width, image.height) for image in one.images))
        reply = call.generation
        yield Measured(
            key.room, key.model, one.id, seen, reply.usage, call.cost, reply.latency, min(reply.unsure, 100)
        )  # fmt: skip
