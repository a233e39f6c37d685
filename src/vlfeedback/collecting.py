"""Rooms 2 and 3 of a run folder: instructions → responses → annotations, at the same time where both are asked for."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple, Protocol, cast

from vlfeedback import _collecting_resumed as resumed, annotate, decode, flow, parts, progress, registry, tables
from vlfeedback._collecting_figures import Figures
from vlfeedback._collecting_resumed import Judging
from vlfeedback.annotate import Answered, Judge, Rubric, Waiting
from vlfeedback.config import Settings
from vlfeedback.images import Roots
from vlfeedback.models import Model
from vlfeedback.records import Annotation, Dropped, Instruction, Request, Response, Sampling
from vlfeedback.run_folder import RunFolder, Sink, asked_again, inputs_digest
from vlfeedback.run_models import Access, close, is_local
from vlfeedback.tables import TableInfo

ODD = 3
"""Oddities of the ratings that are told one by one."""

ALARMED = 1024
"""Annotations, of a dozen ratings each, that are counted at a time."""


class Named(Protocol):
    """A model, or what a table says of it; some also have a `recipe`."""

    @property
    def identity(self) -> str: ...


class Outcome(NamedTuple):
    """What a room did.

    Attributes:
        kept: Records in its table.
        dropped: Records beside it.
        reused: The table was there already and fits inputs and settings.
        complete: False where the room was interrupted, or calls have no answer.
        waiting: Instructions that were not judged because responses to them may still come.
        unread: Calls, by model, that were not made because a picture cannot be read any more.
        pictures: Which these are and what is wrong with them.
    """

    room: str
    kept: int
    dropped: int
    reused: bool = False
    complete: bool = True
    waiting: int = 0
    unread: Mapping[str, int] = {}
    pictures: tuple[str, ...] = ()


def collect(run: RunFolder, reach: Access, rooms: set[str]) -> list[Outcome]:
    """Rooms 2 and 3: instructions → responses → annotations, overlapping where both are asked for."""
    with progress.figures(Figures(reach)):
        return _collect(run, reach, rooms)


def _collect(run: RunFolder, reach: Access, rooms: set[str]) -> list[Outcome]:
    read = run.need("instructions", "source")
    settings = run.settings
    plans = [] if "decode" not in rooms else reach.pool()
    outcomes: list[Outcome] = []
    decoding: Sink[Response] | None = None
    decoded = ""
    if "decode" in rooms:
        decoded = responses_from(settings, read.digest, ((member.model, member.share) for member in plans))
        if run.fresh("responses", decoded):
            outcomes.append(reused(run, "decode", "responses"))
        else:
            decode.check_pool(plans, settings.decode.k)
            plan(run, plans, read.digest)
            decoding = resumed.responses(run, reach, decoded)
    if "annotate" not in rooms:
        if decoding is not None:
            try:
                for _ in _decoding(run, plans, decoding, None, read.rows):
                    pass
            except BaseException:  # it writes what it has, as it does beside the judges
                decoding.close(decoded, complete=False)
                raise
            outcomes.append(_close_decode(run, decoding, decoded, read.rows))
        return outcomes
    return outcomes + _annotating(run, reach, plans, decoding, decoded, read.rows)


def responses_from(settings: Settings, instructions: str, pool: Iterable[tuple[Named, float | None]]) -> str:
    """What decides the table of responses: the digest of the instructions, the pool with its shares, [decode]."""
    who = [[*_named(model), share] for model, share in pool]
    chosen = settings.decode.model_dump(mode="json", exclude={"in_flight", "bytes_in_flight"})
    return inputs_digest("decode", instructions, who, chosen)


def judged_by(settings: Settings, judges: Iterable[Named], rubric: Rubric) -> list[Any]:
    """What decides the annotations beside the responses, as JSON values: judges, rubric, [annotate]."""
    fixed = settings.annotate.model_dump(mode="json", exclude={"in_flight", "bytes_in_flight", "budget", "partial"})
    if settings.annotate.top_logprobs is None:  # runs from before there was such a setting stay fresh
        del fixed["top_logprobs"]
    return [[name for judge in judges for name in _named(judge)], rubric.name, rubric.version, rubric.parser, fixed]


def annotations_from(responses: str, who: list[Any]) -> str:
    """What decides the table of annotations: the digest of the responses, and `judged_by`."""
    return inputs_digest("annotate", responses, who)


def _named(model: Named) -> list[str]:
    """What decides a model's answers: who it is and, where pictures are changed for it, how."""
    recipe = str(getattr(model, "recipe", "original"))
    return [model.identity] if recipe == "original" else [model.identity, recipe]


