"""The table of contents: the rooms called in order.

Each function runs one room of a run folder: it reads the tables before it, writes its own with the digest of what it
was made from, and does nothing if that table is there already. `run_rooms` calls them one after the other; only decode
and annotate overlap, because judging starts when an instruction's responses are there.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from vlfeedback import _collecting_refused as refused, flow, groups, pair, preflight, registry, tables
from vlfeedback.collecting import Outcome, collect, reused, rubric_of
from vlfeedback.config import PairTable
from vlfeedback.errors import ConfigError, DataError, PluginError
from vlfeedback.locks import follower
from vlfeedback.records import Dropped, Group, PreferencePair
from vlfeedback.run_folder import RunFolder, Sink, inputs_digest
from vlfeedback.run_models import ENGINES, Access, access

ROOMS = ("source", "decode", "annotate", "pair", "train", "evaluate", "report")


class Unanswered(NamedTuple):
    """Calls of one model that ended without an answer for one reason.

    Attributes:
        error: An error class that is asked again, or `UNREAD`.
        until: Seconds since 1970 until when the endpoint asked to be left alone, where it did.
    """

    model: str
    error: str
    calls: int
    until: float | None = None


UNREAD = "unreadable_picture"
"""Instead of an error class: the call was not made, because a picture is missing or another one now."""


class Finished(NamedTuple):
    """What a command did.

    Attributes:
        calls_made: Calls that were sent by this command; `calls_failed` of them have no answer.
        calls_reused: Answers that the ledger had already.
        spent: Upper bound of what all calls of the ledger have cost.
        interrupted: Whether the user stopped it.
        unanswered: The failed calls by model and reason, most first; the next run asks for them again.
    """

    rooms: tuple[Outcome, ...]
    calls_made: int
    calls_reused: int
    calls_failed: int
    spent: float
    interrupted: bool
    unanswered: tuple[Unanswered, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        left = [one._asdict() for one in self.unanswered]
        return {**self._asdict(), "rooms": [room._asdict() for room in self.rooms], "unanswered": left}


def run_rooms(
    run: RunFolder,
    first: str = "source",
    last: str = "report",
    *,
    allow_plugins: bool = False,
    engine: str = "local",
    base_only: bool = False,
    ask_again: bool = False,
) -> Finished:
    """Run the rooms from `first` to `last`.

    Args:
        engine: Who asks pool and judges: `local`, this process, or `ray`, the workers of a cluster.
        base_only: Evaluate the policy before training alone; nothing needs to have been trained.
        ask_again: Ask again what endpoints refused as a bad request.
    Raises:
        ConfigError: there is no such room, or they are in the wrong order.
        RunLocked: another command writes this run folder or its ledger.
        StaleInput: tables of the rooms before `first` are of other settings.
    """
    from vlfeedback import _pipeline_options as options, _pipeline_upstream as upstream

    wanted = _wanted(run, first, last)
    if wanted != ("train",):
        preflight.one_process(run.path)
    collecting = {"source", "decode", "annotate"} & set(wanted)
    if collecting or not run.written:
        preflight.check(run.settings)
    if collecting:
        preflight.require_models(run.settings, training="train" in wanted)
    options.check(run.settings, run.roots, wanted, plugins=allow_plugins, new=not run.written)
    asking = engine if engine not in ENGINES or {"decode", "annotate"} & set(wanted) else "local"
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        if not follower():
            stack.enter_context(run.writing())
        stack.enter_context(flow.draining_on_interrupt())
        reach = stack.enter_context(access(run, allow_plugins=allow_plugins, engine=asking, base_only=base_only))
        if not follower():
            upstream.check(run, reach, wanted[0], wanted[-1])
            stack.enter_context(keeping_settings(run, reach, outcomes))
        if ask_again:
            refused.take_back(run, reach.book.ledger)
        for step in _steps(wanted):
            if flow.interrupted():
                break
            try:
                outcomes.extend(step(run, reach))
                tables.give_back()
            except KeyboardInterrupt:  # a room that had nothing to finish; what it computed so far lies in its files
                if not flow.interrupted():
                    raise
        counted, waits, spent = reach.counters, reach.waits, reach.book.ledger.spent()
        stopped = flow.interrupted()
    for line in refused.lines(counted.refused):
        print(line, file=sys.stderr, flush=True)
    left = _left(counted.unanswered, waits, outcomes)
    return Finished(tuple(outcomes), counted.made, counted.reused, counted.failed, spent, stopped, left)


def _wanted(run: RunFolder, first: str, last: str) -> tuple[str, ...]:
    for name in (first, last):
        if name not in ROOMS:
            raise ConfigError(f"there is no room {name!r}; {registry.closest(name, ROOMS)}")
    wanted = ROOMS[ROOMS.index(first) : ROOMS.index(last) + 1]
    if not wanted:
        raise ConfigError(f"--from {first} comes after --to {last}: the rooms are {', '.join(ROOMS)}.")
    if first == last:  # a run without a policy or a benchmark ends with the data; the room alone says what is missing
        return wanted
    return tuple(name for name in wanted if name not in _unset(run))


@contextmanager
def keeping_settings(run: RunFolder, reach: Access, outcomes: Sequence[Outcome] = ()) -> Generator[None]:
    """Write run.toml, and put the old one back where the new one turns out to be wrong before it has done anything.

    Args:
        outcomes: Of the rooms that have run in the block so far.
    """
    put_back = run.keep_settings()
    try:
        yield
    except (ConfigError, PluginError, DataError):
        if not reach.counters.made and all(room.reused for room in outcomes):
            put_back()
        raise


def _left(
    counted: Mapping[tuple[str, str], int], waits: Mapping[tuple[str, str], float], outcomes: Sequence[Outcome]
) -> tuple[Unanswered, ...]:
    """Calls without an answer, most first; rooms know which of them lacked a picture, models do not tell."""
    calls = Counter(counted)
    for room in outcomes:
        for model, number in room.unread.items():
            own = min(number, calls[model, "connection"])  # two records may have shared one call
            calls[model, "connection"] -= own
            calls[model, UNREAD] += own
    left = (Unanswered(*what, number, waits.get(what)) for what, number in calls.items() if number)
    return tuple(sorted(left, key=lambda one: -one.calls))


def _unset(run: RunFolder) -> set[str]:
    """Rooms that the settings say nothing about."""
    missing: set[str] = set()
    if run.settings.train.data and not run.settings.source:  # trained on what other runs have collected
        missing |= {"source", "decode", "annotate", "pair"}
    if not run.settings.train.model:
        missing.add("train")
        if not run.settings.upper:
            missing.add("evaluate")
    if not run.settings.evaluate:
        missing.add("evaluate")
    return missing


def _steps(wanted: Iterable[str]) -> Iterator[Callable[[RunFolder, Access], list[Outcome]]]:
    from vlfeedback import learning, sourcing

    rooms = list(wanted)
    single: dict[str, Callable[[RunFolder, Access], list[Outcome]]] = {
        "source": sourcing.source,
        "pair": pairs,
        "train": learning.train,
        "evaluate": learning.evaluate,
        "report": write_report,
    }
    if "decode" in rooms or "annotate" in rooms:
        at = rooms.index("decode") if "decode" in rooms else rooms.index("annotate")
        collecting = {"decode", "annotate"} & set(rooms)
        rooms = [name for name in rooms if name not in collecting]
        single["collect"] = lambda run, reach: collect(run, reach, collecting)
        rooms.insert(at, "collect")
    for name in rooms:
        yield single[name]


def pairs(run: RunFolder, reach: Access) -> list[Outcome]:
    """Room 4: annotations × strategy → pairs."""
    with flow.without_collection():
        return [pair_into(run, run.settings.pair, reach.allow_plugins)]


def pairs_from(run: RunFolder, table: PairTable) -> str:
    """What decides the table of pairs: the digests of responses and annotations, the rule, and the strategy."""
    answered = run.need("responses", "decode")
    rated = run.need("annotations", "annotate")
    return inputs_digest("pair", pair.RULE, answered.digest, rated.digest, table.model_dump(mode="json"))


def pair_into(run: RunFolder, table: PairTable, allow_plugins: bool = False) -> Outcome:
    """Pair a run folder's annotations by the strategy of a table."""
    inputs, rated = pairs_from(run, table), run.need("annotations", "annotate")
    if run.fresh("pairs", inputs):
        return reused(run, "pair", "pairs")
    sink: Sink[PreferencePair] = Sink(run, "pairs", "pair")
    return written(sink, _paired(run, table, allow_plugins), inputs, complete=rated.complete)


