"""Training that goes on from an adapter: its settings are the adapter's own, whatever [train.lora] says."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from vlfeedback.errors import ConfigError
from vlfeedback.train._weights import linears_of

if TYPE_CHECKING:
    from vlfeedback.train import Lora, Recipe


def settled(recipe: Recipe, model: Any) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with the settings that the adapters of a run really have, and a warning where defaults were not used.

    Whether somebody wrote a default down or left it out cannot be told by now: run.toml has all of them. A value that
    is no default was meant.

    Args:
        recipe: As asked for.
        model: As `load_model` gives it.
    Raises:
        ConfigError: [train.lora] sets what the adapter that training starts from has otherwise, or that is no LoRA.
    """
    from vlfeedback.train import Lora

    if recipe.lora is None or not hasattr(model, "peft_config"):
        return recipe, ()
    asked, own, usual = asdict(recipe.lora), asdict(lora_of(model, recipe)), asdict(Lora())
    if (named := recipe.lora.targets) is not None:
        layers = sorted(set(named))
        asked["targets"] = None if layers == linears_of(model.get_base_model()) else tuple(layers)
    other = [name for name in asked if asked[name] != own[name]]
    found = replace(recipe, lora=Lora(**own))
    if not other:
        return found, ()
    told = f"init {recipe.init} is an adapter with {_listed(own, other)}"
    if meant := [name for name in other if asked[name] != usual[name]]:
        raise ConfigError(
            f"{told}, and [train.lora] asks for {_listed(asked, meant)}: an adapter is trained on as it was made. "
            f"Leave {' and '.join(meant)} out of [train.lora], or start without init"
        )
    return found, (f"{told} and is trained on so: the defaults of [train.lora] are not used",)


def lora_of(model: Any, recipe: Recipe) -> Lora:
    """Settings of the adapter on a model; `targets` in order of the alphabet, None where they are the default's.

    Raises:
        ConfigError: it is no LoRA.
    """
    from peft import PeftType
    from peft.tuners.tuners_utils import BaseTunerLayer

    from vlfeedback.train import Lora

    config = model.peft_config[model.active_adapter]
    if config.peft_type != PeftType.LORA:
        kind = getattr(config.peft_type, "value", config.peft_type)
        raise ConfigError(f"init {recipe.init} is an adapter of kind {kind}: only LoRA adapters can be trained on")
    inside = {id(module) for module in model.get_base_model().get_decoder().modules()}
    on = [(name.rpartition(".")[2], one) for name, one in model.named_modules() if isinstance(one, BaseTunerLayer)]
    leaves = sorted({leaf for leaf, _ in on})
    usual = leaves == linears_of(model.get_base_model()) and all(id(one) in inside for _, one in on)
    return Lora(config.r, config.lora_alpha, config.lora_dropout, None if usual else tuple(leaves))


def _listed(values: dict[str, Any], names: list[str]) -> str:
    """`r = 4, targets = q_proj, v_proj`."""
    return ", ".join(f"{name} = {_shown(values[name])}" for name in names)


def _shown(value: Any) -> str:
    if value is None:
        return "all linear layers of the language model"
    return " and ".join(value) if isinstance(value, tuple) else str(value)
