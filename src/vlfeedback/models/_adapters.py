"""Adapters put on the models that they were made for; on another one peft leaves out what it cannot place."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

_WEIGHTS = "adapter_model.safetensors"


def put_on(model: Any, adapter: str, name: str = "default", *, tuned: Any = None, **settings: Any) -> Any:
    """An adapter's weights beside the layers that they belong to.

    Args:
        model: The base.
        adapter: Folder of the adapter.
        name: What it is called there.
        tuned: The base with other adapters on, if there are some.
        settings: Of peft, such as `is_trainable`.
    Returns:
        The base with adapters on, a `PeftModel`.
    Raises:
        ValueError: the weights belong to other layers, and the base alone would answer or be trained; or there are none
            in safetensors.
    """
    from peft import PeftModel

    if not (Path(adapter).expanduser() / _WEIGHTS).is_file():  # peft would look on the hub, or for a pickle
        raise ValueError(f"there is no {_WEIGHTS} in it")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)  # refused below
        if tuned is None:
            tuned = PeftModel.from_pretrained(model, adapter, name, **settings)
        # The first one is read twice: `from_pretrained` does not say what it could not place.
        placed = tuned.load_adapter(adapter, name, **settings)
    without = [key for key in placed.missing_keys if "vblora_vector_bank" not in key]
    if (without or placed.unexpected_keys) and not tuned.peft_config[name].is_prompt_learning:
        raise ValueError(
            f"it was made for another model: {len(without)} of its weights are not in the file, "
            f"{len(placed.unexpected_keys)} of the file have no layer ({[*without, *placed.unexpected_keys][0]})"
        )
    return tuned
