"""`vlfeedback.api.trainer`: preference rows in memory, ten lines of Python, a trainer."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch
from in_process import command
from PIL import Image
from safetensors.torch import load_file
from transformers import TrainerCallback

from vlfeedback import api, rows
from vlfeedback.errors import ConfigError, DataError, PluginError
from vlfeedback.recipes import asked_from_python
from vlfeedback.train import GroupedDPOTrainer, Lora, Recipe, train
from vlfeedback.train._note import is_begun, is_finished, read_note

SMALL: dict[str, Any] = {"epochs": 2, "dtype": "fp32", "pairs_per_step": 4, "learning_rate": 1e-3, "lora": Lora(r=4)}


def picture(number: int) -> Image.Image:
    return Image.new("RGB", (24, 24), (50 * number, 9, 200))


def pairs(count: int = 4) -> list[dict[str, Any]]:
    """Two pairs on each of some pictures."""
    return [
        {"prompt": "what is there ?", "chosen": good, "rejected": "no", "images": [picture(number)]}
        for number in range(count)
        for good in ("a red circle", "yes")
    ]


def test_an_objective_of_margins_says_that_there_are_none_before_a_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gap_weighted needs the distance .* of every pair, and 7 of 8 have none"):
        api.trainer([{**pairs()[0], "margin": 1.0}, *pairs()[1:]], tmp_path / "no", out=tmp_path, loss="gap_weighted")


def test_rows_in_memory_train_in_ten_lines(model_path: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen.append(state.global_step)

    trainer = api.trainer(pairs(), model_path, out=tmp_path, loss={"use": "sigmoid", "beta": 0.2}, **SMALL)
    assert isinstance(trainer, GroupedDPOTrainer)
    trainer.add_callback(Watch())
    trainer.train()
    trainer.save_model(str(tmp_path / "aligned"))
    assert seen == [1, 2, 3, 4]
    assert (tmp_path / "aligned" / "processor_config.json").exists()
    assert trainer.state.log_history[-1]["step"] == 4
    again = api.trainer(pairs(), model_path, out=tmp_path, loss={"use": "sigmoid", "beta": 0.2}, **SMALL)
    again.train(resume_from_checkpoint=True)
    again.save_model(str(tmp_path / "again"))
    assert "8 preference pairs of 4 instructions in 4 steps" in (tmp_path / "aligned" / "README.md").read_text()
    one, other = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("aligned", "again"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_ten_lines_of_the_readme_run(model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand, but for the model, on a Parquet file with pictures inside."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (block,) = (one for one in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "trainer(" in one)
    shown = io.BytesIO()
    picture(1).save(shown, "PNG")
    held = [{**row, "images": [{"bytes": shown.getvalue(), "path": "1.png"}]} for row in pairs(1)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(held), tmp_path / "pairs.parquet")
    monkeypatch.chdir(tmp_path)
    exec(block.replace("HuggingFaceTB/SmolVLM-Instruct", str(model_path)), {})
    assert (tmp_path / "runs" / "mine" / "aligned" / "adapter_model.safetensors").exists()


def test_weights_saved_where_the_trainer_was_made_are_a_finished_training(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    mine = api.trainer(pairs(), model_path, out=out, **SMALL)
    mine.save_model(str(out))
    assert is_begun(out), "no step is done yet"
    assert command(monkeypatch, "export", "merged", out, "--out", tmp_path / "early") == 2
    mine.train()
    mine.save_model(str(out / ".." / "mine"))
    assert is_finished(out) and "8 preference pairs of 4 instructions in 4 steps" in (out / "README.md").read_text()
    result = read_note(out)["result"]
    assert (result["pairs"], result["trained"], result["steps"], result["resumed_from"]) == (8, 8, 4, 0)
    assert "loss" in result["metrics"] and read_note(out)["settings"]["lora"]["r"] == 4
    assert command(monkeypatch, "export", "merged", out, "--out", tmp_path / "merged") == 0
    (out / "own.txt").write_text("mine")
    other = {**SMALL, "learning_rate": 1e-4}
    api.trainer(pairs(), model_path, out=out, **other)
    assert not (out / "adapter_model.safetensors").exists() and (out / "own.txt").exists()
    assert not (out / "README.md").exists() and is_begun(out)


def test_what_the_trainer_saved_is_the_training_that_the_stage_would_make(model_path: Path, tmp_path: Path) -> None:
    mine = api.trainer(pairs(), model_path, out=tmp_path, **SMALL)
    mine.train()
    mine.save_model(str(tmp_path))
    data = rows.grouped(pairs(), tmp_path / "images")
    recipe, objective, _ = asked_from_python(model_path, None, 0.0, SMALL)
    before = (tmp_path / "adapter_model.safetensors").stat().st_mtime_ns
    found = train(data.groups, recipe, roots=data.pictures, out=tmp_path, objective=objective)
    assert (found.pairs, found.steps, found.dropped) == (8, 4, ())
    assert (tmp_path / "adapter_model.safetensors").stat().st_mtime_ns == before


def test_rows_of_one_prompt_and_picture_are_one_group(tmp_path: Path) -> None:
    found = rows.grouped(pairs(), tmp_path)
    assert [len(group.pairs) for group in found.groups] == [2] * 4
    assert [len(group.responses) for group in found.groups] == [3] * 4
    picture_of = found.pictures.open(found.groups[0].instruction.images[0])
    assert Image.open(io.BytesIO(picture_of)).getpixel((0, 0)) == (0, 9, 200)


@pytest.mark.parametrize("kind", ["pil", "bytes", "path", "struct", "single"])
def test_pictures_come_in_every_form(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    picture(1).save(buffer, "PNG")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "1.png").write_bytes(buffer.getvalue())
    forms: dict[str, dict[str, Any]] = {
        "pil": {"images": [picture(1)]},
        "bytes": {"images": [buffer.getvalue()]},
        "path": {"images": [Path("1.png")]},
        "struct": {"images": [{"bytes": buffer.getvalue(), "path": None}]},
        "single": {"image": picture(1)},
    }
    row = {"prompt": "what ?", "chosen": "yes", "rejected": "no", **forms[kind]}
    found = rows.grouped([row], tmp_path / "kept", images=tmp_path / "own")
    data = found.pictures.open(found.groups[0].instruction.images[0])
    assert Image.open(io.BytesIO(data)).getpixel((0, 0)) == (50, 9, 200)


def gray(mode: str) -> Image.Image:
    """Black, middle and white in a mode of more than 8 bits."""
    shown = Image.new(mode, (3, 1))
    for x, value in enumerate((0, 32768, 65535)):
        shown.putpixel((x, 0), float(value) if mode == "F" else value)
    return shown


def kept(shown: Image.Image, tmp_path: Path) -> Image.Image:
    found = rows.grouped([{**pairs(1)[0], "images": [shown]}], tmp_path)
    return Image.open(io.BytesIO(found.pictures.open(found.groups[0].instruction.images[0])))


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_pictures_of_many_grays_keep_them(tmp_path: Path, mode: str) -> None:
    """`convert("RGB")` cuts all above 255 off: nearly everything was white."""
    found = kept(gray(mode), tmp_path)
    assert [found.getpixel((x, 0)) for x in range(3)] == [0, pytest.approx(128, abs=1), 255]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB"])
def test_pictures_of_every_mode_are_taken(tmp_path: Path, mode: str) -> None:
    white = Image.new("RGBA" if "a" in mode.lower()[-1] else "RGB", (4, 3), "white")
    shown = white.convert("LA").convert("La") if mode == "La" else white.convert(mode)
    found = kept(shown, tmp_path).convert("RGB")
    assert found.size == (4, 3) and min(found.getpixel((1, 1))) > 250  # type: ignore[type-var]


def test_pictures_are_turned_as_their_file_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise brings it upright
    buffer = io.BytesIO()
    half = Image.new("RGB", (16, 8), "black")
    half.paste("white", (0, 0, 8, 8))
    half.save(buffer, "JPEG", exif=exif, quality=95)
    shown = Image.open(io.BytesIO(buffer.getvalue()))
    found = kept(shown, tmp_path)
    assert found.size == (8, 16) and shown.size == (16, 8)
    assert found.getexif().get(0x0112, 1) == 1, "nobody turns it a second time"
    assert found.convert("L").getpixel((4, 2)) > 250 > 5 > found.convert("L").getpixel((4, 14))  # type: ignore[operator]


def test_pictures_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(buffer, "PNG")
    closed = Image.open(io.BytesIO(buffer.getvalue()))
    closed.close()
    broken = [Image.open(io.BytesIO(buffer.getvalue()[:900])), closed, Image.new("RGB", (0, 0))]
    found = rows.grouped([*pairs(), *({**pairs(1)[0], "images": [one]} for one in broken)], tmp_path)
    assert [(one.record_id, one.reason) for one in found.dropped] == [(f"row {n}", "bad_image") for n in (8, 9, 10)]
    assert len(found.groups) == 4


def test_rows_that_cannot_be_used_are_said(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad: list[Any] = [{"prompt": "what ?", "chosen": 7, "rejected": "no"}, {**pairs(1)[0], "rejected": "a red circle"}]
    with pytest.raises(DataError, match="row 0: bad_record"):
        rows.grouped(bad[:1], tmp_path)
    with pytest.raises(DataError, match="there is no row"):
        rows.grouped([], tmp_path)
    api.trainer([*pairs(), *bad, "no row"], model_path, out=tmp_path, **SMALL)
    told = capsys.readouterr().err
    assert "8 pairs of 4 groups" in told
    assert "2 left out: bad_record (first of them row 8: chosen and rejected must both be text or both be mess" in told
    assert "1 left out: identical (row 9: both sides of the preference are the same response)" in told


HALF = "a \ud800 red"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *((name, HALF) for name in ("prompt", "chosen", "rejected", "chosen_model", "rejected_model", "category")),
        ("prompt", [{"role": "user", "content": HALF}]),
        ("prompt", ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": HALF}]},)),
    ],
)
def test_half_a_character_drops_its_row_as_in_a_file(tmp_path: Path, column: str, value: Any) -> None:
    """Nothing could hash or store it: it ended in a UnicodeEncodeError."""
    found = rows.grouped([*pairs(), {**pairs(1)[0], column: value}, {**pairs(1)[0], "prompt": "😀 é ?"}], tmp_path)
    (dropped,) = found.dropped
    assert (dropped.record_id, dropped.reason) == ("row 8", "bad_record")
    assert dropped.detail == f"{column}: half of a surrogate pair, which is no character"
    assert len(found.groups) == 5, "whole characters beyond the first 65,536 are kept"


def test_numbers_of_numpy_are_margins(tmp_path: Path) -> None:
    given = [2.0, np.float32(2), np.float64(2), np.int64(2), np.uint8(2)]
    wrong = [np.float32("nan"), np.bool_(True), True, "2", np.array([2.0])]
    found = rows.grouped(
        ({**pairs(1)[0], "chosen": f"yes {n}", "margin": one} for n, one in enumerate(given)), tmp_path
    )
    assert [pair.margin for pair in found.groups[0].pairs] == [2.0] * 5
    with pytest.raises(DataError, match="row 0: bad_record margin must be a finite number"):
        rows.grouped(({**pairs(1)[0], "margin": one} for one in wrong), tmp_path)


def test_what_is_read_otherwise_than_it_stands_is_said(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [{"role": "user", "content": [{"type": "text", "text": "what is"}, {"type": "image"}]}]
    api.trainer([*pairs(), {**pairs()[0], "prompt": asked}], model_path, out=tmp_path, **SMALL)
    assert "1 rows with pictures amid or after the text: they are shown before it" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_said(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "own").mkdir()
    picture(1).save(tmp_path / "own" / "1.png")
    row = {"prompt": "what ?", "chosen": "yes", "rejected": "no", "images": ["1.png"]}
    with pytest.raises(DataError, match=r"out cannot be written \(.*Choose another folder"):
        api.trainer([row], model_path, out=tmp_path / "file" / "out", images=tmp_path / "own", **SMALL)


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"image": "blindd"}, "train.image: input should be 'seen' or 'blind'"),
    ({"quantization": "int8"}, "train.quantization: input should be 'none' or 'nf4'"),
    ({"dtype": "bfloat16"}, "train.dtype: input should be 'bf16' or 'fp32'"),
    ({"epochs": 1.5}, "train.epochs: input should be a valid integer"),
    ({"epochs": True}, "train.epochs: value error, must not be true or false"),
    ({"learning_rate": float("inf")}, "train.learning_rate: input should be a finite number"),
    ({"lora": {"rank": 8}}, "unknown key 'rank' in train.lora"),
    ({"lora": 8}, "lora is 8: give vlfeedback.train.Lora"),
    ({"lora": Lora(r=0)}, "train.lora.r: input should be greater than or equal to 1"),
    ({"lora": Lora(dropout=2)}, "train.lora.dropout: input should be less than 1"),
    ({"seed": None}, "train.seed: input should be a valid integer"),
    ({"seed": -1}, "train.seed: input should be greater than or equal to 0"),
    ({"max_length": None}, "train.max_length: input should be a valid integer"),
    ({"warmup": -1}, "train.warmup: input should be greater than or equal to 0"),
    ({"eval_share": 2}, "eval_share: input should be less than or equal to 1"),
    ({"full": True}, "there is no setting 'full'"),
    ({"loss": 7}, "loss is 7: give its name"),
    ({"loss": {"use": "sigmoid", "beta": -1}}, "beta must be positive"),
    ({"loss": "dpo"}, "there is no train plug-in 'dpo': DPO is 'sigmoid'"),
    ({"loss": {"use": "anchored", "beta": float("nan")}}, "beta must be positive, got nan"),
    ({"loss": "sigmoyd"}, "did you mean 'sigmoid'"),
    ({"model": None}, "model is None"),
    ({"rows": "data/pairs.parquet"}, "rows is a str, not the rows themselves"),
    ({"rows": {"prompt": ["a"], "chosen": ["b"]}}, "rows is a dict of 'prompt', 'chosen': give a list"),
    ({"rows": None}, "rows is None"),
)


@pytest.mark.parametrize(("given", "words"), WRONG)
def test_wrong_settings_and_rows_are_said_before_anything_is_read(
    tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    """The model's folder is not there: whoever looks for it has not looked at the settings first."""
    order: dict[str, Any] = {"rows": [], "model": tmp_path / "none", "out": tmp_path / "out", **given}
    with pytest.raises((ConfigError, PluginError)) as told:
        api.trainer(order.pop("rows"), order.pop("model"), **order)
    assert words in str(told.value)
    assert not (tmp_path / "out").exists()


