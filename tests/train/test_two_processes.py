"""Two processes on this machine (gloo) train as one does: gradient, reference, log and weights."""

from __future__ import annotations

import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from launched import HERE, ended, furthest, outlived, trained as launched
from safetensors.torch import load_file

from vlfeedback.train._log import read_log

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import toy_llava, torch
from vlfeedback.train import Lora, Recipe, _trainer, train
from vlfeedback.train.{objective} import load

torch.set_num_threads(1)
out = Path(sys.argv[1])
plain = _trainer._Watch.on_pre_optimizer_step

def keep(self, args, state, control, **kwargs):
    if state.global_step == 0 and args.process_index == 0:
        found = {{name: one.grad.clone() for name, one in kwargs["model"].named_parameters() if one.grad is not None}}
        out.mkdir(parents=True, exist_ok=True)
        torch.save({{name.removeprefix("module."): one for name, one in found.items()}}, out / "gradient.pt")
    plain(self, args, state, control, **kwargs)

_trainer._Watch.on_pre_optimizer_step = keep
colours = toy_llava.Colours()
groups = toy_llava.groups(colours, 9) + toy_llava.groups(colours, 2, split="eval", first=9)
recipe = Recipe(
    {model!r}, epochs=2, learning_rate=1e-3, pairs_per_step=12, dtype="fp32", lora={lora}, tokens_per_batch=250,
    weight_decay=0.0,
)
result = train(groups, recipe, roots=colours, out=out / "checkpoint", objective=load())
sys.stdout.write(f"trained {{result.trained}} {{result.steps}}\\n")
sys.stdout.flush()
"""


ADAPTERS = "Lora(r=4, dropout=0.0)"


@cache
def trained(folder: Path, model: Path, processes: int, *, lora: str, objective: str) -> tuple[Path, str]:
    """Train once for all tests of this module; where that is, and what was said."""
    out = folder / f"{objective}-{lora != 'None'}-{processes}"
    script = out.with_suffix(".py")
    script.write_text(SCRIPT.format(tests=str(HERE), model=str(model), lora=lora, objective=objective))
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    code, said, complaints = ended([*launch, str(script), str(out)], dict(os.environ), timeout=300)
    assert code == 0, complaints.partition("distributed/elastic")[0][-4000:]
    return out, said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def straight(folder: Path, model_path: Path) -> Path:
    """A training by two processes that nothing disturbed."""
    launched(folder / "straight", model_path, "lora", processes=2)
    return folder / "straight"


def relative(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    left, right = (torch.cat([values[name].flatten() for name in sorted(values)]) for values in (one, other))
    return float((left - right).norm() / right.norm())


@pytest.mark.parametrize(
    ("lora", "objective"), [pytest.param("None", "mpo", marks=pytest.mark.slow), (ADAPTERS, "sigmoid")]
)
def test_two_processes_make_the_gradient_of_one(folder: Path, model_path: Path, lora: str, objective: str) -> None:
    """Groups with 6, 5, 1 and 0 pairs: the pooled pairs' gradient to 1e-5, and what comes of it in four steps."""
    alone, said = trained(folder, model_path, 1, lora=lora, objective=objective)
    both, said_by_both = trained(folder, model_path, 2, lora=lora, objective=objective)
    assert said_by_both == said * 2
    assert (both / "checkpoint" / "state" / "checkpoint-4" / "rng_state_1.pth").exists(), "they were one world"
    found = [torch.load(place / "gradient.pt") for place in (both, alone)]
    assert relative(*found) < 1e-5
    name = "adapter_model.safetensors" if lora != "None" else "model.safetensors"
    assert relative(*(load_file(place / "checkpoint" / name) for place in (both, alone))) < 1e-3
    logs: list[list[dict[str, Any]]] = [read_log(place / "checkpoint" / "train_log.jsonl") for place in (both, alone)]
    assert [row["step"] for row in logs[0]] == [row["step"] for row in logs[1]]
    for two, one in zip(*logs, strict=True):
        assert two.keys() == one.keys()
        if "loss" in one:
            assert two["loss"] == pytest.approx(one["loss"], abs=2e-4)
            assert two["pairs"] == one["pairs"]
            assert two["rewards/margins"] == pytest.approx(one["rewards/margins"], abs=2e-3)


def test_two_processes_share_the_reference_and_leave_one_file(folder: Path, model_path: Path) -> None:
    both, alone = (
        trained(folder, model_path, count, lora=ADAPTERS, objective="sigmoid")[0] / "checkpoint" for count in (2, 1)
    )
    kept = [
        {row["key"]: row["logp"] for row in map(json.loads, (place / "reference.jsonl").read_text().splitlines())}
        for place in (both, alone)
    ]
    assert kept[0].keys() == kept[1].keys() and len(kept[0]) > 20
    assert max(abs(kept[0][key] - kept[1][key]) for key in kept[0]) < 1e-4
    assert not list(both.glob("reference.*.jsonl"))
    lines = (both / "reference.jsonl").read_text().splitlines()
    assert len(lines) == len(kept[0]), "nothing was computed twice"


def test_a_signal_to_one_process_stops_both_after_the_same_step(
    tmp_path: Path, model_path: Path, straight: Path
) -> None:
    out = tmp_path / "stopped"
    said = launched(out, model_path, "lora", processes=2, stopped_after=2)
    assert said == "\n".join(["trained until it was stopped"] * 2)
    assert [one.name for one in (out / "state").iterdir()] == ["checkpoint-2"]
    assert not (out / "adapter_model.safetensors").exists()
    assert all(line.endswith(" 2") for line in launched(out, model_path, "lora", processes=2).splitlines())
    assert furthest(straight, out) == 0.0


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted as Linux lists them")
def test_no_thread_of_gloo_outlives_the_interpreter(straight: Path) -> None:
    """One that does may end a process that has done its work with SIGABRT."""
    assert outlived(straight) == {"0": 0, "1": 0}
