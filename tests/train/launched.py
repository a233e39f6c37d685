"""Trainings in processes of their own, alone or spread over two processors as `accelerate launch` would spread them."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sharded
import torch
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parents[1] / "configs" / "accelerate"
_DEEPSPEED = Path(os.environ.get("VLFEEDBACK_DEEPSPEED", HERE.parents[1] / "build" / "deepspeed"))
_NEEDED = ("deepspeed", "hjson", "py-cpuinfo", "einops", "msgpack", "ninja", "nvidia-ml-py", "psutil")


@contextmanager
def deepspeed() -> Generator[Path]:
    """Where DeepSpeed lies, fetched if it is not there; accelerate looks for it before it makes the environment."""
    if not _DEEPSPEED.exists():
        order = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run(
            [*order, "--target", str(_DEEPSPEED), *_NEEDED], check=True, env={**os.environ, "DS_BUILD_OPS": "0"}
        )
    sys.path.append(str(_DEEPSPEED))
    try:
        yield _DEEPSPEED
    finally:
        sys.path.remove(str(_DEEPSPEED))


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


def trained(
    out: Path,
    model: Path,
    kind: str,
    config: Path | None = None,
    place: Path | None = None,
    *,
    processes: int = 0,
    **changes: Any,
) -> str:
    """Train as `sharded.py` does, alone here or in processes, and give back the lines that say what was trained.

    Args:
        config: Settings of accelerate that spread the weights; None leaves them whole.
        place: A folder of packages more.
        processes: How many train together; two by default where weights are spread, else one.
        changes: Of the recipe; `mixed` has every other group without a picture, `apart` shares no prompts.
    """
    count = processes or (1 if config is None else 2)
    if count == 1 and not changes.keys() & {"apart", "stopped_after"}:  # they change more than this training
        return sharded.trained(out, str(model), kind, changes)
    path = os.pathsep.join([str(HERE), str(HERE.parent), str(place or HERE), os.environ.get("PYTHONPATH", "")])
    more = {} if config is None else environment(config)
    launch = [sys.executable]
    if count > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    script = [str(HERE / "sharded.py"), str(out), str(model), kind, "alone" if config is None else "spread"]
    env = {**os.environ, **more, "PYTHONPATH": path, "DS_ACCELERATOR": "cpu"}
    code, said, complaints = ended([*launch, *script, json.dumps(changes)], env)
    told = [
        line for line in complaints.splitlines() if "rank0" in line and "terminate" not in complaints
    ] or complaints.splitlines()
    assert code == 0, "\n".join([said, *told])[-6000:]
    return "\n".join(line for line in said.splitlines() if line.startswith("trained"))


ABORTED = "terminate called without an active exception"
"""How torch ends a process now and then whose gloo threads outlive the interpreter, its work done (`_world._leave`)."""


def ended(order: list[str], env: dict[str, str], timeout: float = 120) -> tuple[int, str, str]:
    """Exit code and what was said by a command; one that aborted as above is called a second time."""
    env = {**env, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONFAULTHANDLER": "1"}
    for _ in range(2):
        process = subprocess.Popen(
            order, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=env
        )
        try:
            said, complaints = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # who waits for ever for another process is no child of this one
            raise
        if ABORTED not in complaints:
            break
        warnings.warn(f"a process was aborted at its end, and is called once more:\n{complaints[-4000:]}", stacklevel=2)
    return process.returncode, said, complaints


def outlived(out: Path) -> dict[str, int]:
    """Of each process that trained, by rank: how many threads of gloo were alive when it had left the others."""
    return {file.suffix[1:]: int(file.read_text()) for file in sorted(out.parent.glob(f"{out.name}_threads.*"))}


def weights(out: Path) -> dict[str, torch.Tensor]:
    (file,) = out.glob("*.safetensors")
    return load_file(file)


def furthest(one: Path, other: Path) -> float:
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)
