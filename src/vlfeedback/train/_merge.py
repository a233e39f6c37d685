"""An adapter folded into its base: weights that `from_pretrained` and servers load without peft."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from vlfeedback import progress
from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.models._adapters import put_on
from vlfeedback.models._checkpoints import open_processor, require_all
from vlfeedback.train._model_card import merged_card
from vlfeedback.train._note import is_begun
from vlfeedback.train._weights import DAMAGED, is_adapter, save


def merge(checkpoint: Path, out: Path) -> None:
    """Write base plus adapter as one checkpoint, with processor and model card, in the base's precision.

    The sum is made in fp32: in bf16 an adapter's small changes would be rounded twice.

    Args:
        checkpoint: A folder that training wrote.
        out: An empty folder.
    Raises:
        ConfigError: the folder is no adapter, or its training has not come to its end.
        ModelUnavailable: its base is not there, not all of it, or another model than the adapter was made for.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    if is_begun(checkpoint):
        raise ConfigError(
            f"the training in {checkpoint} has not come to its end, and there are no weights of it yet: "
            "`vlfeedback train DIR` goes on where it stopped."
        )
    if not is_adapter(str(checkpoint)):
        raise ConfigError(f"{checkpoint} holds no adapter (adapter_config.json). Full weights can be used as they are.")
    named = json.loads((checkpoint / "adapter_config.json").read_text(encoding="utf-8"))
    base = str(named["base_model_name_or_path"])
    try:
        with progress.quiet_transformers():
            config: Any = AutoConfig.from_pretrained(base)
            kept = getattr(config, "dtype", None) or torch.float32
            opened: Any = AutoModelForImageTextToText.from_pretrained(
                base, dtype=torch.float32, output_loading_info=True
            )
            require_all(base, opened[0], opened[1]["missing_keys"])
            model: Any = put_on(opened[0], str(checkpoint)).merge_and_unload().to(kept)
    except DAMAGED as error:
        raise ModelUnavailable(f"cannot load {base!r}, the base of {checkpoint}: {error}") from error
    save(model, open_processor(str(checkpoint), None), out)
    if (card := checkpoint / "README.md").exists():
        (out / card.name).write_text(merged_card(card.read_text(encoding="utf-8")), encoding="utf-8")
    if (asked := checkpoint / "generation_config.json").exists() and not (out / asked.name).exists():
        shutil.copyfile(asked, out / asked.name)
