"""Every plug-in's options looked at before anything is paid for: the last room's mistake is told before the first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from vlfeedback import learning, registry, run_models
from vlfeedback.config import PairTable, PluginTable, Settings, TrainSettings
from vlfeedback.errors import PluginError
from vlfeedback.images import Roots
from vlfeedback.registry import PluginRoom
from vlfeedback.run_models import INJECTED

OPEN_NOTHING = ("openai", "scripted")
"""Models whose `load` sends, reads and computes nothing: it can say what is wrong with an address or a key, too."""


class _Look(NamedTuple):
    """What a look at some options does, and the rooms that use them."""

    rooms: frozenset[str]
    look: Callable[[], object]


def check(settings: Settings, roots: Roots, wanted: Collection[str], *, plugins: bool, new: bool) -> None:
    """Refuse options that a plug-in does not have, or values that it cannot take.

    Args:
        wanted: The rooms that are going to run.
        plugins: Whether `use = "package.module:load"` is allowed.
        new: The settings are not written down yet, so that those of other rooms are looked at as well; but what these
            need, such as code from outside the package, may be missing here.
    Raises:
        ConfigError, PluginError: as `registry.find` and `registry.bind`.
        ModelUnavailable: an endpoint wants a key that is not there.
    """
    for one in _looks(settings, roots, wanted, plugins):
        if one.rooms & set(wanted):
            one.look()
        elif new:
            try:
                one.look()
            except PluginError:
                continue  # told by the room itself, if it is ever asked for


def _looks(settings: Settings, roots: Roots, wanted: Collection[str], plugins: bool) -> Iterator[_Look]:
    def signature(room: PluginRoom, use: str, table: PluginTable, where: str) -> Callable[[], object]:
        return lambda: registry.checked(
            registry.find(room, use, allow_plugins=plugins), table.options, where, INJECTED, table.own
        )

    def model(table: PluginTable, where: str, room: str) -> Callable[[], object]:
        if table.use in OPEN_NOTHING and room in wanted:
            return lambda: run_models.bare(table, where, roots, plugins)
        return lambda: run_models.checked(table, where, allow_plugins=plugins)

    for number, table in enumerate(settings.source, 1):
        yield _Look(frozenset({"source"}), signature("source", table.use, table, f"[[source]] {number}"))
    for section, room, models in (("pool", "decode", settings.pool), ("judge", "annotate", settings.judge)):
        for number, table in enumerate(models, 1):
            where = f"[[{section}]] {number}"
            yield _Look(frozenset({room}), model(table, where, room))
    yield _Look(frozenset({"annotate"}), lambda: _rubric(settings, plugins))
    yield _Look(frozenset({"pair"}), lambda: _strategy(settings.pair, plugins))
    yield _Look(frozenset({"train"}), lambda: _training(settings, plugins))
    for name, test in settings.evaluate.items():
        room = frozenset({"evaluate"})
        yield _Look(room, signature("evaluate", test.use or name, test, f"[evaluate.{name}]"))
        if test.judge is not None:
            yield _Look(room, model(test.judge, f"[evaluate.{name}.judge]", ""))
    for number, table in enumerate(settings.upper, 1):
        yield _Look(frozenset({"evaluate"}), model(table, f"[[upper]] {number}", ""))


def _rubric(settings: Settings, plugins: bool) -> None:
    plugin = registry.find("annotate", settings.annotate.rubric, allow_plugins=plugins)
    registry.bind(plugin, settings.annotate.options, "[annotate.options]")


def _strategy(table: PairTable, plugins: bool) -> None:
    registry.bind(registry.find("pair", table.use, allow_plugins=plugins), table.options, "[pair]")


def _objective(asked: TrainSettings, plugins: bool) -> None:
    plugin = registry.find("train", asked.loss.use, allow_plugins=plugins)
    registry.bind(plugin, asked.loss.options, "[train.loss]")


def _training(settings: Settings, plugins: bool) -> None:
    """The objective, and of every control also the strategy that it changes."""
    _objective(settings.train, plugins)
    for control in settings.control:
        changed = learning.with_control(settings, control)
        _objective(changed.train, plugins)
        _strategy(changed.pair, plugins)
