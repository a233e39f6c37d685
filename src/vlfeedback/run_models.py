"""Models as a run's settings name them: loaded by their plug-in, priced, and wrapped so that every call is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from vlfeedback import prices, registry
from vlfeedback.config import PluginTable, Settings
from vlfeedback.decode import PoolModel
from vlfeedback.errors import ConfigError, PluginError
from vlfeedback.images import Roots
from vlfeedback.ledger import Ledger
from vlfeedback.locks import follower
from vlfeedback.models import Model
from vlfeedback.models._ledgered import Counters, LedgerBook, Ledgered
from vlfeedback.models._purse import Purse
from vlfeedback.records import Generation, Request, Usage
from vlfeedback.run_folder import RunFolder

ENGINES = ("local", "ray")

INJECTED = frozenset({"roots"})
"""Parameters of models that are no options."""

LOCAL_IN_FLIGHT = 4
"""Batches that a local model is kept supplied with, so that its queue is never empty."""


class Waits(Counters):
    """Counts that also keep how long endpoints asked to be left alone by the calls that they left without an answer.

    Attributes:
        until: Seconds since 1970 of the latest such time, by model and error class.
    """

    def __init__(self) -> None:
        super().__init__()
        self.until: dict[tuple[str, str], float] = {}

    def add(self, generation: Generation, model: str = "") -> None:
        super().add(generation, model)
        if generation.retry_after and not generation.answered:
            what = (model, generation.error or "other")
            self.until[what] = max(self.until.get(what, 0.0), time.time() + generation.retry_after)


@dataclass(frozen=True, slots=True)
class Access:
    """What is needed to ask the models of a run.

    Attributes:
        book: Ledger with its queues; None where nothing may be asked.
        allow_plugins: Whether `use = "package.module:load"` is allowed.
        base_only: Whether only the policy before training is evaluated, and what is no policy at all.
        waits: Until when endpoints asked to be left alone, as of `Waits`.
        spread: Lets pool and judges be asked through other machines, see `scale`.
    """

    settings: Settings
    roots: Roots
    book: LedgerBook
    table: prices.Prices
    allow_plugins: bool = False
    spread: Callable[[Model, PluginTable, str], Model] | None = None
    base_only: bool = False
    waits: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])

    @property
    def counters(self) -> Counters:
        """Calls made and reused so far."""
        return self.book.counters

    def bare(self, table: PluginTable, where: str) -> Model:
        """A model as its plug-in makes it, without ledger: for what costs nothing and is no call."""
        return bare(table, where, self.roots, self.allow_plugins)

    def _asked(self, table: PluginTable, where: str) -> Model:
        """A model as it is asked: from here, or through workers; batches are fetched from here."""
        model = self.bare(table, where)
        return model if self.spread is None or self._in_batches(model) else self.spread(model, table, where)

    @property
    def _journal(self) -> Path:
        return journal_of(self.book.ledger)

    def _in_batches(self, model: Model) -> bool:
        """Whether an earlier run has put questions to a model into batches, and has not fetched them."""
        if not self._journal.is_dir():
            return False
        from vlfeedback.models._batch_journal import under_way

        return under_way(self._journal, model.identity)

    def ledgered(self, model: Model, *, batch: bool = False) -> Model:
        """A model whose calls go through the ledger, at the prices of the table.

        Args:
            batch: Ask in provider batches, at their price; live, at the full one, what a batch leaves unanswered.
                Without it, only what an earlier run has put into one is fetched.
        Raises:
            ConfigError: it is asked over the network and its price is not known, or it knows no batches.
        """
        recipe = getattr(model, "recipe", "original")
        if is_local(model):
            if batch:
                _refuse_batches(model)
            return Ledgered(model, self.book, price=_free, reserve=_free, recipe=recipe)
        rate = self.table.of(model)
        live = Ledgered(model, self.book, price=rate.cost, reserve=rate.reserve, recipe=recipe)
        return self._batched(model, live, rate, fetching=not batch) if batch or self._in_batches(model) else live

    def _batched(self, model: Model, live: Ledgered, rate: prices.Price, *, fetching: bool) -> Model:
        from vlfeedback.models._batch import Batched
        from vlfeedback.models.openai import OpenAIModel

        if not isinstance(model, OpenAIModel):
            _refuse_batches(model)
        ledger, less = self.book.ledger, rate.batched()

        def done(keys: list[str]) -> set[str]:
            return {key for start in range(0, len(keys), 500) for key in ledger.replies(keys[start : start + 500])}

        inner = Batched(model, self._journal, done, fetching=fetching)
        return Ledgered(inner, self.book, price=less.cost, reserve=less.reserve, recipe=live.recipe, otherwise=live)

    def pool(self) -> list[PoolModel]:
        """The members of [[pool]]."""
        members: list[PoolModel] = []
        for number, table in enumerate(self.settings.pool):
            model = self._asked(table, f"[[pool]] {number + 1}")
            local = is_local(model)
            in_flight = LOCAL_IN_FLIGHT * int(getattr(model, "batch", 32)) if local else self.settings.decode.in_flight
            members.append(PoolModel(self.ledgered(model, batch=table.by_provider), local, table.share, in_flight))
        return members

    def judges(self) -> list[Model]:
        """The models of [[judge]]."""
        if not self.settings.judge:
            raise ConfigError('there is no [[judge]] in run.toml: add one, such as use = "openai", model = "…".')
        tables = enumerate(self.settings.judge)
        return [
            self.ledgered(self._asked(table, f"[[judge]] {number + 1}"), batch=table.by_provider)
            for number, table in tables
        ]


def bare(table: PluginTable, where: str, roots: Roots, allow_plugins: bool = False) -> Model:
    """A model as its plug-in makes it.

    Raises:
        PluginError: it makes no model.
    """
    plugin = _plugin_of(table, where, allow_plugins)
    made = registry.bind(plugin, table.options, where, inject={"roots": roots}, own=table.own)
    if not isinstance(getattr(made, "identity", None), str) or not callable(getattr(made, "answer", None)):
        raise PluginError(
            f"{where}: what {table.use!r} gives ({type(made).__name__}) is no model: it needs `identity`, a text, and "
            "`async answer(request)`"
        )
    return made


def _plugin_of(table: PluginTable, where: str, allow_plugins: bool) -> registry.Plugin:
    plugin = registry.find("models", table.use, allow_plugins=allow_plugins)
    number = table.options.get("batch")
    if number is not None and "batch" not in registry.options(plugin.load):
        raise ConfigError(
            f"{where}: batch = {number} is a local model's number of questions at a time, and {table.use!r} has none. "
            "Say batch = true for a provider's batches, or false."
        )
    return plugin


def checked(table: PluginTable, where: str, *, allow_plugins: bool = False) -> dict[str, Any]:
    """All options of a model's plug-in, converted and with defaults; nothing is opened.

    Raises:
        ConfigError, PluginError: as `bare`.
    """
    return registry.checked(_plugin_of(table, where, allow_plugins), table.options, where, INJECTED, table.own)


def identity_of(table: PluginTable, where: str, *, allow_plugins: bool = False) -> str | None:
    """The identity that the model of a table has when it is opened; None where only opening it would tell.

    Raises:
        ConfigError, PluginError: as `bare`.
    """
    plugin, values = _plugin_of(table, where, allow_plugins), checked(table, where, allow_plugins=allow_plugins)
    if plugin.identity_of is None:
        return None
    return plugin.identity_of(**{name: values[name] for name in registry.options(plugin.identity_of)})


def _refuse_batches(model: Model) -> NoReturn:
    raise ConfigError(f'{model.identity}: batch = true is for endpoints (use = "openai"); leave it away.')


def is_local(model: Model) -> bool:
    """Whether a model's weights lie on this machine: it has no hosts that see the pictures."""
    return not getattr(model, "hosts", ("unknown",))


