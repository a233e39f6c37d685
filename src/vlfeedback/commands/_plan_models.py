"""The models of a plan, without opening them: what they cost, who sees the pictures, how long their calls were."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path

from vlfeedback import prices, registry, run_models
from vlfeedback.commands._plan_text import HERE
from vlfeedback.commands._plan_world import INJECTED, Seen
from vlfeedback.config import PluginTable
from vlfeedback.ledger import Ledger
from vlfeedback.models._secrets import LOOPBACK, host_of


@dataclass(frozen=True, slots=True)
class Asked:
    """A model of the settings, without opening it."""

    name: str
    identity: str
    host: str
    price: prices.Price
    in_flight: int
    recipe: str = "original"
    detail: str = "high"

    def pictures(self, seen: Seen) -> float:
        """Tokens of an instruction's pictures by the price table's rule."""
        sent = (prices.sent_size(size.width, size.height, self.recipe) for size in seen.sizes)
        return sum(self.price.picture(width, height, detail=self.detail) for width, height in sent)


def model_of(table: PluginTable, where: str, in_flight: int, rates: prices.Prices) -> Asked:
    """What a plan needs to know of a model's table: who it is, where, at what price; nothing is opened.

    Args:
        table: Of the settings.
        where: Its name there, for messages.
        in_flight: Calls of its room under way at once.
        rates: Prices by model.
    Raises:
        ConfigError: an option is unknown, or an endpoint's model has no price.
    """
    options = table.options
    name = str(options.get("model") or table.use)
    if ":" in table.use:  # code from outside is not imported for a plan
        known: tuple[str, ...] = tuple(options)
        said = None
    else:
        known = registry.options(registry.find("models", table.use).load, besides=INJECTED)
        said = run_models.identity_of(table, where)
    revision = options.get("revision")
    identity = said or str(options.get("identity") or f"{table.use}:{name}" + (f"@{revision}" if revision else ""))
    if "base_url" not in known and ":" not in table.use:  # weights on this machine
        return Asked(name, identity, HERE, prices.FREE, _at_once(table))
    urls = options.get("base_url", "https://api.openai.com/v1")
    hosts = list(dict.fromkeys(host_of(url) for url in ([urls] if isinstance(urls, str) else urls)))
    loopback = all(host in LOOPBACK for host in hosts)
    price = rates.find(identity, name, local=bool(options.get("local", loopback)))
    shown = ", ".join(f"{host} ({HERE})" if host in LOOPBACK else host for host in hosts)
    if getattr(table, "by_provider", False):
        price, shown = price.batched(), f"{shown}, in batches"
    recipe, detail = str(options.get("recipe", "original")), str(options.get("detail") or "high")
    return Asked(name, identity, shown, price, min(in_flight, int(options.get("in_flight", 32))), recipe, detail)


def _at_once(table: PluginTable) -> int:
    """Questions that a local model takes at a time, by its options or else by its plug-in's own choice."""
    load = registry.find("models", table.use).load
    defaults = {name: one.default for name, one in inspect.signature(load).parameters.items()}
    names = [name for name in ("batch", "max_num_seqs") if name in defaults]
    return next((int(table.options.get(name, defaults[name])) for name in names), 1)


@dataclass(frozen=True, slots=True)
class Means:
    """Of one call: tokens in and out, and what they cost in the price table's currency."""

    input: float
    output: float
    cost: float


class Past:
    """Mean lengths of the calls that a ledger holds, and what they cost and weigh."""

    def __init__(self, path: Path | None) -> None:
        self._means: dict[tuple[str, str], Means] = {}
        self.spent = 0.0
        self.bytes_per_call: float | None = None
        if path is None or not path.is_file():
            return
        with Ledger.open(path, write=False) as ledger:
            totals = ledger.totals()
        calls = sum(one.calls for one in totals)
        self.spent = sum(one.cost + one.lost_cost for one in totals)
        if calls >= ENOUGH_CALLS:
            self.bytes_per_call = path.stat().st_size / calls
        for one in totals:
            if one.state == "done" and one.calls and one.usage.output:
                means = Means(one.usage.input / one.calls, one.usage.output / one.calls, one.cost / one.calls)
                self._means[(one.purpose, one.model)] = means

    def mean(self, purpose: str, identity: str) -> Means | None:
        return self._means.get((purpose, identity))


ENOUGH_CALLS = 200
"""Calls after which the size of a ledger says something."""
