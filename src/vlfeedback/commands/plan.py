"""`vlfeedback plan`: calls, tokens, cost, time, disk, and who will see the pictures, before a call is made.

Works offline and without data, keys or weights: what is missing is listed, what is unknown is assumed, and every
assumption is printed. Where a ledger already holds calls of a model, its measured lengths replace the assumed ones.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vlfeedback import prices, registry
from vlfeedback.commands._plan_text import HERE, Assumptions, Plan, PlanRow, show
from vlfeedback.config import PluginTable, Settings
from vlfeedback.errors import ConfigError
from vlfeedback.ledger import Ledger
from vlfeedback.models._secrets import KEY_NEEDED, LOOPBACK, host_of
from vlfeedback.preflight import Missing, check, missing_models
from vlfeedback.records import Image, Instruction, Response
from vlfeedback.source import Found

__all__ = ["Assumptions", "Missing", "Plan", "PlanRow", "plan", "show"]

_INJECTED = frozenset({"roots"})


def plan(settings: Settings, *, assume: Assumptions | None = None, ledger: Path | None = None) -> Plan:
    """Estimate a run; nothing is sent, loaded or written.

    Args:
        settings: A run.toml.
        assume: What to take for granted.
        ledger: Calls already made, for measured lengths; default the settings' shared ledger.
    Raises:
        ConfigError: a model has no price, or an option is unknown.
        PluginError: a plug-in is unknown.
    """
    check(settings)
    assume = assume or Assumptions()
    table = prices.read(settings.prices.path)
    sources = dict(_counts(settings))
    known = [count for count in sources.values() if count is not None]
    total: int | None = sum(known) if len(known) == len(sources) and known else None
    if total is not None and settings.limit is not None:
        total = min(total, settings.limit)
    past = _Past(ledger or (Path(settings.ledger.path) if settings.ledger.path else None))
    rows = (*_decode(settings, total or 0, table, assume, past), *_annotate(settings, total or 0, table, assume, past))
    pairs = round((total or 0) * (1 - settings.eval_share) * math.comb(settings.decode.k, 2) * assume.kept_pairs)
    tokens = sum(row.input_tokens - (row.image_tokens or 0) + row.output_tokens for row in rows)
    viewers: dict[str, list[str]] = {}
    for row in rows:
        viewers.setdefault(row.host, []).append(row.model)
    local = sum(row.hours for row in rows if row.host == HERE)
    return Plan(
        instructions=total,
        sources=sources,
        rows=rows,
        currency=table.currency,
        cost=sum(row.cost for row in rows),
        hours=local + max((row.hours for row in rows if row.host != HERE), default=0.0),
        disk_bytes=round(tokens * assume.bytes_per_token + sum(row.calls for row in rows) * assume.bytes_per_call),
        pairs=pairs,
        steps=math.ceil(pairs * settings.train.epochs / settings.train.pairs_per_step),
        viewers={host: tuple(dict.fromkeys(models)) for host, models in viewers.items()},
        missing=tuple(_missing(settings)),
        assumptions=assume.lines(),
        budget=settings.annotate.budget,
    )


def _counts(settings: Settings) -> Iterator[tuple[str, int | None]]:
    """Instructions per source: what is asked for, else what can be counted."""
    for number, table in enumerate(settings.source, 1):
        plugin = registry.find("source", table.use)
        _check_options(table, registry.options(plugin.load, besides=_INJECTED), f"[[source]] {number}")
        count = table.sample
        path = table.options.get("path")
        if count is None and isinstance(path, str) and Path(path).exists():
            reader = registry.bind(plugin, table.options, f"[[source]] {number}")
            count = sum(isinstance(item, Found) for item in reader())
        yield table.name or table.use, count


def _check_options(table: PluginTable, known: tuple[str, ...], where: str) -> None:
    for key in table.options:
        if key not in known:
            raise ConfigError(f"{where}: {table.use!r} has no option {key!r}; {registry.closest(key, known)}")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A model of the settings, without opening it."""

    name: str
    identity: str
    host: str
    price: prices.Price
    in_flight: int


def _model(table: PluginTable, where: str, in_flight: int, rates: prices.Prices) -> _Asked:
    if ":" in table.use:  # code from outside is not imported for a plan
        known: tuple[str, ...] = tuple(table.options)
    else:
        known = registry.options(registry.find("models", table.use).load, besides=_INJECTED)
        _check_options(table, known, where)
    options = table.options
    name = str(options.get("model") or table.use)
    revision = options.get("revision")
    identity = str(options.get("identity") or f"{table.use}:{name}" + (f"@{revision}" if revision else ""))
    if "base_url" not in known and ":" not in table.use:  # weights on this machine
        return _Asked(name, identity, HERE, prices.FREE, int(options.get("batch", 32)))
    urls = options.get("base_url", "https://api.openai.com/v1")
    hosts = list(dict.fromkeys(host_of(url) for url in ([urls] if isinstance(urls, str) else urls)))
    loopback = all(host in LOOPBACK for host in hosts)
    price = rates.find(identity, name, local=bool(options.get("local", loopback)))
    shown = ", ".join(f"{host} ({HERE})" if host in LOOPBACK else host for host in hosts)
    return _Asked(name, identity, shown, price, min(in_flight, int(options.get("in_flight", 32))))


