"""A tiny model on disk, pictures and groups for the tests of training."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
# toy_llava.py here and tiny_models.py one folder up, under any import mode
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import toy_llava  # noqa: E402


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.set_num_threads(1)
    return toy_llava.write_model(tmp_path_factory.mktemp("toy") / "llava")


@pytest.fixture
def colours() -> toy_llava.Colours:
    return toy_llava.Colours()


@pytest.fixture
def processor(model_path: Path) -> Any:
    from vlfeedback.models._checkpoints import open_processor

    return open_processor(str(model_path), None)


@pytest.fixture
def model(model_path: Path) -> Any:
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(model_path).eval()


@pytest.fixture
def recipe(model_path: Path) -> Callable[..., Any]:
    """A recipe for the tiny model: fp32, full fine-tuning, one epoch; keywords change it."""
    from vlfeedback.train import Recipe

    def make(**changes: Any) -> Recipe:
        fields: dict[str, Any] = {
            "model": str(model_path), "epochs": 1, "learning_rate": 1e-3, "pairs_per_step": 6,
            "dtype": "fp32", "lora": None,
        }  # fmt: skip
        return Recipe(**{**fields, **changes})

    return make
