"""What trained weights stand on: the base that an adapter names, other weights to start from, or the model itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.models._checkpoints import fingerprint
from vlfeedback.train._weights import is_adapter

if TYPE_CHECKING:
    from vlfeedback.train import Recipe


def base_of(recipe: Recipe) -> str:
    """Folder or hub name of the weights that those of a training are put on or come from.

    Raises:
        ModelUnavailable: the settings of the adapter that training starts from cannot be read.
    """
    if recipe.init is None:
        return recipe.model
    return (_named_by(recipe.init) or recipe.model) if is_adapter(recipe.init) else recipe.init


def doubtful_base(recipe: Recipe) -> tuple[str, ...]:
    """A warning where an adapter names a base other than the model, and nothing here shows whether it is the same.

    Raises:
        ConfigError: both are here, and their weights differ.
        ModelUnavailable: the adapter's settings cannot be read.
    """
    if recipe.init is None or not is_adapter(recipe.init):
        return ()
    base, model = base_of(recipe), recipe.model
    if base == model:
        return ()
    one, other = (_weights_of(Path(name).expanduser()) for name in (base, model))
    if one and one == other:
        return ()
    told = f"init {recipe.init} was trained on {base}, and [train] model is {model}"
    if one and other:
        raise ConfigError(
            f"{told}, whose weights are others: an adapter means nothing on them. Give its base as model. (If they are "
            "the same weights in another format, say so in the adapter's adapter_config.json.)"
        )
    return (
        f"init {recipe.init} names {base} as its base, and [train] model is {model}: whether these are the same "
        "weights cannot be told here. What is trained goes on naming the former",
    )


def _named_by(adapter: str) -> str | None:
    try:
        told: Any = json.loads((Path(adapter) / "adapter_config.json").read_text(encoding="utf-8"))
        name = told.get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelUnavailable(f"cannot read the settings of the adapter {adapter!r}: {error}") from error
    return str(name) if name else None


def _weights_of(folder: Path) -> str:
    """Hash of the weights of a folder, whatever lies beside them; empty where there are none to compare."""
    if not folder.is_dir() or not any(folder.glob("*.safetensors")):
        return ""
    return fingerprint(folder, suffixes=(".safetensors",))
