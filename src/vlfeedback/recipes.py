"""[train] as the trainer takes it, checked once for the command line and for Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple, cast

from vlfeedback import config, registry
from vlfeedback.config import LossTable, Settings, TrainSettings
from vlfeedback.errors import ConfigError, PluginError
from vlfeedback.registry import closest
from vlfeedback.train import Lora, Objective, Recipe

_FIELDS = tuple(one.name for one in fields(Recipe) if one.name not in ("model", "lora"))


class Asked(NamedTuple):
    """What a caller from Python asks for, checked."""

    recipe: Recipe
    objective: Objective
    eval_share: float


def recipe_of(asked: TrainSettings, weights: str) -> Recipe:
    """A checked [train] as a recipe.

    Args:
        asked: The table.
        weights: Folder or hub name of the base.
    """
    lora = None if asked.full else Lora(asked.lora.r, asked.lora.alpha, asked.lora.dropout, asked.lora.targets)
    return Recipe(model=weights, lora=lora, **{name: getattr(asked, name) for name in _FIELDS})


def objective_of(loss: LossTable, *, allow_plugins: bool = False) -> Objective:
    """The objective of [train.loss] with its options.

    Raises:
        PluginError: there is none of that name.
        ConfigError: an option is unknown or out of range.
    """
    if loss.use.lower() == "dpo":  # the closest name would be mdpo, which is another objective
        raise PluginError(f"there is no train plug-in {loss.use!r}: DPO is 'sigmoid', which is the default")
    return registry.bind(registry.find("train", loss.use, allow_plugins=allow_plugins), loss.options, "[train.loss]")


def asked_from_python(
    model: str | Path, loss: str | Mapping[str, Any] | None, eval_share: float, given: Mapping[str, Any]
) -> Asked:
    """Settings as Python has them, through the table that run.toml goes through: nothing wrong is found out later.

    Args:
        model: Folder or hub name.
        loss: Name of an objective, or a table of it with `use`.
        eval_share: Share of pictures to hold out.
        given: Fields of `Recipe`.
    Raises:
        ConfigError: a setting is unknown, of the wrong type or out of range.
        PluginError: there is no such objective.
    """
    for name in given:
        if name != "lora" and name not in _FIELDS:
            hint = closest(name, [*_FIELDS, "lora"])
            raise ConfigError(
                f"trainer: there is no setting {name!r}; {hint} They are those of vlfeedback.train.Recipe."
            )
    if not isinstance(cast("object", model), str | Path) or not str(model):
        raise ConfigError(f"trainer: model is {model!r}: give the folder or hub name of a vision-language model.")
    changes = {f"train.{name}": str(value) if isinstance(value, Path) else value for name, value in given.items()}
    if "lora" in given:
        del changes["train.lora"]
        changes |= _adapters(given["lora"])
    if given.get("report_to") in ("none", None):  # what `transformers` calls no tracker
        changes["train.report_to"] = ()
    changes |= {"eval_share": eval_share, "train.loss": _loss(loss)}
    checked = config.changed(Settings(), changes, "trainer")
    return Asked(recipe_of(checked.train, str(model)), objective_of(checked.train.loss), checked.eval_share)


def _adapters(lora: object) -> dict[str, Any]:
    """`lora` as settings: adapters, a table of their settings, or none for full fine-tuning."""
    if lora is None or lora is False:
        return {"train.full": True}
    if lora is True:
        return {}
    if isinstance(lora, Lora):
        return {"train.lora": asdict(lora)}
    if isinstance(lora, Mapping):
        return {"train.lora": dict(cast("Mapping[str, Any]", lora))}
    raise ConfigError(f"trainer: lora is {lora!r}: give vlfeedback.train.Lora(r=64), or None to train all weights.")


def _loss(loss: object) -> dict[str, Any]:
    if loss is None:
        return {"use": "sigmoid"}
    if isinstance(loss, str):
        return {"use": loss}
    if isinstance(loss, Mapping):
        return {"use": "sigmoid", **cast("Mapping[str, Any]", loss)}
    raise ConfigError(
        f'trainer: loss is {loss!r}: give its name, or a table such as {{"use": "sigmoid", "beta": 0.1}}.'
    )
