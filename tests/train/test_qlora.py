"""Frozen weights in 4 bits: refusals everywhere, the training itself where bitsandbytes is (`pytest -m peers`)."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy_llava

from vlfeedback.errors import ConfigError
from vlfeedback.train import Lora, Recipe, run_key, train
from vlfeedback.train._weights import load_model
from vlfeedback.train.sigmoid import load as sigmoid

HERE = Path(__file__).resolve()


def test_all_weights_cannot_be_trained_in_four_bits(recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(ConfigError, match="needs adapters"):
        load_model(recipe(quantization="nf4", lora=None))


def test_a_missing_bitsandbytes_says_what_to_install(
    recipe: Callable[..., Recipe], colours: toy_llava.Colours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.utils.import_utils.is_bitsandbytes_available", lambda: False)
    settings = recipe(quantization="nf4", lora=Lora(r=4))
    with pytest.raises(ConfigError, match=r"pip install 'vlfeedback\[qlora\]'"):
        train(toy_llava.groups(colours, 2), settings, roots=colours, out=tmp_path, objective=sigmoid())


def test_quantization_makes_another_run(recipe: Callable[..., Recipe]) -> None:
    plain, packed = (run_key([], recipe(lora=Lora(), quantization=q), sigmoid()) for q in ("none", "nf4"))
    assert plain != packed


@pytest.mark.peers
def test_training_in_four_bits_has_the_gradient_of_the_unpacked_weights(tmp_path: Path) -> None:
    """bitsandbytes packs weights for inference on processors with AVX512-BF16, and gradients then stop there."""
    place = Path(os.environ.get("VLFEEDBACK_BITSANDBYTES", HERE.parents[2] / "build" / "bitsandbytes"))
    if importlib.util.find_spec("bitsandbytes") is None and not place.exists():
        order = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place), "bitsandbytes"]
        subprocess.run(order, check=True)
    path = os.pathsep.join([str(HERE.parent), str(HERE.parents[1]), str(place), os.environ.get("PYTHONPATH", "")])
    order = [sys.executable, str(HERE.parent / "four_bits.py"), str(tmp_path)]
    done = subprocess.run(order, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert len(found["packed"]) == 14, "seven linears in each of two layers"
    assert all("language_model.layers" in name for name in found["packed"])
    assert found["compared"] == 28
    assert found["relative_gradient_error"] < 1e-4
    assert (found["steps"], found["check"]["layout"]) == (4, "shared")
    assert found["margins"] > 0.1
    narrow = found["narrow"]  # packed weights stay packed while layouts are compared in fp32
    assert (narrow["layout"], narrow["layout_precision"]) == ("shared", "fp32")
    assert narrow["layout_differences"]["shared"] < 1e-5
    assert found["merged"] == ["model.safetensors"]
