"""Trained again in the same folder: no weights of an earlier training are taken for those of the present one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_llava
from evaluate import copies
from in_process import command
from PIL import Image

from vlfeedback.commands.status import next_step
from vlfeedback.config import Settings, TrainSettings
from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.records import Group
from vlfeedback.run_folder import RunFolder
from vlfeedback.train import Lora, Recipe, _trainer, gap_weighted, run_key, sigmoid, train
from vlfeedback.train._note import is_finished, read_note
from vlfeedback.train.sigmoid import load

Make = Callable[..., Recipe]


class Killed(BaseException):
    """Stands for a SIGKILL: nobody catches it."""


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Call something whose training is killed after its third step."""

    def run(training: Callable[[], object]) -> None:
        plain: Any = _trainer._Watch.on_step_begin

        def on_step_begin(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                raise Killed
            plain(self, args, state, control, **kwargs)

        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(_trainer._Watch, "on_step_begin", on_step_begin)
            training()

    return run


def trained(out: Path, colours: toy_llava.Colours, recipe: Recipe) -> None:
    train(toy_llava.groups(colours, 8), recipe, roots=colours, out=out, objective=load())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_killed_retraining_leaves_no_weights_of_the_earlier_one_and_goes_on(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, killed: Callable[[Callable[[], object]], None]
) -> None:
    out, straight = tmp_path / "c", tmp_path / "straight"
    first, second = recipe(lora=Lora(r=4)), recipe(lora=Lora(r=4), epochs=3, learning_rate=1e-2)
    trained(out, colours, first)
    assert is_finished(out) and "adapter_model.safetensors" in names(out)
    (out / "mine.txt").write_text("notes of my own")
    killed(lambda: trained(out, colours, second))
    assert not is_finished(out)
    assert names(out) == {"mine.txt", "state", "train.json", "train_log.jsonl", "reference.jsonl", "selfcheck.json"}
    assert list((out / "state").glob("checkpoint-*")), "what it goes on from"
    trained(out, colours, second)
    trained(straight, colours, second)
    assert is_finished(out) and names(out) - {"mine.txt"} == names(straight)
    one, other = (folder / "adapter_model.safetensors" for folder in (out, straight))
    assert one.read_bytes() == other.read_bytes()


def test_the_weights_that_are_left_by_an_earlier_version_are_known_by_their_names(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, killed: Callable[[Callable[[], object]], None]
) -> None:
    out = tmp_path / "c"
    trained(out, colours, recipe(lora=Lora(r=4)))
    note = read_note(out)
    del note["files"]
    (out / "train.json").write_text(json.dumps(note))
    killed(lambda: trained(out, colours, recipe(lora=Lora(r=4), epochs=2)))
    assert not list(out.glob("adapter_*")) and not (out / "README.md").exists()


@pytest.mark.parametrize("model", ["nowhere", "state"])
def test_a_retraining_that_cannot_begin_leaves_what_is_there(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, model: str
) -> None:
    out = tmp_path / "c"
    trained(out, colours, recipe(lora=Lora(r=4)))
    before = names(out)
    with pytest.raises(ModelUnavailable if model == "nowhere" else ConfigError):
        trained(out, colours, recipe(lora=Lora(r=4), model=str(out / model)))
    assert is_finished(out) and names(out) == before


def test_a_training_does_not_start_from_what_it_removes(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path
) -> None:
    out = tmp_path / "c"
    trained(out, colours, recipe(lora=Lora(r=4)))
    with pytest.raises(ConfigError, match="would lose what it starts from"):
        trained(out, colours, recipe(lora=Lora(r=4), init=str(out)))
    assert is_finished(out)


class Foreign:
    """An objective of somebody else, which may read gaps."""

    per = "pair"

    def __repr__(self) -> str:
        return "Foreign()"


@pytest.mark.parametrize(("objective", "keys"), [(gap_weighted.load(), 3), (Foreign(), 3), (sigmoid.load(), 1)])
def test_other_margins_are_other_data_where_they_are_read(
    objective: Any, keys: int, recipe: Make, colours: toy_llava.Colours, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = toy_llava.groups(colours, 2)

    def with_margin(margin: float | None) -> list[Group]:
        return [replace(one, pairs=tuple(replace(pair, margin=margin) for pair in one.pairs)) for one in groups]

    assert len({run_key(with_margin(margin), recipe(), objective) for margin in (None, 0.5, 4.0)}) == keys
    assert run_key(with_margin(4), recipe(), objective) == run_key(with_margin(4.0), recipe(), objective)
    monkeypatch.setattr("vlfeedback.train.hash_id", lambda *parts: str(parts[1][0][3]))
    plain = [[pair.id, pair.weight] for pair in groups[0].pairs]
    assert run_key(with_margin(None), recipe(), objective) == str(plain)


def layer(folder: Path) -> torch.Tensor:
    """A weight of the language model as `from_pretrained` gives it, with its adapter if there is one."""
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(folder)
    parts = dict(model.get_decoder().layers[0].mlp.up_proj.named_parameters())
    return parts["weight"] if set(parts) == {"weight"} else torch.cat([one.flatten() for one in parts.values()])


def test_full_weights_after_an_adapter_load_as_they_were_trained(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out, straight = tmp_path / "run" / "checkpoint", tmp_path / "straight"
    trained(out, colours, recipe(lora=Lora(r=4)))
    trained(out, colours, recipe())
    trained(straight, colours, recipe())
    assert torch.equal(layer(out), layer(straight)) and names(out) == names(straight)
    assert command(monkeypatch, "export", "merged", tmp_path / "run", "--out", tmp_path / "merged") == 2
    assert "holds no adapter" in capsys.readouterr().err
    trained(out, colours, recipe(lora=Lora(r=4)))
    assert not (out / "model.safetensors").exists() and not (out / "config.json").exists()


def test_an_adapter_that_lies_beside_full_weights_makes_them_unfinished_and_training_mends_it(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path
) -> None:
    """An earlier version left both, with a note that says it has finished."""
    trained(tmp_path / "adapter", colours, recipe(lora=Lora(r=4)))
    out = tmp_path / "c"
    trained(out, colours, recipe())
    before = layer(out)
    for path in (tmp_path / "adapter").glob("adapter_*"):
        shutil.copy(path, out)
    assert not is_finished(out)
    trained(out, colours, recipe())
    assert is_finished(out) and torch.equal(layer(out), before)


def test_neither_status_nor_export_takes_a_training_that_was_killed_for_one_that_has_finished(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = RunFolder.create(tmp_path / "run", Settings(train=TrainSettings(model="m")))
    out = run.path / "checkpoint"
    trained(out, colours, recipe(lora=Lora(r=4)))
    note = read_note(out)
    (out / "train.json").write_text(
        json.dumps({"key": note["key"]})
    )  # weights of before, as earlier versions left them
    assert command(monkeypatch, "export", "merged", run.path, "--out", tmp_path / "merged") == 2
    assert "has not come to its end" in capsys.readouterr().err and not (tmp_path / "merged").exists()
    (out / "train.json").unlink()  # weights that were saved from Python have no note, and are what they are
    assert command(monkeypatch, "export", "merged", run.path, "--out", tmp_path / "merged") == 0


@pytest.fixture
def run(model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder that was trained by `vlfeedback train --data`, with a benchmark."""
    (tmp_path / "pictures").mkdir()
    rows: list[dict[str, object]] = []
    for number in range(4):
        Image.new("RGB", (24, 24), (50 * number, 9, 200)).save(tmp_path / "pictures" / f"{number}.png")
        rows.append({"prompt": "what ?", "chosen": "a red circle", "rejected": "no", "images": [f"{number}.png"]})
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    copies.pope(tmp_path / "pope", pictures=6)
    order = ["train", "--data", tmp_path / "pairs.jsonl", "--images", tmp_path / "pictures", "--model", model_path]
    order += ["--out", tmp_path / "run", "--set", "train.dtype=fp32", "--set", "train.epochs=1"]
    order += [
        "--set",
        f"images.pope={tmp_path / 'pope' / 'pictures'}",
        "--set",
        f"evaluate.pope.path={tmp_path / 'pope'}",
    ]
    assert command(monkeypatch, *order, "--set", "evaluate.pope.images=pope") == 0
    return tmp_path / "run"


def test_only_weights_of_the_present_data_and_settings_are_evaluated(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ("--set", "train.learning_rate=1e-2")
    assert next_step(run) == f"vlfeedback evaluate {run}"
    assert command(monkeypatch, "evaluate", run, *again) == 2
    assert "was made of other data or settings" in capsys.readouterr().err
    note = read_note(run / "checkpoint")
    (run / "checkpoint" / "train.json").write_text(json.dumps({"key": note["key"]}))
    assert next_step(run) == f"vlfeedback train {run}"
    assert command(monkeypatch, "evaluate", run) == 2
    assert "has no finished checkpoint: run `vlfeedback train" in capsys.readouterr().err
    assert command(monkeypatch, "train", run) == 0
    before = (run / "checkpoint" / "adapter_model.safetensors").read_bytes()
    # Another name, and another way of asking: the weights are the same, and nothing is trained for it.
    assert command(monkeypatch, "evaluate", run, "--set", "train.name=mine", "--set", "train.options.batch=3") == 0
    assert (run / "checkpoint" / "adapter_model.safetensors").read_bytes() == before


def test_a_setting_that_changes_no_weight_is_noted_without_another_training(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_note(run / "checkpoint")
    assert before["made_as"] and command(monkeypatch, "train", run, "--set", "pair.use=best_worst") == 0
    after = read_note(run / "checkpoint")
    assert after["made_as"] != before["made_as"] and {**after, "made_as": before["made_as"]} == before
