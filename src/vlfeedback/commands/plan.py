"""`vlfeedback plan`: calls, tokens, cost, time, disk, and who will see the pictures, before a run is started.

Works offline and without data, keys or weights: what is missing is listed, what is unknown is assumed, and every
assumption is printed. What is there is looked at: true sizes of pictures and lengths of prompts. Where a ledger already
holds calls of a model, its measured lengths replace the assumed ones; a pilot buys some for that purpose.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vlfeedback import collecting, prices
from vlfeedback.commands import _plan_world as worlds
from vlfeedback.commands._plan_estimate import Known, Stratum, interval, stratum
from vlfeedback.commands._plan_evaluation import Evaluation
from vlfeedback.commands._plan_models import Asked, Past, model_of
from vlfeedback.commands._plan_pilot import Pilot, pilot
from vlfeedback.commands._plan_text import HERE, Assumptions, Plan, PlanRow, show
from vlfeedback.commands._plan_world import Seen, World
from vlfeedback.config import Settings
from vlfeedback.models._secrets import KEY_NEEDED, host_of
from vlfeedback.preflight import Missing, check, missing_models
from vlfeedback.records import Image, Instruction, Response, Room

__all__ = ["Assumptions", "Missing", "Pilot", "Plan", "PlanRow", "pilot", "plan", "show"]

RULE_IS_OFF = 0.02
"""Share by which an endpoint may count pictures otherwise than the price table before it is said."""


def plan(
    settings: Settings,
    *,
    assume: Assumptions | None = None,
    ledger: Path | None = None,
    instructions: Path | None = None,
    measured: Pilot | None = None,
    allow_plugins: bool = False,
) -> Plan:
    """Estimate a run; nothing is sent, loaded or written.

    Args:
        settings: A run.toml.
        assume: What to take for granted.
        ledger: Calls already made, for measured lengths; default the settings' shared ledger.
        instructions: Table of a run folder, if it was made already; then nothing about instructions is assumed.
        measured: Calls of a pilot.
        allow_plugins: Whether sources and the rubric may be code from outside of the package.
    Raises:
        ConfigError: a model has no price, or an option is unknown.
        PluginError: a plug-in is unknown, or from outside and not allowed.
    """
    check(settings)
    assume = assume or Assumptions()
    table = prices.read(settings.prices.path)
    world = _world(settings, instructions, allow_plugins)
    past = Past(ledger or (Path(settings.ledger.path) if settings.ledger.path else None))
    maker = _Maker(settings, world, table, assume, past, measured, allow_plugins=allow_plugins)
    made = [*maker.decode(), *maker.annotate()]
    evaluation = Evaluation(settings, table, assume, past)
    collecting = tuple(one.row for one in made)
    evaluating = tuple(evaluation.rows())
    rows = collecting + evaluating
    pairs = round((world.count or 0) * (1 - settings.eval_share) * math.comb(settings.decode.k, 2) * assume.kept_pairs)
    local = sum(row.hours for row in collecting if row.host == HERE)
    parts = [(one.calls, one.stratum) for one in made if one.stratum is not None]
    bounds = interval(parts, world.count or 0) if parts else None
    # What was not measured has no interval of its own, and is part of the bill all the same.
    beside = sum(row.cost for row in evaluating) + sum(one.row.cost for one in made if one.stratum is None)
    return Plan(
        instructions=world.count,
        sources=world.sources,
        rows=rows,
        currency=table.currency,
        cost=sum(row.cost for row in rows),
        hours=local + max((row.hours for row in collecting if row.host != HERE), default=0.0),
        disk_bytes=_disk(rows, assume, past),
        pairs=pairs,
        steps=math.ceil(pairs * settings.train.epochs / settings.train.pairs_per_step),
        viewers=_viewers((*collecting, *(row for row in evaluating if row.host != HERE))),
        missing=tuple(_missing(settings)),
        assumptions=assume.lines(
            world.looked, world.complete, measured.instructions if measured else 0, bool(evaluating)
        ),
        budget=settings.annotate.budget,
        cost_low=bounds.low + beside if bounds else None,
        cost_high=bounds.high + beside if bounds else None,
        spent=past.spent,
        pilot=measured.instructions if measured else 0,
        warnings=(*world.warnings, *maker.warnings, *evaluation.warnings),
    )


def _world(settings: Settings, instructions: Path | None, allow_plugins: bool) -> World:
    """The instructions of a run's table, or those that its sources would give; no more than its limit."""
    if instructions is not None:
        found = worlds.of_table(instructions)
    else:
        found = worlds.of_sources(settings, allow_plugins=allow_plugins)
    if found.count is None or settings.limit is None:
        return found
    return replace(found, count=min(found.count, settings.limit))


