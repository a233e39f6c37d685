"""Weights in and out: loading, what is trained and what is frozen, saving, and what a set of weights is called."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from vlfeedback import progress
from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.ids import hash_id
from vlfeedback.models._adapters import put_on
from vlfeedback.models._checkpoints import fingerprint, require_all
from vlfeedback.train._tokens import template

if TYPE_CHECKING:
    import torch

    from vlfeedback.train import Lora, Recipe

DAMAGED = (OSError, ValueError, RuntimeError, SafetensorError)
"""What libraries raise for weights that are not there, cut off, or of another shape than the model's."""


def load_model(recipe: Recipe) -> Any:
    """The weights that training starts from and that serve as reference: `model`, or `init` where given.

    Raises:
        ModelUnavailable: they are not there, not all there, or cannot be read; or the adapter is another model's.
        ConfigError: `model` is an adapter, or `init` and `lora` do not fit together.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    if is_adapter(recipe.model):
        raise ConfigError(f"{recipe.model} is an adapter: give its base as model and the adapter as init")
    adapter = recipe.init is not None and is_adapter(recipe.init)
    if adapter and recipe.lora is None:
        raise ConfigError(f"init {recipe.init} is an adapter and can only be trained on with [train.lora]")
    start = recipe.init if recipe.init is not None and not adapter else recipe.model
    if recipe.quantization != "none" and recipe.lora is None:
        raise ConfigError(
            "[train] quantization keeps frozen weights small: it needs adapters, so leave full = true out"
        )
    # Full fine-tuning keeps fp32 weights: at a rate of 1e-5 most updates would be lost in bf16.
    dtype = torch.bfloat16 if recipe.dtype == "bf16" and recipe.lora is not None else torch.float32
    packed = in_four_bits(start, dtype) if recipe.quantization == "nf4" else {}
    try:
        opened: Any = AutoModelForImageTextToText.from_pretrained(
            start, dtype=dtype, output_loading_info=True, **packed
        )
    except DAMAGED as error:
        raise ModelUnavailable(f"cannot load {start!r}: {error}") from error
    model, told = opened
    require_all(start, model, told["missing_keys"])
    for module in model.modules():
        # bitsandbytes packs 4-bit weights for inference on a processor; gradients do not pass through packed ones,
        # and a reference pass comes before every training.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if adapter:
        try:
            model = put_on(model, str(recipe.init), is_trainable=True)
        except DAMAGED as error:
            raise ModelUnavailable(f"cannot load the adapter {recipe.init!r} onto {start!r}: {error}") from error
    return model


def make_trainable(model: Any, recipe: Recipe) -> Any:
    """Choose what is trained: LoRA on the language model's linears, or all but the vision tower.

    The vision tower stays frozen in both, so that it is never differentiated.
    """
    from peft import LoraConfig, PeftModel, get_peft_model

    if recipe.lora is None:
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        for parameter in vision_tower(model).parameters():
            parameter.requires_grad_(False)
        return model
    if isinstance(model, PeftModel):
        return model
    config = LoraConfig(
        r=recipe.lora.r,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules=lora_targets(model, recipe.lora),
        bias="none",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def refuse_untrainable(model: Any, recipe: Recipe) -> None:
    """Look for what `make_trainable` will ask for, long before it is called.

    Raises:
        ConfigError: the language model has no such layers, or full fine-tuning finds no vision tower to freeze.
    """
    if recipe.lora is None:
        vision_tower(model)
    elif not hasattr(model, "peft_config"):
        lora_targets(model, recipe.lora)


def lora_targets(model: Any, lora: Lora) -> str:
    """A pattern of the language model's linear layers, restricted to `targets` where given.

    Raises:
        ConfigError: nothing matches; the message names what there is.
    """
    language = model.get_decoder()
    prefix = next(name for name, module in model.named_modules() if module is language)
    leaves = linears_of(model)
    chosen = leaves if lora.targets is None else [leaf for leaf in leaves if leaf in lora.targets]
    unknown = sorted(set(lora.targets or ()) - set(leaves))
    if unknown or not chosen:
        raise ConfigError(f"[train.lora] targets {unknown} are not in the language model, which has {leaves}")
    return rf"{re.escape(prefix)}\.(?:.*\.)?(?:{'|'.join(map(re.escape, chosen))})"


def linears_of(model: Any) -> list[str]:
    """Names of the language model's linear layers that an adapter can lie on, whether or not one does."""
    import torch

    linears = [
        (name.removesuffix(".base_layer").rpartition(".")[2], module)
        for name, module in model.get_decoder().named_modules()
        if isinstance(module, torch.nn.Linear) and "lora_" not in name
    ]
    return sorted({leaf for leaf, _ in linears} - {leaf for leaf, m in linears if not _adaptable(m)} - {"lm_head"})


