"""What holds still in training: all randomness of the base model, so that policy and reference are one computation.

The reference is computed without dropout. A base that draws, while it trains, from the dropout its settings ask for
is compared with something that it never was; adapters draw from their own.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

from vlfeedback.train._logps import unwrapped

# How peft calls the modules that draw for adapters.
_ADAPTERS = "lora_dropout"


def hold_still(model: Any, *, adapters: bool = True) -> None:
    """Take the base of a model in training mode out of it: tower, connector and language model, adapters excepted.

    Layers that are recomputed for the gradient stay in training mode, without which they would not be; what they draw
    by themselves is set to nothing.

    Args:
        model: The policy, wrapped or not, after `train()`.
        adapters: Whether the adapters' own dropout goes on.
    """
    base = unwrapped(model)
    frozen = {id(module) for module in _tower(base).modules()}
    for name, module in base.named_modules():
        if module is base:
            continue  # what is wrapped around a model may ask it whether it trains
        if _ADAPTERS in name:
            module.training = adapters
            continue
        module.training = bool(getattr(module, "gradient_checkpointing", False)) and id(module) not in frozen
        if module.training:
            _draw_nothing(module)


def _draw_nothing(module: Any) -> None:
    """Set the shares that a module hands to dropout by itself to 0."""
    for name, value in list(vars(module).items()):
        if "drop" in name and isinstance(value, float):
            setattr(module, name, 0.0)


def _tower(base: Any) -> Any:
    """What looks at pictures; the smallest module where a model does not say."""
    import torch

    try:
        tower = base.get_encoder(modality="image")
    except (AttributeError, NotImplementedError, TypeError):
        return torch.nn.Identity()
    return torch.nn.Identity() if tower in (base, getattr(base, "model", None)) else tower