def _viewers(rows: Iterable[PlanRow]) -> dict[str, tuple[str, ...]]:
    """Models that see pictures, by the host they are sent to."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.host, []).append(row.model)
    return {host: tuple(dict.fromkeys(models)) for host, models in found.items()}


def _disk(rows: tuple[PlanRow, ...], assume: Assumptions, past: Past) -> int:
    """Ledger and tables; the ledger as large per call as it has become so far, once it says something."""
    calls = sum(row.calls for row in rows)
    # an endpoint may report fewer tokens for all of a call than the price table's rule has for its pictures
    tokens = sum(max(0, row.input_tokens - (row.image_tokens or 0)) + row.output_tokens for row in rows)
    if past.bytes_per_call is not None:
        written = sum(row.output_tokens for row in rows)
        return round(calls * past.bytes_per_call + written * assume.bytes_per_token / 3)
    return round(tokens * assume.bytes_per_token + calls * assume.bytes_per_call)


@dataclass(frozen=True, slots=True)
class _Made:
    """A row of the plan with what it was made from."""

    row: PlanRow
    calls: float
    stratum: Stratum | None


class _Maker:
    """Makes the rows of a plan."""

    def __init__(
        self,
        settings: Settings,
        world: World,
        rates: prices.Prices,
        assume: Assumptions,
        past: Past,
        measured: Pilot | None,
        *,
        allow_plugins: bool,
    ) -> None:
        self._allow_plugins = allow_plugins
        self._settings, self._world, self._rates = settings, world, rates
        self._assume, self._past, self._measured = assume, past, measured
        self._total = world.count or 0
        self.warnings: list[str] = []

    def decode(self) -> Iterator[_Made]:
        """One row per pool model."""
        settings, assume = self._settings, self._assume
        shares = [table.share for table in settings.pool]
        even = max(0.0, settings.decode.k - sum(share for share in shares if share is not None))
        free = sum(share is None for share in shares)
        for number, table in enumerate(settings.pool, 1):
            model = model_of(table, f"[[pool]] {number}", settings.decode.in_flight, self._rates)
            share = table.share if table.share is not None else min(1.0, even / free)
            letters = len(settings.decode.system)
            output = min(assume.response, settings.decode.max_tokens)
            yield self._row("decode", model, self._total * share, letters, 0.0, output)

    def annotate(self) -> Iterator[_Made]:
        """One row per judge."""
        settings, assume = self._settings, self._assume
        if not settings.judge:
            return
        chosen = settings.annotate
        rubric = collecting.rubric_of(settings, self._allow_plugins)
        k = settings.decode.k
        instruction = Instruction("0", "", (Image("0" * 64, "r:0.png", assume.width, assume.height),), "plan")
        responses = tuple(Response(str(number), "0", "m", "", "stop") for number in range(k))
        request = rubric.render(instruction, responses, [response.id for response in responses])
        letters = len(request.system) + sum(len(part.text or "") for part in request.parts)
        output = min(assume.rating * k * len(rubric.aspects), chosen.max_tokens)
        for number, table in enumerate(settings.judge, 1):
            model = model_of(table, f"[[judge]] {number}", chosen.in_flight, self._rates)
            yield self._row("annotate", model, self._total * chosen.orders, letters, k * assume.response, output)

    def _row(self, room: Room, model: Asked, calls: float, letters: int, shown: float, output: float) -> _Made:
        """A row from what was measured, as far as it was.

        Args:
            letters: Of the question, without the instruction's.
            shown: Tokens of responses in the question.
            output: Tokens of a reply that are assumed.
        """
        assume, world, price = self._assume, self._world, model.price
        per_letter = 1 / (price.letters or assume.letters_per_token)
        counted = not (price.local and price.images is None)
        if not counted:
            picture = 0.0
        elif world.looked:
            picture = world.mean(model.pictures)
        else:
            picture = model.pictures(Seen(0, (worlds.Size(assume.width, assume.height),)))
        prompt = world.mean(lambda one: one.letters) if world.looked else None
        found = self._stratum(room, model, Known(
            prompt or 0.0, picture if counted else None, model.pictures, price.input / 1e6, per_letter
        ))  # fmt: skip
        seen = self._past.mean(room, model.identity) if found is None else None
        if found is not None:
            picture *= found.billed or 1.0
            entered, left, once = found.input, found.output, found.cost
        else:
            text = (assume.instruction if prompt is None else prompt * per_letter) + letters * per_letter + shown
            entered = seen.input if seen else text + picture
            left = seen.output if seen else output
            once = seen.cost if seen else (entered * price.input + left * price.output) / 1e6
        sends = found.sends if found else 1 + assume.asked_again
        cost = calls * sends * once
        if model.host == HERE:
            hours = calls * left / assume.local_speed / 3600
        else:
            wait = found.latency if found and found.latency else assume.latency + left / assume.speed
            hours = calls * sends * wait / model.in_flight / 3600
        row = PlanRow(
            room, model.name, model.host, round(calls), round(calls * entered),
            round(calls * picture) if counted and not seen else None, round(calls * left), cost, hours,
            measured=found is not None or seen is not None,
        )  # fmt: skip
        return _Made(row, calls * sends, found)

    def _stratum(self, room: Room, model: Asked, known: Known) -> Stratum | None:
        if self._measured is None:
            return None
        calls = [one for one in self._measured.calls if one.room == room]
        mine = [one for one in calls if one.model == model.identity]
        found = stratum(mine, known)
        if found is not None and found.billed is not None and abs(found.billed - 1) > RULE_IS_OFF:
            self.warnings.append(
                f"{model.name}: the endpoint counts {found.billed:.2f} times the tokens for pictures that the price "
                "table's rule gives; mend `images` in its entry. The plan goes by the endpoint's count."
            )
        if found is None and not model.price.local:
            self.warnings.append(f"{model.name}: the pilot holds no answered call of it in {room}; its row is assumed")
        return found


def _missing(settings: Settings) -> Iterator[Missing]:
    for name, place in settings.images.items():
        if not Path(place).exists():
            yield _missing_path(f"images of root {name!r}", place)
    for table in settings.source:
        path = table.options.get("path")
        if isinstance(path, str) and not Path(path).exists():
            yield _missing_path(f"source {table.name or table.use!r}", path)
    for name, benchmark in settings.evaluate.items():
        for option, what in (("path", "benchmark"), ("judge_prompt", "judge prompt of")):
            path = benchmark.options.get(option)
            if isinstance(path, str) and not Path(path).exists():
                yield _missing_path(f"{what} {name!r}", path)
    yield from missing_models(settings)
    for variable, host in _keys(settings).items():
        if not os.environ.get(variable):
            yield Missing(f"key for {host}", f"environment variable {variable}")


def _missing_path(what: str, path: str) -> Missing:
    return Missing(what, str(Path(path).expanduser().resolve()))


def _keys(settings: Settings) -> dict[str, str]:
    wanted: dict[str, str] = {}
    graders = (one.judge for one in settings.evaluate.values() if one.judge is not None)
    for table in (*settings.pool, *settings.judge, *settings.upper, *graders):
        if table.use != "openai":
            continue
        urls = table.options.get("base_url", "https://api.openai.com/v1")
        hosts = [host_of(url) for url in ([urls] if isinstance(urls, str) else urls)]
        needing = [host for host in hosts if host in KEY_NEEDED or "api_key_env" in table.options]
        if needing:
            wanted[str(table.options.get("api_key_env", "OPENAI_API_KEY"))] = needing[0]
    return wanted