class _Rated:
    """Groups without pairs, out of one reading of the annotations, which are most of a run's bytes.

    Attributes:
        judged: The annotations' ids by instruction, of the portion that was read last: a million of them do not fit.
    """

    def __init__(self, run: RunFolder) -> None:
        self._path = run.path
        self.judged: dict[str, tuple[str, ...]] = {}

    def __iter__(self) -> Iterator[Group]:
        for portion in groups.portions(self._path, rationales=False, paired=False):
            self.judged.clear()
            self.judged.update(pair.annotation_ids(portion.annotations))
            yield from portion.groups
            del portion  # or it would be held while the next one is read


def _paired(run: RunFolder, table: PairTable, allow_plugins: bool) -> Iterator[PreferencePair | Dropped]:
    strategy = registry.bind(registry.find("pair", table.use, allow_plugins=allow_plugins), table.options, "[pair]")
    rated, scale = _Rated(run), rubric_of(run.settings, allow_plugins).scale
    yield from pair.pairs(rated, strategy, scale=scale, judged=rated.judged)


def paired(run: RunFolder, table: PairTable, allow_plugins: bool = False) -> Iterator[Group]:
    """Groups with the pairs of another strategy than the run's own, for controls; nothing is written."""
    found: dict[str, list[PreferencePair]] = {}
    for record in _paired(run, table, allow_plugins):
        if isinstance(record, PreferencePair):
            found.setdefault(record.instruction_id, []).append(record)
    for one in _Rated(run):
        yield replace(one, pairs=tuple(found.get(one.instruction.id, ())))


def write_report(run: RunFolder, reach: Access) -> list[Outcome]:
    """Room 7: the run folder → report.html, figures, dataset card."""
    from vlfeedback import report

    del reach
    report.write(run.path)
    return [Outcome("report", 1, 0)]


def written(sink: Sink[Any], stream: Iterable[Any], inputs: str, *, complete: bool = True) -> Outcome:
    """Write a room's stream: all of it, or nothing."""
    try:
        sink.extend(stream)
    except BaseException:
        sink.discard()
        raise
    found = sink.close(inputs, complete=complete)
    return Outcome(str(sink.room), sink.kept, sink.gone, complete=found.complete)
