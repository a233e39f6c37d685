"""Weights spread over two processes by the shipped settings of accelerate: the training of one process."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from launched import CONFIGS, deepspeed, furthest, trained

from vlfeedback.train._log import read_log


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


@pytest.mark.parametrize("kind", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_fsdp2_in_16_bits_has_the_losses_of_one_process(tmp_path: Path, model_path: Path, kind: str) -> None:
    """Groups with and without pictures; measured, losses fall by 0.05 and more and differ by about 0.001."""
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    said = trained(alone, model_path, kind, dtype="bf16", mixed=True)
    assert trained(spread, model_path, kind, CONFIGS / "fsdp2.yaml", dtype="bf16", mixed=True) == "\n".join([said] * 2)
    one, two = ([row["loss"] for row in read_log(out / "train_log.jsonl") if "loss" in row] for out in (alone, spread))
    assert len(one) == 4 and one[-1] < one[0] - 0.04
    assert two == pytest.approx(one, abs=5e-3)
