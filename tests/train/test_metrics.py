"""What is watched during training, worked by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_llava

from vlfeedback.errors import ConfigError
from vlfeedback.train import Recipe, train
from vlfeedback.train._log import read_log
from vlfeedback.train._metrics import RunningMean, correlation_terms, means_of
from vlfeedback.train.sigmoid import load

Make = Callable[..., Recipe]


def sums(**values: float) -> dict[str, torch.Tensor]:
    return {name.replace("__", "/"): torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def test_accuracies_by_gap_are_over_the_pairs_of_that_gap() -> None:
    found = means_of(
        sums(
            rewards__accuracies=6.0, pairs=8.0, rewards__accuracies__gap_0_1=1.0, pairs__gap_0_1=2.0,
            rewards__accuracies__gap_2_up=0.0, pairs__gap_2_up=0.0,
        )
    )  # fmt: skip
    assert found == {"rewards/accuracies": 0.75, "rewards/accuracies/gap_0_1": 0.5, "pairs": 8.0}


def test_the_length_correlation_is_pearsons() -> None:
    rewards, lengths = torch.tensor([0.1, -0.4, 0.9, 0.3]).double(), torch.tensor([3.0, -2.0, 8.0, 0.0]).double()
    terms = {name: value.sum() for name, value in correlation_terms(rewards, lengths).items()}
    expected = torch.corrcoef(torch.stack([rewards, lengths]))[0, 1].item()
    found = means_of({**terms, "pairs": torch.tensor(4.0)})
    assert found["rewards/length_correlation"] == pytest.approx(expected, abs=1e-12)
    flat = {name: value.sum() for name, value in correlation_terms(rewards, torch.ones(4).double()).items()}
    assert "rewards/length_correlation" not in means_of({**flat, "pairs": torch.tensor(4.0)})


def test_the_running_mean_moves_between_steps_only_and_is_saved() -> None:
    mean = RunningMean()
    assert mean.mean(0) == 0.0
    mean.add(4.0, 2, step=0)
    assert mean.mean(0) == 0.0, "a later batch of the same step sees what the first one saw"
    mean.add(2.0, 2, step=0)
    assert mean.mean(1) == 1.5
    mean.add(-6.0, 2, step=1)
    again = RunningMean(**json.loads(json.dumps(mean.to_json(2))))
    assert again.mean(2) == mean.mean(2) == 0.0
    assert again.to_json(2) == {"total": 0.0, "count": 6.0}


def test_a_run_logs_accuracies_by_gap_and_the_length_correlation(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path
) -> None:
    groups = [*toy_llava.groups(colours, 10), *toy_llava.groups(colours, 3, split="eval", first=10)]
    train(groups, recipe(pairs_per_step=12, epochs=2), roots=colours, out=tmp_path, objective=load())
    rows = read_log(tmp_path / "train_log.jsonl")
    steps = [row for row in rows if "loss" in row]
    assert "rewards/length_correlation" not in steps[0], "policy and reference are equal: nothing varies"
    for row in (steps[-1], next(row for row in rows if "eval_loss" in row)):
        prefix = "eval_" if "eval_loss" in row else ""
        assert not any("terms" in name for name in row)
        assert -1 <= row[f"{prefix}rewards/length_correlation"] <= 1
        assert {f"{prefix}rewards/accuracies/gap_1_2", f"{prefix}rewards/accuracies/gap_2_up"} <= row.keys()


def test_a_tracker_gets_every_logged_step(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import TrainerCallback, integrations

    from vlfeedback.train import _arguments

    told: list[dict[str, Any]] = []

    class Tracker(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            told.append(dict(logs))

    monkeypatch.setattr(_arguments, "get_available_reporting_integrations", lambda: ["mine"])
    monkeypatch.setitem(integrations.integration_utils.INTEGRATION_TO_CALLBACK, "mine", Tracker)
    monkeypatch.setattr(integrations.integration_utils, "get_available_reporting_integrations", lambda: ["mine"])
    groups = toy_llava.groups(colours, 5)
    train(groups, recipe(report_to=("mine",)), roots=colours, out=tmp_path, objective=load())
    rows = [row for row in read_log(tmp_path / "train_log.jsonl") if "loss" in row]
    assert [one["rewards/margins"] for one in told if "loss" in one] == [row["rewards/margins"] for row in rows]
    assert all(math.isfinite(one["rewards/margins"]) for one in told if "loss" in one)


def test_a_tracker_that_is_not_there_is_named(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="report_to: nobody cannot be used here"):
        train(
            toy_llava.groups(colours, 3), recipe(report_to=("nobody",)), roots=colours, out=tmp_path, objective=load()
        )


def test_who_watches_does_not_make_it_another_run(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    from vlfeedback.train import run_key

    groups = toy_llava.groups(colours, 2)
    assert run_key(groups, recipe(), load()) == run_key(groups, recipe(report_to=("wandb",)), load())
    assert run_key(groups, recipe(), load()) != run_key(groups, recipe(seed=1), load())
