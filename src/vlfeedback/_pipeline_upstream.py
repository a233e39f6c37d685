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
from typing import NamedTuple

from vlfeedback import collecting, pipeline, preflight, run_models, sourcing
from vlfeedback.config import PluginTable, Settings
from vlfeedback.errors import ConfigError, DataError, ModelUnavailable, PluginError, StaleInput
from vlfeedback.run_folder import RunFolder
from vlfeedback.run_models import Access


class _Made(NamedTuple):
    """A table, the room that makes it, what it depends on, and the digest of that under the present settings."""

    name: str
    room: str
    depends: str
    inputs: Callable[[RunFolder, Access], str]


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
    for made in _READ.get(first, ()):
        found = run.info(made.name)
        # Imports have no settings, and a judging that broke off does not say what it was made from.
        if found is None or found.room != made.room or found.inputs == "interrupted":
            continue
        try:
            wanted = made.inputs(run, reach)
        except (ConfigError, DataError, ModelUnavailable, PluginError) as error:
            _tell(f"{run.table(made.name)} is taken as it is, without a look at the settings it was made with: {error}")
            continue
        if wanted != found.inputs:
            same = "" if run.written else " with the same --set"
            raise StaleInput(
                f"{run.table(made.name)} is out of date: {made.depends} changed since it was made. Run `vlfeedback run "
                f"{run.path} --from {made.room} --to {last}`{same}, which asks only what the ledger does not have; or "
                "change the settings back."
            )


def _instructions(run: RunFolder, reach: Access) -> str:
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


def _responses(run: RunFolder, reach: Access) -> str:
    settings = run.settings
    preflight.require_models(settings, training=False)
    pool = [(_named(table, "[[pool]]", reach), table.share) for table in settings.pool]
    return collecting.responses_from(settings, run.need("instructions", "source").digest, pool)


def _annotations(run: RunFolder, reach: Access) -> str:
    preflight.require_models(run.settings, training=False)
    judges = [_named(table, "[[judge]]", reach) for table in run.settings.judge]
    who = collecting.judged_by(run.settings, judges, collecting.rubric_of(run, reach))
    return collecting.annotations_from(run.need("responses", "decode").digest, who)


def _pairs(run: RunFolder, reach: Access) -> str:
    del reach
    return pipeline.pairs_from(run, run.settings.pair)


def _named(table: PluginTable, where: str, reach: Access) -> _Named:
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