def _free(_: Usage | Request) -> float:
    return 0.0


@contextmanager
def access(
    run: RunFolder, *, allow_plugins: bool = False, engine: str = "local", base_only: bool = False
) -> Generator[Access]:
    """Open a run's ledger for writing, with the purse of its budget.

    Args:
        engine: `local`: this process asks; `ray`: the workers of a cluster do.
        base_only: See `Access`.
    Raises:
        ConfigError: there is no such engine, or it is not installed.
        RunLocked: another command writes this ledger.
        LedgerError: it is damaged, emptied, or the disk is full.
    """
    if not follower():  # the others never look at it: the first one may be making it at this moment
        run.check_ledger()
    table = prices.read(run.settings.prices.path)
    with ExitStack() as stack:
        # One process of a launch writes the ledger; the others only train, and get one that nobody reads.
        path = Path(stack.enter_context(TemporaryDirectory())) / "unused" if follower() else run.ledger_path
        ledger = stack.enter_context(Ledger.open(path))
        _take_back(ledger)
        purse = Purse(run.settings.annotate.budget, ledger.spent())
        spread = stack.enter_context(_engine(engine, run, allow_plugins))
        book, waits = LedgerBook(ledger, purse), Waits()
        book.counters = waits
        yield Access(run.settings, run.roots, book, table, allow_plugins, spread, base_only, waits.until)


def journal_of(ledger: Ledger) -> Path:
    """Where the batches of a ledger's questions are noted."""
    return ledger.path.with_name(ledger.path.name + ".batches")


def _take_back(ledger: Ledger) -> None:
    """What a process that was killed had put aside for a batch and never sent has cost nothing."""
    if journal_of(ledger).is_dir():
        from vlfeedback.models._batch_journal import spooled

        known = ((key, ledger.find(key)) for key in spooled(journal_of(ledger)))
        ledger.withdraw([key for key, call in known if call is not None and call.state == "intent"])


@contextmanager
def _engine(name: str, run: RunFolder, plugins: bool) -> Generator[Callable[[Model, PluginTable, str], Model] | None]:
    if name not in ENGINES:
        raise ConfigError(f"there is no engine {name!r}; {registry.closest(name, ENGINES)}")
    if name == "local":
        yield None
        return
    from vlfeedback.scale import _cluster as cluster

    with cluster.engine(run, plugins=plugins) as opened:
        yield opened.spread


def close(models: Iterable[Any]) -> None:
    """Give back the memory of local models."""
    for model in models:
        inner = getattr(model, "inner", model)
        if hasattr(inner, "close"):
            inner.close()
