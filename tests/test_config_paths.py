"""Relative paths: those of a file are relative to it, those that are typed to the folder where they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from in_process import command

from vlfeedback import api, config
from vlfeedback.errors import ConfigError
from vlfeedback.ledger import Ledger
from vlfeedback.run_folder import RunFolder

TOML = """
[[source]]
use = "jsonl"
path = "instructions.jsonl"

[[pool]]
use = "scripted"
model = "a"

[[judge]]
use = "scripted"
model = "judge"

[decode]
k = 1
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with settings and instructions."""
    (tmp_path / "instructions.jsonl").write_text(json.dumps({"prompt": "Why?"}), encoding="utf-8")
    (tmp_path / "run.toml").write_text(TOML, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(ledger: Path) -> int:
    with Ledger.open(ledger, write=False) as opened:
        return sum(total.calls for total in opened.totals())


def test_a_ledger_that_was_typed_is_the_same_one_on_resume(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ("--set", "ledger.path=led.sqlite", "--to", "annotate")
    assert command(monkeypatch, "run", "run.toml", "--out", "out", *changes) == 0
    assert asked(home / "led.sqlite") == 2
    monkeypatch.chdir("out")
    assert command(monkeypatch, "run", home / "out", "--to", "annotate", "--set", "annotate.seed=1") == 0
    assert asked(home / "led.sqlite") == 3
    assert not list((home / "out").glob("*.sqlite"))


def test_from_python_as_well(home: Path) -> None:
    made = api.collect("run.toml", out="out", ledger__path="led.sqlite")
    assert made.ledger_path == RunFolder.open(made.path).ledger_path == home / "led.sqlite"


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("images.pics", "img2", "img2"),
        ("prices.path", "p2.toml", "p2.toml"),
        ("source.0.path", "other.jsonl", "other.jsonl"),
        ("evaluate.mmhal.path", "mmhal", "mmhal"),
        ("pool.0.model", "./tiny", "tiny"),
        ("upper", [{"use": "vllm", "model": "weights/tiny"}], "weights/tiny"),
        ("judge.0.adapter", "../adapter", "../adapter"),
        ("train.data", ["runs/a"], "runs/a"),
        ("train.init", "weights/tiny", "weights/tiny"),
    ],
)
def test_a_path_that_is_typed_is_of_the_current_folder(home: Path, key: str, value: Any, wanted: str) -> None:
    (home / "weights" / "tiny").mkdir(parents=True)
    models = {"use": "transformers", "model": "hub/name"}
    settings = config.parse({"source": [{"use": "jsonl"}], "pool": [models], "judge": [models]}, "test")
    changed = config.changed(settings, {key: value})
    assert str(home / wanted) in config.to_toml(changed)
    (home / "run").mkdir()
    (home / "run" / "run.toml").write_text(config.to_toml(changed), encoding="utf-8")
    assert config.load(home / "run" / "run.toml") == changed


def test_models_of_a_file_are_beside_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "models" / "tiny").mkdir(parents=True)
    text = 'use = "transformers"\nmodel = "{}"\n'
    names = {"pool": "./models/tiny", "judge": "models/tiny", "upper": "hub/name"}
    (home / "run.toml").write_text(
        "".join(f"[[{section}]]\n{text.format(name)}" for section, name in names.items())
        + "[[pool]]\nuse = 'openai'\nmodel = 'models/tiny'\n"
        + f"[evaluate.mmhal.judge]\n{text.format('../elsewhere')}"
        + "[[control]]\nname = 'c'\nset = { 'train.model' = './models/tiny', 'train.epochs' = 1 }\n",
        encoding="utf-8",
    )
    monkeypatch.chdir("/")
    found = config.load(home / "run.toml")
    tiny = str(home / "models" / "tiny")
    assert [one.options["model"] for one in (*found.pool, *found.judge, *found.upper)] == [
        tiny, "models/tiny", tiny, "hub/name"
    ]  # fmt: skip
    graded = found.evaluate["mmhal"].judge
    assert graded is not None
    assert Path(graded.options["model"]).resolve() == home.parent / "elsewhere"
    assert found.control[0].set == {"train.model": tiny, "train.epochs": 1}


@pytest.mark.parametrize("text", ["source = 3", "pool = [3]", "train = 'x'", "[source]\npath = 'a'", "control = 1"])
def test_what_is_no_table_is_refused_in_words(home: Path, text: str) -> None:
    (home / "run.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        config.load(home / "run.toml")


@pytest.mark.parametrize("key", ["title.x", "title.x.y", "decode.k.x", "limit.x"])
def test_a_value_has_no_keys(key: str) -> None:
    with pytest.raises(ConfigError):
        config.changed(config.Settings(), {key: 1})
