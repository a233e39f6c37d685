"""`vlfeedback train --data`: from a preference file to a checkpoint in one command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
from in_process import command
from PIL import Image

from vlfeedback import pipeline, tables
from vlfeedback.commands.train import open_data
from vlfeedback.errors import ConfigError
from vlfeedback.records import Instruction
from vlfeedback.run_folder import RunFolder


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


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Nothing is trained; the run folders that would be."""
    seen: list[Path] = []

    def look(run: RunFolder, *rooms: str, **options: Any) -> NoReturn:
        seen.append(run.path)
        raise ConfigError("far enough")

    monkeypatch.setattr(pipeline, "run_rooms", look)
    return seen


def test_a_share_to_hold_out_holds_in_the_import(
    data: Path, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untrained: list[Path]
) -> None:
    order = ["train", "--data", data, "--images", tmp_path / "pictures", "--model", model_path, "--out"]
    for share, held in (("1.0", 5), ("0.0", 0)):
        assert command(monkeypatch, *order, tmp_path / share, "--set", f"eval_share={share}") == 2
        sides = [one.split for one in tables.read(tmp_path / share / "instructions.parquet", Instruction)]
        assert sides.count("eval") == held
    assert command(monkeypatch, *order, tmp_path / "wrong", "--set", "eval_share=2") == 2
    assert len(untrained) == 2 and not (tmp_path / "wrong").exists()


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


def test_a_dataset_of_the_hub_is_fetched_by_name(
    data: Path,
    model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    untrained: list[Path],
) -> None:
    """A cache as the hub's client leaves it; a session that tests may not have (no network) finds it there."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / "cache" / "datasets--own--pairs"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("a" * 40)
    rows = data.read_text().splitlines()
    (kept / "snapshots" / ("a" * 40) / "data").mkdir(parents=True)
    for name, some in (("train", rows[:6]), ("test", rows[6:])):
        (kept / "snapshots" / ("a" * 40) / "data" / f"{name}.jsonl").write_text("\n".join(some))
    order = ["train", "--images", tmp_path / "pictures", "--model", model_path, "--out", tmp_path / "out", "--data"]
    assert command(monkeypatch, *order, "own/pairs") == 2 and untrained == [tmp_path / "out"]
    assert "own/pairs, read as trl: 10 rows, 10 pairs of 5 prompts" in capsys.readouterr().err
    sides = [one.split for one in tables.read(tmp_path / "out" / "instructions.parquet", Instruction)]
    assert sides == ["train"] * 3 + ["eval"] * 2
    assert command(monkeypatch, *order, "own/pears") == 1
    told = capsys.readouterr().err
    assert "own/pears is no file or folder, and the dataset of that name on the hub could not be fetched" in told
    assert command(monkeypatch, *order, "own/pears.jsonl") == 2
    assert "own/pears.jsonl does not exist" in capsys.readouterr().err


def test_a_folder_of_weights_is_found_from_anywhere(
    data: Path, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy").symlink_to(model_path)
    monkeypatch.chdir(tmp_path)
    opened = open_data(data, model="toy", images=Path("pictures"), out=Path("out"), changes={"train.init": "toy"})
    kept = opened.run.settings.train
    assert (kept.model, kept.init) == (str(tmp_path / "toy"), str(tmp_path / "toy"))


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        (["train.loss.use=dpo"], 2, "DPO is 'sigmoid'"),
        (["train.loss.use=sigmoyd"], 2, "did you mean 'sigmoid'?"),
        (["train.loss.betta=1"], 2, "has no option 'betta'; did you mean 'beta'?"),
        (["train.loss.beta=nan"], 2, "beta must be positive, got nan"),
        (["train.model=none"], 1, "[train] model: none is no folder here, and the hub's model of that name cannot be"),
        (["train.model=./none"], 1, "[train] model: there is no folder /"),
        (["train.model=pictures"], 1, "pictures holds no config.json"),
        (["train.model=adapter"], 2, "adapter is an adapter: give its base as model"),
        (["train.report_to=nobody"], 2, "[train] report_to: nobody cannot be used here"),
        (["train.init=none"], 1, "[train] init: there is no folder none"),
    ],
)
def test_what_training_could_not_begin_with_is_said_before_the_import(
    data: Path,
    model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    order: list[object] = ["train", "--data", data, "--images", "pictures", "--model", model_path, "--out", "out"]
    assert command(monkeypatch, *order, *(word for change in changes for word in ("--set", change))) == code
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def launched(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line in two processes of torchrun."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "vlfeedback",
         *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip


def test_two_processes_train_a_run_folder_and_speak_once(
    data: Path, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    assert command(monkeypatch, "import", "trl", data, "--images", tmp_path / "pictures", "--out", run) == 0
    changes = [f"train.model={model_path}", "train.dtype=fp32", "train.epochs=1"]
    done = launched("train", run, *(word for change in changes for word in ("--set", change)), "--json")
    assert done.returncode == 0, done.stderr.partition("distributed/elastic")[0][-4000:]
    told = json.loads(done.stdout)
    assert [room["room"] for room in told["rooms"]] == ["train"] and told["rooms"][0]["kept"] > 0
    assert (run / "checkpoint" / "adapter_model.safetensors").exists()
    assert list((run / "checkpoint" / "state").glob("checkpoint-*/rng_state_1.pth"))
    assert tables.info(run / "dropped" / "train.parquet").rows == told["rooms"][0]["dropped"]


def test_two_processes_read_no_data(data: Path, model_path: Path, tmp_path: Path) -> None:
    refused = launched("train", "--data", data, "--model", model_path, "--out", tmp_path / "run")
    assert refused.returncode != 0 and not (tmp_path / "run").exists()
    assert refused.stderr.count("error: 2 processes were started, and the data can only be read by one") == 1