def plan(run: RunFolder, pool: list[decode.PoolModel], instructions: str) -> None:
    """Write down who answers what before anything is asked; a plan of the same inputs is kept as it is."""
    identities, shares, k = [one.model.identity for one in pool], [one.share for one in pool], run.settings.decode.k
    inputs = inputs_digest("plan", decode.PLANNER, instructions, sorted(zip(identities, shares, strict=True)), k)
    ids: list[str] = tables.frame(run.table("instructions"), ["id"])["id"].to_list()
    if run.fresh("plan", inputs):  # rows in another order have the same digest, but decode reads both side by side
        planned = tables.frame(run.table("plan"), ["instruction_id"])["instruction_id"].to_list()
        if planned == ids:
            return
    rows = decode.plans(ids, identities, shares, k)
    tables.write(run.table("plan"), decode.Plan, rows, room="decode", inputs=inputs)


AT_ONCE = 20_000
"""Instructions under way where a provider's batches are filled: their pictures lie on disk meanwhile."""


def ask_pool(
    settings: Settings,
    instructions: Iterable[Instruction],
    pool: Sequence[decode.PoolModel],
    roots: Roots,
    planned: Iterable[decode.Plan] | None = None,
) -> Iterator[decode.Answered]:
    """Ask a pool as [decode] says; without a stored plan every instruction draws by itself."""
    asked = settings.decode
    batched = any(table.by_provider for table in settings.pool)

    def weigh(one: Instruction) -> int:
        return sum(map(roots.weight, one.images))

    return decode.answered(
        instructions,
        pool,
        k=asked.k,
        sampling=Sampling(asked.temperature, asked.top_p, asked.max_tokens, asked.seed),
        planned=planned,
        system=asked.system,
        in_flight=max(asked.in_flight, AT_ONCE) if batched else asked.in_flight,
        bytes_in_flight=None if batched else asked.bytes_in_flight,
        weigh=weigh,
    )


def ask_judges(
    settings: Settings, answered: Iterable[Answered | Waiting], judges: Sequence[Model], rubric: Rubric, roots: Roots
) -> Iterator[Annotation | Dropped]:
    """Ask judges as [annotate] says."""
    asked = settings.annotate
    batched = any(table.by_provider for table in settings.judge)

    def weigh(request: Request) -> int:
        return sum(map(roots.weight, request.images))

    return annotate.annotations(
        answered,
        [Judge(judge) for judge in judges],
        rubric,
        orders=asked.orders,
        order=asked.order,
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        seed=asked.seed,
        top_logprobs=asked.top_logprobs,
        in_flight=max(asked.in_flight, AT_ONCE) if batched else asked.in_flight,
        bytes_in_flight=None if batched else asked.bytes_in_flight,
        weigh=weigh,
    )


def _decoding(
    run: RunFolder,
    pool: list[decode.PoolModel],
    sink: Sink[Response],
    judging: Judging | None,
    total: int,
) -> Iterator[Answered | Waiting]:
    """Instructions with their responses as they come; first those of an earlier run that are still to be judged."""
    if judging is not None:
        yield from judging.waiting(sink)
    instructions = tables.read(run.table("instructions"), Instruction, but=tables.But("id", sink.done))
    planned = tables.read(run.table("plan"), decode.Plan, but=tables.But("instruction_id", sink.done))
    stream = ask_pool(run.settings, instructions, pool, run.roots, planned)
    for one in progress.track(stream, "decode", total - len(sink.done), "instructions"):
        if judging is not None and any(map(asked_again, one.dropped)):
            judging.unsettled.add(one.instruction.id)  # there may be more responses the next time
        sink.settle(one.instruction, [*one.responses, *one.dropped])
        yield to_judge(run.settings, one)


def to_judge(settings: Settings, one: decode.Answered) -> Answered | Waiting:
    """An instruction for the judges: a slot whose call is asked again holds it up, a final failure does not."""
    missing = 0 if settings.annotate.partial else sum(map(asked_again, one.dropped))
    return Waiting(one.instruction, missing) if missing else Answered(one.instruction, one.responses)


def _close_decode(run: RunFolder, sink: Sink[Response], inputs: str, instructions: int) -> Outcome:
    slots = instructions * run.settings.decode.k
    complete = not flow.interrupted() and sink.kept + sink.gone == slots
    if complete or not flow.interrupted():
        sink.balance(slots)
    done = sink.close(inputs, complete=complete)
    return _outcome(sink, done)


def _outcome(sink: Sink[Any], done: TableInfo, waiting: int = 0) -> Outcome:
    unread, pictures = dict(sink.unread.calls), tuple(sink.unread.pictures)
    return Outcome(str(sink.room), sink.kept, sink.gone, False, done.complete, waiting, unread, pictures)


def _answered_before(run: RunFolder, judging: Judging) -> Iterator[Answered | Waiting]:
    """What earlier commands have decoded, and what of it has to wait."""
    missing = {} if run.settings.annotate.partial else _missing(run)
    for one in judging.answered():
        count = missing.get(one.instruction.id, 0)
        yield Waiting(one.instruction, count) if count else one


