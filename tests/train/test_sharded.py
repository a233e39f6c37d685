"""Weights spread over two processes by the shipped settings of accelerate: the training of one process."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parents[1] / "configs" / "accelerate"
DEEPSPEED = Path(os.environ.get("VLFEEDBACK_DEEPSPEED", HERE.parents[1] / "build" / "deepspeed"))
NEEDED = ("deepspeed", "hjson", "py-cpuinfo", "einops", "msgpack", "ninja", "nvidia-ml-py", "psutil")


def environment(config: Path) -> dict[str, str]:
    """What `accelerate launch --config_file` would put into each process's environment."""
    import yaml
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    words = ["--config_file", str(config), "--num_processes", "2", "-m", "vlfeedback"]
    asked: Any = _validate_launch_command(launch_command_parser().parse_args(words))[0]
    if not asked.use_deepspeed:
        return prepare_multi_gpu_env(asked)
    fields = yaml.safe_load(config.read_text())["deepspeed_config"]
    asked.deepspeed_fields_from_accelerate_config = ",".join(fields)
    return prepare_deepspeed_cmd_env(asked)[1]


def trained(out: Path, model: Path, kind: str, config: Path | None = None, place: Path | None = None) -> str:
    path = os.pathsep.join([str(HERE), str(HERE.parent), str(place or HERE), os.environ.get("PYTHONPATH", "")])
    more = {} if config is None else environment(config)
    launch = [sys.executable]
    if config is not None:
        launch += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = [str(HERE / "sharded.py"), str(out), str(model), kind, "alone" if config is None else "spread"]
    done = subprocess.run(
        [*launch, *script], capture_output=True, text=True, timeout=300,
        env={**os.environ, **more, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu",
             "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    told = [line for line in done.stderr.splitlines() if "rank0" in line] or done.stderr.splitlines()
    assert done.returncode == 0, "\n".join(told)[-4000:]
    return "\n".join(line for line in done.stdout.splitlines() if line.startswith("trained"))


def weights(out: Path) -> dict[str, torch.Tensor]:
    (file,) = out.glob("*.safetensors")
    return load_file(file)


def furthest(one: Path, other: Path) -> float:
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)


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
    if not DEEPSPEED.exists():
        order = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run(
            [*order, "--target", str(DEEPSPEED), *NEEDED], check=True, env={**os.environ, "DS_BUILD_OPS": "0"}
        )
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    said = trained(alone, model_path, kind)
    sys.path.append(str(DEEPSPEED))  # accelerate looks for it before it makes the environment
    try:
        assert trained(spread, model_path, kind, CONFIGS / f"{stage}.yaml", DEEPSPEED) == "\n".join([said] * 2)
    finally:
        sys.path.remove(str(DEEPSPEED))
    assert list((spread / "state" / "checkpoint-4").glob("global_step*")), "DeepSpeed kept its state"
    assert furthest(alone, spread) < 1e-5
