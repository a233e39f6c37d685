"""Training that starts from an adapter: what it stands on is said, and is what it was made for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_llava

from vlfeedback import learning
from vlfeedback.config import Settings, TrainSettings
from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.images import Roots
from vlfeedback.models import transformers
from vlfeedback.records import Part, Request, Sampling
from vlfeedback.run_folder import RunFolder
from vlfeedback.train import Lora, Recipe, TrainResult, train
from vlfeedback.train._merge import merge
from vlfeedback.train.sigmoid import load as sigmoid

Make = Callable[..., Recipe]
Stage = Callable[..., TrainResult]


@pytest.fixture
def stage(recipe: Make, colours: toy_llava.Colours, tmp_path: Path) -> Stage:
    """A short training into a folder of some name."""

    def run(name: str, **changes: object) -> TrainResult:
        settings = recipe(**{"lora": Lora(r=2), **changes})
        return train(toy_llava.groups(colours, 2), settings, roots=colours, out=tmp_path / name, objective=sigmoid())

    return run


def rename_base(adapter: Path, name: str | None) -> str:
    path = adapter / "adapter_config.json"
    told = json.loads(path.read_text())
    before = told["base_model_name_or_path"]
    path.write_text(json.dumps({**told, "base_model_name_or_path": name}))
    return before


def base(adapter: Path) -> str:
    return json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]


def test_a_copy_of_the_adapters_base_is_its_base(stage: Stage, model_path: Path, tmp_path: Path) -> None:
    stage("first")
    shutil.copytree(model_path, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("a copy")
    result = stage("second", model=str(tmp_path / "copy"), init=str(tmp_path / "first"))
    assert base(tmp_path / "second") == str(model_path) and result.warnings == ()
    assert f"# {model_path.name}, aligned" in (tmp_path / "second" / "README.md").read_text()


def test_an_adapter_of_another_base_is_refused(stage: Stage, model_path: Path, tmp_path: Path) -> None:
    stage("first")
    other = toy_llava.write_model(tmp_path / "other", seed=1)
    with pytest.raises(ConfigError, match=r"was trained on .*llava, and \[train\] model is .*other"):
        stage("second", model=str(other), init=str(tmp_path / "first"))
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("name", ["org/base", "/gone/base"])
def test_a_base_that_is_not_here_is_named_and_warned_of(
    stage: Stage, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stage("first")
    rename_base(tmp_path / "first", name)
    capsys.readouterr()
    result = stage("second", init=str(tmp_path / "first"))
    assert base(tmp_path / "second") == name
    (warning,) = result.warnings
    assert f"names {name} as its base" in warning and warning in capsys.readouterr().err
    card = (tmp_path / "second" / "README.md").read_text()
    assert ('base_model: "org/base"' in card, "# org/base, aligned" in card) == (name == "org/base",) * 2
    assert "/gone" not in card


def test_an_adapter_that_names_no_base_stands_on_the_model(stage: Stage, model_path: Path, tmp_path: Path) -> None:
    stage("first")
    rename_base(tmp_path / "first", None)
    assert stage("second", init=str(tmp_path / "first")).warnings == ()
    assert base(tmp_path / "second") == str(model_path)


def test_an_adapter_on_weights_of_another_training_names_them(stage: Stage, recipe: Make, tmp_path: Path) -> None:
    shutil.copytree(recipe().model, tmp_path / "tuned")
    stage("second", init=str(tmp_path / "tuned"))
    assert base(tmp_path / "second") == str(tmp_path / "tuned")
    assert "# tuned, aligned" in (tmp_path / "second" / "README.md").read_text()


def test_an_adapter_on_weights_of_another_training_is_evaluated_on_them(
    stage: Stage, model_path: Path, tmp_path: Path
) -> None:
    """The base is [train] model, and the adapter means nothing on it."""
    tuned = toy_llava.write_model(tmp_path / "tuned", seed=1)
    stage("run/checkpoint", init=str(tuned))
    run = RunFolder.create(tmp_path / "run", Settings(train=TrainSettings(model=str(model_path), init=str(tuned))))
    roots = Roots({})
    base = transformers.load(model=str(model_path), roots=roots, dtype="float32", device="cpu")
    made = learning._load_trained(run, base, learning.Trained("n", "n@1", run.path / "checkpoint", ""))
    plain = transformers.load(model=str(tuned), roots=roots, dtype="float32", device="cpu")
    truth = plain.with_adapter(str(run.path / "checkpoint"), "truth")
    asked = [Request("", (Part(text=text),), Sampling(0.0, max_tokens=8)) for text in ("what ?", "is it red ?")]
    wrong, right, found = ([said.text for said in one.answer_all(asked)] for one in (base, truth, made))
    assert found == right != wrong and made.identity == "n@1"


@pytest.mark.parametrize(
    ("lora", "words"),
    [
        (Lora(r=16), "r = 2, and .* asks for r = 16: .* Leave r out"),
        (Lora(r=2, alpha=8, dropout=0.0), "alpha = 16, dropout = 0.05, and .* asks for alpha = 8, dropout = 0.0"),
        (Lora(r=2, targets=("q_proj",)), "targets = all linear layers .* asks for targets = q_proj"),
    ],
)
def test_settings_that_an_adapter_has_otherwise_are_refused(
    stage: Stage, tmp_path: Path, lora: Lora, words: str
) -> None:
    stage("first")
    with pytest.raises(ConfigError, match=f"first is an adapter with {words}"):
        stage("second", init=str(tmp_path / "first"), lora=lora)
    assert not (tmp_path / "second").exists()


def test_an_adapter_keeps_its_settings_and_card_and_note_have_them(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage("first", lora=Lora(r=2, targets=("v_proj", "q_proj")))
    capsys.readouterr()
    result = stage("second", init=str(tmp_path / "first"), lora=Lora())
    (warning,) = result.warnings
    assert "first is an adapter with r = 2, targets = q_proj and v_proj and is trained on so" in warning
    assert capsys.readouterr().err.count(warning) == 1
    told = json.loads((tmp_path / "second" / "adapter_config.json").read_text())
    note = json.loads((tmp_path / "second" / "train.json").read_text())["settings"]["lora"]
    card = (tmp_path / "second" / "README.md").read_text()
    assert told["r"] == note["r"] == 2 and note["targets"] == ["q_proj", "v_proj"]
    assert "A LoRA adapter of rank 2" in card and "| lora.r | 2 |" in card
    assert "| lora.targets | ('q_proj', 'v_proj') |" in card


def test_layers_in_another_order_and_all_of_them_by_name_are_the_same(stage: Stage, tmp_path: Path) -> None:
    everything = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    for name, first, second in (("all", None, everything), ("two", ("q_proj", "v_proj"), ("v_proj", "q_proj"))):
        stage(name, lora=Lora(r=2, targets=first))
        again = stage(f"{name} again", init=str(tmp_path / name), lora=Lora(r=2, targets=second))
        assert again.warnings == ()


def test_an_adapter_of_another_kind_is_refused(stage: Stage, model_path: Path, tmp_path: Path) -> None:
    from peft import IA3Config, get_peft_model
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(model_path)
    asked = IA3Config(target_modules=["k_proj", "v_proj"], feedforward_modules=[])
    get_peft_model(model, asked).save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigError, match="of kind IA3: only LoRA"):
        stage("second", init=str(tmp_path / "other"))


def without(folder: Path, file: str, part: str) -> None:
    """Leave some tensors out of a file."""
    from safetensors.torch import load_file, save_file

    kept = {name: tensor for name, tensor in load_file(folder / file).items() if part not in name}
    save_file(kept, folder / file, metadata={"format": "pt"})


def test_weights_that_are_in_no_file_are_not_made_up(stage: Stage, model_path: Path, tmp_path: Path) -> None:
    shutil.copytree(model_path, tmp_path / "half")
    without(tmp_path / "half", "model.safetensors", "model.layers.1.mlp")
    with pytest.raises(ModelUnavailable, match=r"3 of its weights are in none of its files, .*layers\.1\.mlp"):
        stage("first", model=str(tmp_path / "half"))


def test_an_adapter_with_a_hole_is_not_trained_on(stage: Stage, tmp_path: Path) -> None:
    stage("first")
    without(tmp_path / "first", "adapter_model.safetensors", "layers.1.mlp.up_proj")
    with pytest.raises(ModelUnavailable, match="made for another model: 2 of its weights are not in the file"):
        stage("second", init=str(tmp_path / "first"))
    with pytest.raises(ModelUnavailable, match="made for another model: 2 of its weights are not in the file"):
        merge(tmp_path / "first", tmp_path / "merged")


def test_a_base_with_a_hole_is_not_merged(stage: Stage, model_path: Path, tmp_path: Path) -> None:
    stage("first")
    shutil.copytree(model_path, tmp_path / "half")
    without(tmp_path / "half", "model.safetensors", "model.layers.1.mlp")
    rename_base(tmp_path / "first", str(tmp_path / "half"))
    with pytest.raises(ModelUnavailable, match="3 of its weights are in none of its files"):
        merge(tmp_path / "first", tmp_path / "merged")
