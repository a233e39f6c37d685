"""The stage: books, folders, resuming, controls, refusals."""

from __future__ import annotations

import importlib
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_llava
from safetensors.torch import load_file

from vlfeedback import flow
from vlfeedback.errors import ConfigError, DataError, ModelUnavailable
from vlfeedback.train import Lora, Recipe, TrainResult, _trainer, train
from vlfeedback.train._log import TrainLog, falling, read_log
from vlfeedback.train.anchored import load as anchored
from vlfeedback.train.best_response import load as best_response
from vlfeedback.train.sigmoid import load as sigmoid

Make = Callable[..., Recipe]
NAMES = (
    "loss", "learning_rate", "grad_norm", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies",
    "logps/chosen", "logps/rejected", "logratios/chosen", "logratios/rejected", "lengths/chosen", "pairs", "step",
    "epoch",
)  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next(iter(sorted(folder.glob("*.safetensors")))))


def same(left: Path, right: Path) -> bool:
    a, b = weights(left), weights(right)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_books_log_and_a_folder_that_loads(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    groups = [*toy_llava.groups(colours, 5), *toy_llava.groups(colours, 2, split="eval", first=5)]
    groups.append(toy_llava.group("what ?", [" ".join(["sky"] * 60), "no"], (2, 1)))
    out = tmp_path / "checkpoint"
    result = train(groups, recipe(epochs=2, max_length=60), roots=colours, out=out, objective=sigmoid())
    reasons = Counter(dropped.reason for dropped in result.dropped)
    assert reasons == {"held_out": 11, "too_long": 1}
    assert result.pairs == sum(len(group.pairs) for group in groups) == result.trained + 12
    assert result.trained == 15
    rows = read_log(out / "train_log.jsonl")
    trained = [row for row in rows if "loss" in row]
    assert [row["step"] for row in trained] == list(range(1, result.steps + 1))
    assert all(name in row for row in trained for name in NAMES)
    assert sum(row["pairs"] for row in trained) == 2 * 15
    evaluated = [row for row in rows if "eval_rewards/accuracies" in row]
    assert [row["epoch"] for row in evaluated] == [1.0, 2.0]
    assert evaluated[0]["eval_pairs"] == 11
    assert not any("loss" in row for row in evaluated)

    from transformers import AutoModelForImageTextToText, AutoProcessor

    AutoProcessor.from_pretrained(out)
    loaded = AutoModelForImageTextToText.from_pretrained(out)
    base = AutoModelForImageTextToText.from_pretrained(recipe().model)
    moved = [
        name
        for (name, a), (_, b) in zip(loaded.named_parameters(), base.named_parameters(), strict=True)
        if (a - b).any()
    ]
    assert moved
    assert not any("vision_tower" in name for name in moved)


def test_an_adapter_is_saved_and_loads_with_peft(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    out = tmp_path / "checkpoint"
    train(toy_llava.groups(colours, 4), recipe(lora=Lora(r=4)), roots=colours, out=out, objective=sigmoid())
    loaded = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(recipe().model), out)
    assert any(p.any() for name, p in loaded.named_parameters() if "lora_B" in name)


def test_preferences_are_learned(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    """On a toy preference (no over yes, on every picture) the margin on held-out pictures rises clearly."""
    pictures = [colours.picture((9 * n, 255 - 9 * n, 40)) for n in range(20)]
    groups = [
        toy_llava.group("is it red ?", ["yes", "no"], (1, 2), [image], split="eval" if n >= 16 else "train")
        for n, image in enumerate(pictures)
    ]
    settings = recipe(epochs=4, pairs_per_step=8, learning_rate=5e-3, warmup=0.0)
    result = train(groups, settings, roots=colours, out=tmp_path / "c", objective=sigmoid())
    assert result.metrics["eval_rewards/accuracies"] == 1.0
    assert result.metrics["eval_logratios/chosen"] - result.metrics["eval_logratios/rejected"] > 1.0
    assert result.metrics["loss"] < 0.6


def test_blind_training_sees_no_picture(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    """The same words on other pictures: blind runs are equal byte by byte, seeing runs are not."""
    made: dict[tuple[str, int], Path] = {}
    for image in ("blind", "seen"):
        for variant in (0, 100):
            groups = [
                toy_llava.group(
                    f"what ? {word}", ["yes", "no", "a dog"], (3, 1, 2), [colours.picture((20 * n, variant, 9))]
                )
                for n, word in enumerate(("red", "blue", "green"))
            ]
            out = made[image, variant] = tmp_path / f"{image}{variant}"
            train(groups, recipe(image=image), roots=colours, out=out, objective=sigmoid())
    assert same(made["blind", 0], made["blind", 100])
    assert not same(made["seen", 0], made["seen", 100])


def test_neither_batches_nor_budget_change_the_result(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    """Groups with 6, 5, 1, 0 and 3 pairs in one batch, or one batch each: the gradient is that of the pooled pairs."""
    groups = toy_llava.groups(colours, 10)
    results: list[TrainResult] = []
    for name, budget in (("one", 100_000), ("many", 1)):
        settings = recipe(pairs_per_step=10, tokens_per_batch=budget, learning_rate=1e-4)
        results.append(train(groups, settings, roots=colours, out=tmp_path / name, objective=anchored()))
    assert results[0].steps == results[1].steps == 3
    for name in ("loss", "grad_norm", "rewards/margins", "pairs"):
        assert results[0].metrics[name] == pytest.approx(results[1].metrics[name], rel=1e-4)
    one, many = weights(tmp_path / "one"), weights(tmp_path / "many")
    assert all(torch.allclose(one[name], many[name], atol=1e-6) for name in one)


def test_imitation_uses_tied_groups_and_counts_tokens(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    groups = toy_llava.groups(colours, 5)
    result = train(groups, recipe(epochs=3), roots=colours, out=tmp_path / "c", objective=best_response())
    assert result.groups == 5  # the tied one is among them
    assert result.trained == 15
    rows = read_log(tmp_path / "c" / "train_log.jsonl")
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_a_finished_run_is_returned_and_a_changed_one_is_not(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path
) -> None:
    groups, out = toy_llava.groups(colours, 4), tmp_path / "c"
    first = train(groups, recipe(epochs=3), roots=colours, out=out, objective=sigmoid())
    stamp = (out / "model.safetensors").stat().st_mtime_ns
    again = train(groups, recipe(epochs=3), roots=colours, out=out, objective=sigmoid())
    assert (out / "model.safetensors").stat().st_mtime_ns == stamp
    assert asdict(again) == asdict(first)
    other = train(groups, recipe(epochs=3), roots=colours, out=out, objective=sigmoid(beta=0.2))
    assert other.metrics["loss"] != first.metrics["loss"]
    fewer = train(groups[:3], recipe(epochs=3), roots=colours, out=out, objective=sigmoid(beta=0.2))
    assert fewer.groups == 3


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import toy_llava, torch
from transformers import TrainerCallback
from vlfeedback.train import Lora, Recipe, train, _trainer
from vlfeedback.train.{objective} import load
torch.set_num_threads(1)
step = _trainer._Watch.on_step_begin if hasattr(_trainer._Watch, "on_step_begin") else None
def on_step_begin(self, args, state, control, **kwargs):
    if state.global_step == {kill}:
        os.kill(os.getpid(), signal.SIGKILL)
_trainer._Watch.on_step_begin = on_step_begin
_trainer._SAVED = 10
colours = toy_llava.Colours()
groups = toy_llava.groups(colours, 10) + toy_llava.groups(colours, 2, split="eval", first=10)
recipe = Recipe(
    {model!r}, epochs=4, learning_rate=1e-3, pairs_per_step=6, dtype="fp32", lora={lora}, tokens_per_batch=300
)
train(groups, recipe, roots=colours, out=__import__("pathlib").Path({out!r}), objective=load())
"""


def test_a_run_of_one_step_trains(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    """The first step of a warm-up has rate 0."""
    settings = recipe(pairs_per_step=1000, warmup=0.1)
    result = train(toy_llava.groups(colours, 3), settings, roots=colours, out=tmp_path, objective=sigmoid())
    assert result.steps == 1
    before = weights(Path(settings.model))
    assert any(not torch.equal(value, before[name]) for name, value in weights(tmp_path).items())


@pytest.mark.parametrize(("lora", "objective"), [(None, "sigmoid"), (Lora(r=4, dropout=0.3), "mpo")])
def test_killed_and_resumed_gives_the_same_bytes(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, lora: Lora | None, objective: str
) -> None:
    """SIGKILL before step 8 of 20 with several batches a step: weights, optimiser, random state and log are equal.

    With `mpo` also the running mean of log-ratios that its loss depends on.
    """
    load = importlib.import_module(f"vlfeedback.train.{objective}").load
    groups = [*toy_llava.groups(colours, 10), *toy_llava.groups(colours, 2, split="eval", first=10)]
    settings = recipe(epochs=4, lora=lora, tokens_per_batch=300)
    straight = train(groups, settings, roots=colours, out=tmp_path / "straight", objective=load())
    assert straight.steps == 20
    code = KILLED.format(
        tests=str(Path(__file__).parent), kill=7, model=settings.model, lora=lora, out=str(tmp_path / "killed"),
        objective=objective,
    )  # fmt: skip
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == -9, process.stderr[-2000:]
    resumed = train(groups, settings, roots=colours, out=tmp_path / "killed", objective=load())
    assert resumed.resumed_from == 6
    assert same(tmp_path / "straight", tmp_path / "killed")
    states = [next((tmp_path / name / "state").glob("checkpoint-20")) for name in ("straight", "killed")]
    for name in ("optimizer.pt", "rng_state.pth", "scheduler.pt", "running_mean.json"):
        left, right = ((state / name).read_bytes() for state in states)
        assert left == right, name
    logs = [(tmp_path / name / "train_log.jsonl").read_text() for name in ("straight", "killed")]
    assert logs[0] == logs[1]


def test_processor_and_model_that_disagree_on_pictures_are_named(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path
) -> None:
    folder = toy_llava.write_model(tmp_path / "model")
    settings = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({**settings, "patch_size": 6}))
    groups = toy_llava.groups(colours, 3)
    with pytest.raises(ConfigError, match=rf"{groups[0].instruction.id} \(16\); the model says: .*patch_size"):
        train(groups, replace(recipe(), model=str(folder)), roots=colours, out=tmp_path / "c", objective=sigmoid())


def test_an_interrupt_saves_the_step_and_stops(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in step 5 of 20: no later step is made, and the next run starts at step 5 and ends with equal bytes."""
    groups, settings = toy_llava.groups(colours, 10), recipe(epochs=4, tokens_per_batch=300)
    train(groups, settings, roots=colours, out=tmp_path / "straight", objective=sigmoid())
    ended: list[int] = []
    plain: Any = _trainer._Watch.on_step_end

    def on_step_end(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        ended.append(state.global_step)
        if state.global_step == 5:
            signal.raise_signal(signal.SIGINT)
        plain(self, args, state, control, **kwargs)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(_trainer._Watch, "on_step_end", on_step_end)
        with flow.draining_on_interrupt(lambda text: None):
            train(groups, settings, roots=colours, out=tmp_path / "stopped", objective=sigmoid())
    assert ended == [1, 2, 3, 4, 5]
    resumed = train(groups, settings, roots=colours, out=tmp_path / "stopped", objective=sigmoid())
    assert resumed.resumed_from == 5
    assert same(tmp_path / "straight", tmp_path / "stopped")


def test_an_interrupt_before_the_first_step_computes_no_further(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path
) -> None:
    groups = toy_llava.groups(colours, 10)
    with pytest.raises(KeyboardInterrupt), flow.draining_on_interrupt(lambda text: None):
        signal.raise_signal(signal.SIGINT)
        train(groups, recipe(epochs=1), roots=colours, out=tmp_path / "c", objective=sigmoid())
    assert not (tmp_path / "c" / "reference.jsonl").exists()


def test_a_checkpoint_cut_off_by_the_kill_is_not_used(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    groups, out = toy_llava.groups(colours, 10), tmp_path / "c"
    train(groups, recipe(epochs=2), roots=colours, out=out, objective=sigmoid())
    note = json.loads((out / "train.json").read_text())
    (out / "train.json").write_text(json.dumps({"key": note["key"]}))
    newest = next((out / "state").glob("checkpoint-*"))
    (newest / "trainer_state.json").unlink()
    again = train(groups, recipe(epochs=2), roots=colours, out=out, objective=sigmoid())
    assert again.resumed_from == 0
    assert again.metrics == train(groups, recipe(epochs=2), roots=colours, out=out, objective=sigmoid()).metrics


class Broken:
    """An objective whose loss is not a number."""

    per = "pair"

    def __repr__(self) -> str:
        return "Broken()"

    def __call__(self, policy: Any, reference: Any, lengths: Any, preferences: Any) -> Any:
        out = sigmoid()(policy, reference, lengths, preferences)
        return replace(out, losses=out.losses * float("nan"))


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_groups(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path
) -> None:
    groups = toy_llava.groups(colours, 1)
    with pytest.raises(DataError, match="loss of step 1 is nan") as caught:
        train(groups, recipe(), roots=colours, out=tmp_path / "c", objective=Broken())
    assert groups[0].instruction.id in str(caught.value)
    assert all(pair.id in str(caught.value) for pair in groups[0].pairs)


def test_nothing_left_to_train_on_says_why(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    groups = toy_llava.groups(colours, 2, split="eval")
    with pytest.raises(DataError, match="11 held_out"):
        train(groups, recipe(), roots=colours, out=tmp_path / "c", objective=sigmoid())
    with pytest.raises(DataError, match="none came in"):
        train([], recipe(), roots=colours, out=tmp_path / "d", objective=sigmoid())


@pytest.mark.parametrize("own", [True, False])
def test_full_weights_keep_the_settings_that_they_came_with(
    recipe: Make, colours: toy_llava.Colours, model: Any, tmp_path: Path, own: bool
) -> None:
    model.config.text_config.use_cache = own
    model.save_pretrained(tmp_path / "model")
    for path in Path(recipe().model).iterdir():
        if not (tmp_path / "model" / path.name).exists():
            shutil.copyfile(path, tmp_path / "model" / path.name)
    settings = recipe(model=str(tmp_path / "model"))
    train(toy_llava.groups(colours, 2), settings, roots=colours, out=tmp_path / "out", objective=sigmoid())
    before, after = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("model", "out"))
    assert "use_cache" not in before and "use_cache" not in after
    assert before["text_config"]["use_cache"] == after["text_config"]["use_cache"] == own


def test_missing_models_and_wrong_layers_are_named(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    groups = toy_llava.groups(colours, 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelUnavailable, match="empty"):
        train(groups, recipe(model=str(tmp_path / "empty")), roots=colours, out=tmp_path / "c", objective=sigmoid())
    with pytest.raises(ConfigError, match=r"c_attn.*q_proj"):
        settings = recipe(lora=Lora(targets=("c_attn", "q_proj")))
        train(groups, settings, roots=colours, out=tmp_path / "d", objective=sigmoid())


def test_second_stage_starts_from_an_adapter_and_is_measured_against_it(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path
) -> None:
    groups = toy_llava.groups(colours, 5)
    settings = recipe(lora=Lora(r=4, dropout=0.5), epochs=3)
    train(groups, settings, roots=colours, out=tmp_path / "first", objective=sigmoid())
    again = recipe(lora=Lora(r=4, dropout=0.5), init=str(tmp_path / "first"))
    train(groups, again, roots=colours, out=tmp_path / "second", objective=sigmoid())
    check = json.loads((tmp_path / "second" / "selfcheck.json").read_text())
    assert check["largest"] < 1e-5  # neither side of the comparison had dropout on
    assert not same(tmp_path / "first", tmp_path / "second")
    with pytest.raises(ConfigError, match="only be trained on with"):
        train(groups, recipe(init=str(tmp_path / "first")), roots=colours, out=tmp_path / "x", objective=sigmoid())


def test_gradient_checkpointing_changes_no_number(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    groups = toy_llava.groups(colours, 5)
    for name, value in (("plain", False), ("saved", True)):
        settings = recipe(gradient_checkpointing=value, lora=Lora(r=4, dropout=0.2))
        train(groups, settings, roots=colours, out=tmp_path / name, objective=sigmoid())
    plain, saved = weights(tmp_path / "plain"), weights(tmp_path / "saved")
    assert all(torch.allclose(plain[name], saved[name], atol=1e-6) for name in plain)


def test_bf16_runs_and_stays_near(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> None:
    groups = toy_llava.groups(colours, 5)
    for name, changes in (("full", {"lora": None}), ("lora", {"lora": Lora(r=4)})):
        result = train(groups, recipe(dtype="bf16", **changes), roots=colours, out=tmp_path / name, objective=sigmoid())
        first = read_log(tmp_path / name / "train_log.jsonl")[0]
        assert first["loss"] == pytest.approx(0.693, abs=0.02)
        assert result.steps > 0


def test_both_sides_falling_is_warned_of_once() -> None:
    row = {"logratios/chosen": -3.0, "logratios/rejected": -6.0, "lengths/chosen": 20.0}
    assert falling({**row, "lengths/chosen": 2.0, "logratios/chosen": -0.9}) is None
    assert "fall together" in (falling(row) or "")
    assert falling({**row, "logratios/chosen": -1.0}) is None
    assert falling({**row, "logratios/rejected": 1.0}) is None
    assert falling({}) is None


def test_the_log_forgets_steps_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "train_log.jsonl"
    log = TrainLog(path, after=0)
    for step in (1, 2, 3):
        log.write({"step": step, "loss": 1.0})
    path.write_text(path.read_text() + '{"step": 4, "lo')
    assert [row["step"] for row in read_log(path)] == [1, 2, 3]
    TrainLog(path, after=2)
    assert [row["step"] for row in read_log(path)] == [1, 2]
