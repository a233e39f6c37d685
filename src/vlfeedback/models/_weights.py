"""One checkpoint in memory for a base and its adapters: each is put on for its own questions and taken off again.

A base and what was trained from it then cost the memory of one model, and are computed by the same code in the same
number format. Taking an adapter off restores the base's weights bit for bit.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlfeedback import progress
from vlfeedback.errors import ModelUnavailable
from vlfeedback.models._adapters import put_on
from vlfeedback.models._batches import Checkpoint, Loaded, open_checkpoint
from vlfeedback.models._shown import first_line
from vlfeedback.records import Image

_FORMATS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""Names of number formats in safetensors files."""


class Weights:
    """A checkpoint that several models share, loaded with the first question; its users take turns.

    Args:
        checkpoint: Where the weights come from.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._loaded: Loaded | None = None
        self._tuned: Any = None
        self._names: dict[str, str] = {}
        self._on: str | None = None
        self._kept: list[tuple[Any, Any]] = []

    def use(self, adapter: str | None, read: Callable[[Image, str], bytes]) -> Loaded:
        """The checkpoint with an adapter on, or bare.

        Args:
            adapter: Its folder; None for the base itself.
            read: Bytes of a picture, prepared by a recipe.
        Raises:
            ModelUnavailable: checkpoint or adapter cannot be loaded.
        """
        if self._loaded is None:
            self._loaded = open_checkpoint(self.checkpoint, read)
        if adapter != self._on:
            self._take_off()
            if adapter is not None:
                self._put_on(self._loaded, adapter)
        if adapter is not None and self._tuned.peft_config[self._names[adapter]].is_prompt_learning:
            return replace(self._loaded, model=self._tuned)  # such an adapter lies around the model, not in it
        return self._loaded

    def close(self) -> None:
        """Release the memory; a later question loads again."""
        self._loaded = self._tuned = self._on = None
        self._names, self._kept = {}, []

    def _put_on(self, loaded: Loaded, adapter: str) -> None:
        import torch
        from peft.tuners.tuners_utils import BaseTunerLayer
        from safetensors import SafetensorError

        try:
            if adapter not in self._names:
                name, device = f"a{len(self._names)}", str(loaded.model.device)
                with progress.quiet_transformers():
                    self._tuned = put_on(loaded.model, adapter, name, tuned=self._tuned, torch_device=device)
                self._names[adapter] = name
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as problem:
            self.close()  # half of the adapter is in the layers: the base would answer with it
            raise ModelUnavailable(
                f"cannot put adapter {adapter} on {self.checkpoint.model}: {first_line(problem)}"
            ) from problem
        self._tuned.set_adapter(self._names[adapter])
        tuner = self._tuned.base_model
        if hasattr(tuner, "enable_adapter_layers"):
            tuner.enable_adapter_layers()
        self._tuned.eval()
        self._on = adapter
        # Merged answers are computed faster. In half precision merging would round the adapter away.
        if next(loaded.model.parameters()).dtype == torch.float32 and hasattr(tuner, "merge_adapter"):
            # Of wrappers (`modules_to_save`, single tokens) nothing is merged: they hand on what is asked of them.
            tuned: list[Any] = [one for one in tuner.modules() if isinstance(one, BaseTunerLayer)]
            layers = [one.get_base_layer() for one in tuned]
            self._kept = [(layer, layer.weight.detach().clone()) for layer in layers if hasattr(layer, "weight")]
            tuner.merge_adapter([self._names[adapter]])

    def _take_off(self) -> None:
        """Back to the base; what was merged is undone by copying, for subtracting again leaves rounding behind."""
        import torch

        if self._tuned is None or self._on is None:
            return
        tuner = self._tuned.base_model
        if self._kept:
            tuner.unmerge_adapter()
            with torch.no_grad():
                for layer, weight in self._kept:
                    layer.weight.copy_(weight)
            self._kept = []
        if hasattr(tuner, "disable_adapter_layers"):
            tuner.disable_adapter_layers()
        self._on = None


def number_format(checkpoint: Checkpoint) -> str:
    """`float32`, `bfloat16` or `float16`: what the weights are computed in; `auto` where only loading would tell."""
    if checkpoint.dtype != "auto":
        return checkpoint.dtype
    folder = Path(checkpoint.model).expanduser()
    try:
        settings: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        named = settings.get("dtype") or settings.get("torch_dtype")
        if isinstance(named, str):
            return named.removeprefix("torch.")
        with next(iter(sorted(folder.glob("*.safetensors")))).open("rb") as file:
            header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    except (OSError, ValueError, StopIteration):
        return "auto"
    formats = {_FORMATS.get(str(one.get("dtype")), "auto") for name, one in header.items() if name != "__metadata__"}
    return formats.pop() if len(formats) == 1 else "auto"
