"""Trains in 4 bits and compares with the same weights unpacked; run by `test_qlora.py` where bitsandbytes is there."""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import toy_llava

from vlfeedback.train import Lora, Recipe, train
from vlfeedback.train._merge import merge
from vlfeedback.train._weights import load_model, make_trainable
from vlfeedback.train.sigmoid import load as sigmoid


def unpacked(model: Any) -> Any:
    """The same model with every 4-bit layer as plain numbers."""
    import bitsandbytes as bnb

    plain = deepcopy(model)
    for name, module in list(plain.named_modules()):
        if isinstance(module, bnb.nn.Linear4bit):
            weight = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            layer.weight = torch.nn.Parameter(weight.float(), requires_grad=False)
            plain.set_submodule(name, layer)
    return plain


def gradients(model: Any, recipe: Recipe) -> dict[str, torch.Tensor]:
    """Of the adapters, after a pass without gradient as the reference's is."""
    torch.manual_seed(0)
    policy = make_trainable(model, recipe)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    tokens = torch.arange(8, 24).reshape(1, -1)
    with torch.no_grad():
        policy.eval()(input_ids=tokens)
    policy.train()(input_ids=tokens, labels=tokens).loss.backward()
    return {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}


def main(folder: Path) -> dict[str, Any]:
    """What came of it, for the test to look at."""
    import bitsandbytes as bnb

    torch.set_num_threads(1)
    path = toy_llava.write_model(folder / "llava", width=128)
    recipe = Recipe(
        model=str(path), epochs=2, learning_rate=5e-3, pairs_per_step=6, dtype="fp32", warmup=0.0,
        lora=Lora(r=4, dropout=0.0), quantization="nf4",
    )  # fmt: skip
    model = load_model(recipe)
    packed = [name for name, module in model.named_modules() if isinstance(module, bnb.nn.Linear4bit)]
    here, there = gradients(deepcopy(model), recipe), gradients(unpacked(model), recipe)
    error = max(float((here[n] - there[n]).norm() / there[n].norm()) for n in there if "lora_A" in n or "lora_B" in n)
    colours = toy_llava.Colours()
    result = train(toy_llava.groups(colours, 5), recipe, roots=colours, out=folder / "out", objective=sigmoid())
    narrow = replace(recipe, dtype="bf16", epochs=1)
    train(toy_llava.groups(colours, 5), narrow, roots=colours, out=folder / "narrow", objective=sigmoid())
    (folder / "merged").mkdir()
    merge(folder / "out", folder / "merged")
    return {
        "packed": packed,
        "compared": len(there),
        "relative_gradient_error": error,
        "steps": result.steps,
        "margins": result.metrics["rewards/margins"],
        "check": json.loads((folder / "out" / "selfcheck.json").read_text()),
        "narrow": json.loads((folder / "narrow" / "selfcheck.json").read_text()),
        "merged": sorted(file.name for file in (folder / "merged").glob("*.safetensors")),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
