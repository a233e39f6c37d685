"""Whether the tables that a command begins with are those of its settings.

`run` makes a table anew where settings or inputs have changed since. A room by itself would read the old one without a
word: responses of another temperature would be judged, and paid for, under settings that say something else. So it is
refused, by the same digests that `run` goes by. What cannot be compared here is said and used: a folder may have come
from a machine that has the sources and the pool's weights.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from vlfeedback import collecting, pipeline, preflight, run_models, sourcing
from vlfeedback.config import PluginTable, Settings
from vlfeedback.errors import ConfigError, DataError, ModelUnavailable, PluginError, StaleInput
from vlfeedback.models import Model
from vlfeedback.run_folder import RunFolder
from vlfeedback.run_models import Access
from vlfeedback.tables import TableInfo


class _Knowing(Protocol):
    """What tells who models and rubrics are."""

    @property
    def allow_plugins(self) -> bool: ...

    def bare(self, table: PluginTable, where: str) -> Model: ...


class _Looking(NamedTuple):
    """For a look from outside: code of others is not run, and no model is opened."""

    allow_plugins: bool = False

    def bare(self, table: PluginTable, where: str) -> Model:
        raise PluginError(f"{where}: only opening {table.use!r} tells who it is")


class Behind(NamedTuple):
    """A table that is older than its settings, or than what it was made of."""

    name: str
    room: str
    depends: str

    def words(self, run: RunFolder) -> str:
        """What is wrong, as a sentence without an end."""
        return f"{run.table(self.name)} is out of date: {self.depends} changed since it was made"


class _Made(NamedTuple):
    """A table, the room that makes it, what it depends on, and the digest of that under the present settings."""

    name: str
    room: str
    depends: str
    inputs: Callable[[RunFolder, _Knowing], str]

    def found(self, run: RunFolder) -> TableInfo | None:
        """The table, if it says what it was made from: imports have no settings, and a judging may have broken off."""
        info = run.info(self.name)
        return None if info is None or info.room != self.room or info.inputs in ("", "interrupted") else info

    @property
    def behind(self) -> Behind:
        """It, out of date."""
        return Behind(self.name, self.room, self.depends)


class _Named(NamedTuple):
    """A model as its table names it."""

    identity: str
    recipe: str


def check(run: RunFolder, reach: Access, first: str, last: str) -> None:
    """Look at what the first room of a command reads, before anything is paid for.

    Args:
        first: The first room.
        last: The last one, for the command that is proposed.
    Raises:
        StaleInput: a table is of other settings, or was made from another table than the one that is there.
    """
    if first == "train" and run.settings.train.data:
        return  # what other runs have collected is read, and nothing of this one
    if first == "report":  # shows what is there, whatever it was made from
        for one in behind(run):
            _tell(f"note: {one.words(run)}; `vlfeedback run {run.path} --from {one.room}` brings it up to date.")
    for made in _READ.get(first, ()):
        found = made.found(run)
        if found is None:
            continue
        try:
            wanted = made.inputs(run, reach)
        except (ConfigError, DataError, ModelUnavailable, PluginError) as error:
            _tell(f"{run.table(made.name)} is taken as it is, without a look at the settings it was made with: {error}")
            continue
        if wanted != found.inputs:
            again = f"`vlfeedback run {run.path} --from {made.room} --to {last}`"
            same = "" if run.written else " with the same --set"
            raise StaleInput(
                f"{made.behind.words(run)}. Run {again}{same}, which asks only what the ledger does not have; or "
                "change the settings back."
            )


def behind(run: RunFolder) -> tuple[Behind, ...]:
    """The tables of a run folder that `run` would make anew; what cannot be compared here is left out."""
    found: list[Behind] = []
    for made in (_INSTRUCTIONS, _RESPONSES, _ANNOTATIONS, _PAIRS):
        info = made.found(run)
        try:
            if info is not None and made.inputs(run, _Looking()) != info.inputs:
                found.append(made.behind)
        except (ConfigError, DataError, ModelUnavailable, PluginError):
            continue
    return tuple(found)


def _instructions(run: RunFolder, reach: _Knowing) -> str:
    del reach
    _require_files(run.settings)
    return sourcing.instructions_from(run.settings)


def _require_files(settings: Settings) -> None:
    """A source that is not here looks like one that has changed.

    Raises:
        ConfigError: a file or folder is missing.
    """
    places = list(settings.images.values())
    places += [table.options.get("path") for table in (*settings.source, *settings.evaluate.values())]
    for place in places:
        if isinstance(place, str) and not Path(place).exists():
            raise ConfigError(f"{place} is not here")


def _responses(run: RunFolder, reach: _Knowing) -> str:
    settings = run.settings
    preflight.require_models(settings, training=False)
    pool = [(_named(table, "[[pool]]", reach), table.share) for table in settings.pool]
    return collecting.responses_from(settings, run.need("instructions", "source").digest, pool)


def _annotations(run: RunFolder, reach: _Knowing) -> str:
    preflight.require_models(run.settings, training=False)
    judges = [_named(table, "[[judge]]", reach) for table in run.settings.judge]
    who = collecting.judged_by(run.settings, judges, collecting.rubric_of(run.settings, reach.allow_plugins))
    return collecting.annotations_from(run.need("responses", "decode").digest, who)


def _pairs(run: RunFolder, reach: _Knowing) -> str:
    del reach
    return pipeline.pairs_from(run, run.settings.pair)


def _named(table: PluginTable, where: str, reach: _Knowing) -> _Named:
    """Who a model is: keys, endpoints and GPUs of the rooms before need not be at hand."""
    said = run_models.identity_of(table, where, allow_plugins=reach.allow_plugins)
    if said is not None:
        return _Named(said, str(table.options.get("recipe", "original")))
    opened = reach.bare(table, where)
    return _Named(opened.identity, str(getattr(opened, "recipe", "original")))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_INSTRUCTIONS = _Made("instructions", "source", "[[source]], its files, [mix], limits or benchmarks", _instructions)
_RESPONSES = _Made("responses", "decode", "[[pool]], [decode] or the instructions", _responses)
_ANNOTATIONS = _Made("annotations", "annotate", "[[judge]], [annotate], the rubric or the responses", _annotations)
_PAIRS = _Made("pairs", "pair", "[pair], the annotations or the responses", _pairs)
_READ = {
    "decode": (_INSTRUCTIONS,),
    "annotate": (_INSTRUCTIONS, _RESPONSES),
    "pair": (_INSTRUCTIONS, _RESPONSES, _ANNOTATIONS),
    "train": (_PAIRS,),
}
"""By the first room of a command. Training alone looks no further back: it may run where nothing else is."""