# Share of a language model's weights without an adapter that is worth a word; routers and gates are far below it.
_BARE = 0.25


def unadapted(policy: Any, lora: Lora | None) -> tuple[str, ...]:
    """A warning where the default targets leave much of the language model without an adapter, else nothing.

    Experts are mostly one parameter for all of them and no linear layers: adapters then lie on the attention alone.
    Embeddings are not counted, and neither is the last layer.
    """
    import torch

    if lora is None or lora.targets is not None:
        return ()
    whole = bare = 0
    for name, module in policy.get_base_model().get_decoder().named_modules():
        if isinstance(module, torch.nn.Embedding) or "lora_" in name:
            continue
        size = sum(one.numel() for one in module.parameters(recurse=False) if one.dim() > 1)
        whole += size
        bare += 0 if name.endswith("base_layer") else size
    if bare <= _BARE * whole:
        return ()
    return (
        f"{bare / whole:.0%} of the language model's weights have no adapter (experts, as a rule): they stay as they "
        "are; [train] full = true trains them too",
    )


def _adaptable(linear: Any) -> bool:
    """Whether a linear layer gives what `torch.nn.Linear` gives: Llama 4's router is one by name, and gives two."""
    import torch

    own = type(linear).forward is torch.nn.Linear.forward
    return own or type(linear).__module__.partition(".")[0] == "bitsandbytes"


def in_four_bits(name: str, dtype: Any) -> dict[str, Any]:
    """Options of `from_pretrained` that keep the language model's linear layers as 4-bit NormalFloat.

    The vision tower, the projector and the last layer stay whole: they are small, and what they make is looked at by
    everything after them.

    Raises:
        ConfigError: bitsandbytes is not installed.
        ModelUnavailable: the model's settings cannot be read.
    Source:
        Dettmers et al. 2023 (arXiv:2305.14314): NF4 with doubly quantised scales.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, BitsAndBytesConfig
    from transformers.utils.import_utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise ConfigError("[train] quantization = 'nf4' needs bitsandbytes: pip install 'vlfeedback[qlora]'")
    try:
        settings: Any = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"cannot load {name!r}: {error}") from error
    with torch.device("meta"):
        shape: Any = AutoModelForImageTextToText.from_config(settings)
    inside = {id(module) for module in shape.get_decoder().modules()}
    linears = [(n, m) for n, m in shape.named_modules() if isinstance(m, torch.nn.Linear)]
    packed = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=[n for n, m in linears if id(m) not in inside],
    )
    return {"quantization_config": packed, "device_map": {"": device_here()}}


def device_here() -> torch.device:
    """The device of this process: its GPU, Apple's, or the processor."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def vision_tower(model: Any) -> Any:
    """The module that looks at pictures.

    Raises:
        ConfigError: the model has none that is known.
    """
    tower = model.get_encoder(modality="image")
    if tower is model or tower is getattr(model, "model", None):
        raise ConfigError(f"{type(model).__name__} has no vision tower that could be frozen: use [train.lora]")
    return tower


def save(model: Any, processor: Any, out: Path, weights: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write adapter or full weights, and the processor beside them, so that `from_pretrained` loads the folder.

    Args:
        weights: By name, where the model's own are spread over processes.
    """
    with progress.quiet_transformers():
        model.save_pretrained(str(out), **({} if weights is None else {"state_dict": weights}))
    save_processor(processor, out)


def save_processor(processor: Any, out: Path) -> None:
    """Write a processor, or its parts where it is only a pair of them."""
    parts = (processor,) if hasattr(processor, "save_pretrained") else (processor.tokenizer, processor.image_processor)
    for part in parts:
        part.save_pretrained(str(out))


def is_adapter(name: str | None) -> bool:
    """Whether a name is a folder in peft layout."""
    return name is not None and (Path(name) / "adapter_config.json").exists()


def origin(recipe: Recipe, model: Any, processor: Any) -> str:
    """Hash of everything beside token ids and pictures that decides the reference's log-probabilities."""
    pictures = getattr(processor, "image_processor", None)
    text = json.dumps(pictures.to_dict() if pictures is not None else {}, sort_keys=True, default=str)
    weights = [_named(name, model) for name in (recipe.model, recipe.init) if name is not None]
    full = recipe.lora is None
    packed = [] if recipe.quantization == "none" else [recipe.quantization]
    # 2: layouts are compared token by token; what an earlier version computed may be of one that was wrong.
    return hash_id("origin", 2, weights, recipe.dtype, full, recipe.image, text, template(processor), *packed)


def _named(name: str, model: Any) -> str:
    """What a set of weights is called: a hash of its files, or its revision on the hub."""
    folder = Path(name)
    return fingerprint(folder) if folder.is_dir() else f"{name}@{getattr(model.config, '_commit_hash', None)}"