def _decode(
    settings: Settings, total: int, rates: prices.Prices, assume: Assumptions, past: _Past
) -> Iterator[PlanRow]:
    shares = [table.share for table in settings.pool]
    even = max(0.0, settings.decode.k - sum(share for share in shares if share is not None))
    free = sum(share is None for share in shares)
    for number, table in enumerate(settings.pool, 1):
        model = _model(table, f"[[pool]] {number}", settings.decode.in_flight, rates)
        share = table.share if table.share is not None else min(1.0, even / free)
        text = assume.instruction + len(settings.decode.system) / assume.letters_per_token
        output = min(assume.response, settings.decode.max_tokens)
        yield _row("decode", model, total * share, text, output, assume, past.mean("decode", model.identity))


def _annotate(
    settings: Settings, total: int, rates: prices.Prices, assume: Assumptions, past: _Past
) -> Iterator[PlanRow]:
    if not settings.judge:
        return
    chosen = settings.annotate
    rubric = registry.bind(registry.find("annotate", chosen.rubric), chosen.options, "[annotate.options]")
    k = settings.decode.k
    instruction = Instruction("0", "", (Image("0" * 64, "r:0.png", assume.width, assume.height),), "plan")
    responses = tuple(Response(str(number), "0", "m", "", "stop") for number in range(k))
    request = rubric.render(instruction, responses, [response.id for response in responses])
    letters = len(request.system) + sum(len(part.text or "") for part in request.parts)
    text = letters / assume.letters_per_token + assume.instruction + k * assume.response
    output = min(assume.rating * k * len(rubric.aspects), chosen.max_tokens)
    for number, table in enumerate(settings.judge, 1):
        model = _model(table, f"[[judge]] {number}", chosen.in_flight, rates)
        calls = total * chosen.orders
        yield _row("annotate", model, calls, text, output, assume, past.mean("annotate", model.identity))


def _row(
    room: str, model: _Asked, calls: float, text: float, output: float, assume: Assumptions, seen: _Means | None
) -> PlanRow:
    counted = not (model.price.local and model.price.images is None)
    picture = model.price.picture(assume.width, assume.height) if counted else 0
    entered = seen.input if seen else text + picture
    left = seen.output if seen else output
    sent = calls * (1 + assume.asked_again)
    cost = sent * (entered * model.price.input + left * model.price.output) / 1e6
    if model.host == HERE:
        hours = calls * left / assume.local_speed / 3600
    else:
        hours = sent * (assume.latency + left / assume.speed) / model.in_flight / 3600
    pictures = round(calls * picture) if counted and not seen else None
    return PlanRow(
        room, model.name, model.host, round(calls), round(calls * entered), pictures, round(calls * left), cost, hours,
        measured=seen is not None,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Means:
    input: float
    output: float


class _Past:
    """Mean lengths of the calls that a ledger holds."""

    def __init__(self, path: Path | None) -> None:
        self._means: dict[tuple[str, str], _Means] = {}
        if path is None or not path.is_file():
            return
        with Ledger.open(path, write=False) as ledger:
            for one in ledger.totals():
                if one.state == "done" and one.calls and one.usage.output:
                    means = _Means(one.usage.input / one.calls, one.usage.output / one.calls)
                    self._means[(one.purpose, one.model)] = means

    def mean(self, purpose: str, identity: str) -> _Means | None:
        return self._means.get((purpose, identity))


def _missing(settings: Settings) -> Iterator[Missing]:
    for name, place in settings.images.items():
        if not Path(place).exists():
            yield _missing_path(f"images of root {name!r}", place)
    for table in settings.source:
        path = table.options.get("path")
        if isinstance(path, str) and not Path(path).exists():
            yield _missing_path(f"source {table.name or table.use!r}", path)
    for name, benchmark in settings.evaluate.items():
        path = benchmark.options.get("path")
        if isinstance(path, str) and not Path(path).exists():
            yield _missing_path(f"benchmark {name!r}", path)
    yield from missing_models(settings)
    for variable, host in _keys(settings).items():
        if not os.environ.get(variable):
            yield Missing(f"key for {host}", f"environment variable {variable}")


def _missing_path(what: str, path: str) -> Missing:
    return Missing(what, str(Path(path).expanduser().resolve()))


def _keys(settings: Settings) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for table in (*settings.pool, *settings.judge, *settings.upper):
        if table.use != "openai":
            continue
        urls = table.options.get("base_url", "https://api.openai.com/v1")
        hosts = [host_of(url) for url in ([urls] if isinstance(urls, str) else urls)]
        needing = [host for host in hosts if host in KEY_NEEDED or "api_key_env" in table.options]
        if needing:
            wanted[str(table.options.get("api_key_env", "OPENAI_API_KEY"))] = needing[0]
    return wanted
