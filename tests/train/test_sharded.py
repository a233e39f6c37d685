"""Weights spread over two processes by the shipped settings of accelerate: the training of one process."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from launched import CONFIGS, deepspeed, furthest, trained


@pytest.mark.parametrize("kind", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_fsdp2_trains_as_one_process_does(tmp_path: Path, model_path: Path, kind: str) -> None:
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    said = trained(alone, model_path, kind)
    assert trained(spread, model_path, kind, CONFIGS / "fsdp2.yaml") == "\n".join([said] * 2)
    state = spread / "state" / "checkpoint-4"
    assert (state / "pytorch_model_fsdp.bin").exists(), "the weights were spread"
    assert furthest(alone, spread) < 1e-5
    if kind == "full":  # goes on from a saved state: from its last step, which leaves nothing but loading it
        kept = tmp_path / "kept"
        shutil.copytree(spread, kept)
        (kept / "train.json").write_text(json.dumps({"key": json.loads((spread / "train.json").read_text())["key"]}))
        (kept / "model.safetensors").unlink()
        assert trained(kept, model_path, kind, CONFIGS / "fsdp2.yaml").splitlines()[0] == said[:-1] + "4"
        assert furthest(spread, kept) == 0.0


@pytest.mark.peers
@pytest.mark.parametrize("stage", ["zero2", "zero3"])
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_deepspeed_trains_as_one_process_does(tmp_path: Path, model_path: Path, kind: str, stage: str) -> None:
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    said = trained(alone, model_path, kind)
    with deepspeed() as place:
        assert trained(spread, model_path, kind, CONFIGS / f"{stage}.yaml", place) == "\n".join([said] * 2)
    assert list((spread / "state" / "checkpoint-4").glob("global_step*")), "DeepSpeed kept its state"
    assert furthest(alone, spread) < 1e-5