def test_what_is_plainly_meant_is_taken() -> None:
    given = {"learning_rate": "1e-5", "epochs": "1", "report_to": "tensorboard", "init": Path("start")}
    recipe, objective, _ = asked_from_python(
        Path("m"), "sigmoid", 0.0, {**given, "lora": {"r": 8, "targets": "q_proj"}}
    )
    assert recipe == Recipe(
        "m", learning_rate=1e-5, epochs=1, report_to=("tensorboard",), init="start", lora=Lora(8, targets=("q_proj",))
    )
    assert repr(objective) == "Sigmoid(beta=0.1, per='pair')"
    for plain in ({}, {"report_to": "none"}, {"report_to": None}):
        assert asked_from_python("m", None, 0.0, plain).recipe == Recipe("m")
    lora = [asked_from_python("m", None, 0.0, {"lora": one}).recipe.lora for one in (Lora(), {}, True, None, False)]
    assert lora == [Lora(), Lora(), Lora(), None, None]


def test_unknown_names_are_said(model_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="learning_rat"):
        api.trainer(pairs(), model_path, out=tmp_path, learning_rat=1)
    with pytest.raises(ConfigError, match="betta"):
        api.trainer(pairs(), model_path, out=tmp_path, loss={"use": "sigmoid", "betta": 1})
