"""`vlfeedback.api.trainer`: preference rows in memory, ten lines of Python, a trainer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import TrainerCallback

from vlfeedback import api, rows
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.train import GroupedDPOTrainer, Lora

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
    one, other = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("aligned", "again"))
    assert all(torch.equal(one[name], other[name]) for name in one)


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


def test_rows_that_cannot_be_used_are_said(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [{"prompt": "what ?", "chosen": 7, "rejected": "no"}, {**pairs(1)[0], "rejected": "a red circle"}]
    with pytest.raises(DataError, match="row 0: bad_record"):
        rows.grouped(bad[:1], tmp_path)
    with pytest.raises(DataError, match="there is no row"):
        rows.grouped([], tmp_path)
    api.trainer([*pairs(), *bad], model_path, out=tmp_path, **SMALL)
    told = capsys.readouterr().err
    assert "8 pairs of 4 groups" in told and "1 left out: bad_record" in told and "1 left out: identical" in told


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


def test_unknown_names_are_said(model_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="learning_rat"):
        api.trainer(pairs(), model_path, out=tmp_path, learning_rat=1)
    with pytest.raises(ConfigError, match="betta"):
        api.trainer(pairs(), model_path, out=tmp_path, loss={"use": "sigmoid", "betta": 1})
