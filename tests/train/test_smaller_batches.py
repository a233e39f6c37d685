"""After running out of memory a training goes on in smaller batches: its steps are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_llava
from safetensors.torch import load_file

from vlfeedback.train import Lora, Recipe, TrainResult, _run, _trainer, run_key, train
from vlfeedback.train._log import read_log
from vlfeedback.train.mpo import load as mpo
from vlfeedback.train.sigmoid import load as sigmoid

Make = Callable[..., Recipe]


class OutOfMemory(BaseException):
    """Stands for what ends a process in its third step."""


def fill_up(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
    if state.global_step == 2:
        raise OutOfMemory


def rows(folder: Path, name: str) -> list[float]:
    return [row[name] for row in read_log(folder / "train_log.jsonl") if "loss" in row]


@pytest.mark.parametrize(("lora", "objective"), [(Lora(r=4, dropout=0.0), mpo()), (None, sigmoid())])
@pytest.mark.parametrize(
    "smaller", [{"tokens_per_batch": 60}, {"gradient_checkpointing": True},
                {"tokens_per_batch": 60, "gradient_checkpointing": True}]
)  # fmt: skip
def test_a_training_goes_on_with_the_same_steps(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], lora: Lora | None, objective: Any, smaller: dict[str, Any],
) -> None:  # fmt: skip
    def run(name: str, settings: Recipe) -> TrainResult:
        return train(toy_llava.groups(colours, 10), settings, roots=colours, out=tmp_path / name, objective=objective)

    given = recipe(lora=lora, epochs=2, pairs_per_step=12, tokens_per_batch=4000)
    batches: list[int] = []
    plan: Any = _run.plan_run
    monkeypatch.setattr(_run, "plan_run", lambda *a, **b: batches.append((made := plan(*a, **b)).accumulation) or made)
    straight = run("straight", given)
    with monkeypatch.context() as patched, pytest.raises(OutOfMemory):
        patched.setattr(_trainer._Watch, "on_step_begin", fill_up)
        run("again", given)
    capsys.readouterr()
    assert batches == [1, 1]
    again = run("again", replace(given, **smaller))
    assert (again.resumed_from, again.steps) == (2, straight.steps) and "anew" not in capsys.readouterr().err
    assert (batches[-1] > 1) == ("tokens_per_batch" in smaller)
    assert rows(tmp_path / "again", "pairs") == rows(tmp_path / "straight", "pairs")
    assert rows(tmp_path / "again", "learning_rate") == rows(tmp_path / "straight", "learning_rate")
    assert rows(tmp_path / "again", "loss") == pytest.approx(rows(tmp_path / "straight", "loss"), abs=1e-5)
    one, other = (load_file(next((tmp_path / name).glob("*.safetensors"))) for name in ("straight", "again"))
    assert all(torch.allclose(one[name], other[name], atol=2e-5) for name in one)


def test_what_changes_no_step_is_in_no_key_and_what_changes_one_is(recipe: Make, colours: toy_llava.Colours) -> None:
    groups = toy_llava.groups(colours, 3)
    keys = [
        run_key(groups, recipe(**changes), sigmoid())
        for changes in ({}, {"tokens_per_batch": 9}, {"gradient_checkpointing": True}, {"pairs_per_step": 9})
    ]
    assert keys[0] == keys[1] == keys[2] != keys[3]
