"""What can be known to go wrong before the first call is paid for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vlfeedback._config_paths import FROM_FOLDERS, PATH_LIKE
from vlfeedback.config import PluginTable, Settings
from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.images import RUN_ROOT
from vlfeedback.locks import launched


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that has to be there before the run: what it is, and where it was looked for."""

    what: str
    where: str


def check(settings: Settings) -> None:
    """Refuse settings that cannot work together.

    Raises:
        ConfigError: more responses are wanted than there are models, or a source names an image root that is not there.
    """
    if settings.pool and settings.decode.k > len(settings.pool):
        raise ConfigError(
            f"decode.k = {settings.decode.k}, but the pool has {len(settings.pool)} models: "
            "add [[pool]] entries or lower k."
        )
    for number, table in enumerate(settings.source, 1):
        root = table.images
        if root and root not in settings.images and root != RUN_ROOT:
            known = ", ".join(settings.images) or "none"
            raise ConfigError(f"[[source]] {number}: no image root is called {root!r}; [images] has: {known}.")


def missing_models(settings: Settings, *, training: bool = True) -> Iterator[Missing]:
    """Folders of local models that are not there.

    Args:
        settings: A run.toml.
        training: Look for the policy and upper bounds too.
    """
    places = [(f"[[pool]] {n}", _model(table)) for n, table in enumerate(settings.pool, 1)]
    places += [(f"[[judge]] {n}", _model(table)) for n, table in enumerate(settings.judge, 1)]
    graders = ((name, one.judge) for name, one in settings.evaluate.items() if training)
    places += [(f"[evaluate.{name}.judge]", _model(table)) for name, table in graders if table is not None]
    if training:
        places += [(f"[[upper]] {n}", _model(table)) for n, table in enumerate(settings.upper, 1)]
        asked = settings.train
        places += [("[train] model", asked.model if asked.use == "transformers" else ""), ("[train] init", asked.init)]
        for place in asked.data:
            if not (Path(place) / "run.toml").exists():
                yield Missing("run folder of [train] data", place)
    for what, name in places:
        if name and name.startswith(PATH_LIKE) and not Path(name).expanduser().exists():
            yield Missing(f"checkpoint of {what}", str(Path(name).expanduser().resolve()))


def require_models(settings: Settings, *, training: bool) -> None:
    """Refuse to begin where a local model is missing, rather than after everything before it was paid for.

    Raises:
        ModelUnavailable: a folder is not there.
    """
    for one in missing_models(settings, training=training):
        raise ModelUnavailable(f"there is no {one.what}: {one.where} does not exist. Nothing was sent yet.")


def _model(table: PluginTable) -> str:
    name = table.options.get("model", "")
    return name if table.use in FROM_FOLDERS and isinstance(name, str) else ""


def one_process(folder: Path) -> None:
    """Refuse several processes of a launcher where each of them would buy calls or write tables.

    Raises:
        ConfigError: there are several.
    """
    if launched() > 1:
        raise ConfigError(
            f"{launched()} processes were started: only the training is shared. Make the data first (`vlfeedback run … "
            f"--to pair`, or `vlfeedback import`), then start `vlfeedback train {folder}` with the launcher."
        )
