"""`vlfeedback train --data`: from a preference file to a checkpoint in one command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import command
from PIL import Image

from vlfeedback import tables
from vlfeedback.records import Instruction


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five pictures with two pairs each, in TRL's format."""
    (tmp_path / "pictures").mkdir()
    rows: list[dict[str, object]] = []
    for number in range(5):
        Image.new("RGB", (24, 24), (50 * number, 9, 200)).save(tmp_path / "pictures" / f"{number}.png")
        for good, bad in (("a red circle", "no"), ("yes", "no")):
            rows.append({"prompt": "what is there ?", "chosen": good, "rejected": bad, "images": [f"{number}.png"]})
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_preference_file_becomes_a_checkpoint(
    data: Path, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    order: list[object] = ["train", "--data", data, "--images", tmp_path / "pictures", "--model", model_path]
    order += ["--out", out, "--set", "train.dtype=fp32", "--set", "train.epochs=1", "--set", "train.lora.r=4", "--json"]
    assert command(monkeypatch, *order) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rooms"] == [{**told["rooms"][0], "room": "train", "kept": 10}]
    assert len(list(tables.read(out / "instructions.parquet", Instruction))) == 5, "one prompt and picture is one group"
    assert json.loads((out / "checkpoint" / "selfcheck.json").read_text())["layout"] == "shared"
    assert (out / "checkpoint" / "adapter_model.safetensors").exists()
    card = (out / "checkpoint" / "README.md").read_text()
    assert "10 preference pairs of 5 instructions" in card and "More Information Needed" not in card
    assert str(tmp_path) not in card and str(model_path) not in card
    before = (out / "checkpoint" / "adapter_model.safetensors").read_bytes()
    assert command(monkeypatch, *order) == 0
    assert (out / "checkpoint" / "adapter_model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a run folder"),
        (["DIR", "--data", "x.jsonl"], "give a run folder"),
        (["--data", "x.jsonl"], "--model"),
        (["--data", "x.jsonl", "--model", "m"], "--out"),
        (["--data", "x.jsonl", "--model", "m", "--out", "o"], "does not exist"),
    ],
)
def test_what_is_missing_is_named(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, "train", *arguments) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