def _missing(run: RunFolder) -> dict[str, int]:
    """Planned responses that may still come, by instruction; none where decode is whole or there was no plan."""
    if run.need("responses", "decode").complete or run.info("plan") is None:
        return {}
    gone = tables.read(run.dropped("decode"), Dropped) if run.dropped("decode").exists() else ()
    settled = {one.record_id for one in gone if not asked_again(one)}
    there = tables.frame(run.table("responses"), ["instruction_id", "model"])
    settled.update(decode.slot_id(*row) for row in there.iter_rows())
    found: dict[str, int] = {}
    for row in tables.read(run.table("plan"), decode.Plan):
        count = sum(decode.slot_id(row.instruction_id, model) not in settled for model in row.models)
        if count:
            found[row.instruction_id] = count
    return found


def rubric_of(settings: Settings, allow_plugins: bool) -> Rubric:
    """The rubric that [annotate] names."""
    plugin = registry.find("annotate", settings.annotate.rubric, allow_plugins=allow_plugins)
    return registry.bind(plugin, settings.annotate.options, "[annotate.options]")


def _annotating(
    run: RunFolder,
    reach: Access,
    pool: list[decode.PoolModel],
    decoding: Sink[Response] | None,
    decoded: str,
    instructions: int,
) -> list[Outcome]:
    asked, rubric, judges = run.settings.annotate, rubric_of(run.settings, reach.allow_plugins), reach.judges()
    who = judged_by(run.settings, judges, rubric)

    def inputs() -> str:
        return annotations_from(run.need("responses", "decode").digest, who)

    outcomes: list[Outcome] = []
    if decoding is None and run.fresh("annotations", inputs()):
        return [reused(run, "annotate", "annotations")]
    judging = Judging(run, reach, decoding, decoded, who, len(judges) * asked.orders)
    if decoding is None:
        answered = _answered_before(run, judging)
    else:
        answered = _decoding(run, pool, decoding, judging, instructions)
    sink, each = judging.sink, judging.each
    stream = ask_judges(run.settings, answered, judges, rubric, reach.roots)
    total = instructions * each
    try:
        left = total - len(sink.done) * each
        with closing(cast("Generator[Any]", stream)):  # whatever goes wrong, calls in flight are paid for
            judging.file(progress.track(_whole(stream, rubric), "annotate", left, "judgements"))
    except BaseException:
        _keep_interrupted(sink, decoding, decoded)
        raise
    close(one for one in judges if is_local(getattr(one, "inner", one)))  # training may need the memory
    if decoding is not None:
        outcomes.append(_close_decode(run, decoding, decoded, instructions))
    complete = not flow.interrupted()
    if complete:
        sink.balance(total)
    complete = complete and bool(run.info("responses") and run.need("responses", "decode").complete)
    done = sink.close(inputs(), complete=complete)
    if not flow.interrupted():
        _say_what_is_odd(run)
    waiting = sink.reasons["waiting"] // (len(judges) * asked.orders)
    return [*outcomes, _outcome(sink, done, waiting)]


def _say_what_is_odd(run: RunFolder) -> None:
    """Ratings that look as if they came from something other than looking, before anything is trained on them."""
    rated = tables.batches(run.table("annotations"), annotate.RATED, rows=ALARMED)
    found = annotate.alarms_in(rated, tables.batches(run.table("responses"), annotate.BY_MODEL))
    for alarm in found[:ODD]:
        print(f"worth a look: {alarm}", file=sys.stderr, flush=True)
    if len(found) > ODD:
        print(f"worth a look: {len(found) - ODD} more", file=sys.stderr, flush=True)


def _whole(stream: Iterable[Annotation | Dropped], rubric: Rubric) -> Iterator[Annotation | Dropped]:
    """Ratings + missing = responses × aspects, in every annotation; a judge that gives none is told at once."""
    silent = annotate.Silent()
    for record in stream:
        if isinstance(record, Annotation):
            tables.balance("annotate", len(record.order or ()) * len(rubric.aspects), ratings=len(record.ratings))
            if told := silent.add(record):
                print(told, file=sys.stderr, flush=True)
        yield record


def _keep_interrupted(sink: Sink[Annotation], decoding: Sink[Response] | None, decoded: str) -> None:
    """Write what is there, marked incomplete: the calls are in the ledger, the tables only show how far it got."""
    if decoding is not None:
        decoding.close(decoded, complete=False)
    sink.close("interrupted", complete=False)


def reused(run: RunFolder, room: str, name: str) -> Outcome:
    """A table that was there already and fits."""
    parts.forget(run.parts(name))  # of a run that was killed when the table had just been made
    found, gone = run.need(name, room), run.dropped(room)
    return Outcome(room, found.rows, tables.info(gone).rows if gone.exists() else 0, reused=True)
