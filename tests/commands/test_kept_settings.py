"""run.toml of a folder: what a command line changes is written when the command may work and is right."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from in_process import command

from vlfeedback import api, config
from vlfeedback.errors import ConfigError, RunLocked
from vlfeedback.ledger import Ledger
from vlfeedback.locks import claim
from vlfeedback.run_folder import RunFolder

MODEL = '[[{}]]\nuse = "scripted"\nmodel = "{}"\n'
TOML = f"""
[[source]]
use = "jsonl"
path = "instructions.jsonl"

{MODEL.format("pool", "a")}
{MODEL.format("pool", "b")}
{MODEL.format("judge", "judge")}
[decode]
k = 2
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [json.dumps({"prompt": f"Why {number}?"}) for number in range(3)]
    (tmp_path / "instructions.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "run.toml").write_text(TOML, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run."""
    assert command(monkeypatch, "run", "run.toml", "--out", "run", "--to", "pair") == 0
    return home / "run"


REFUSED = {
    "more answers than models": ("decode.k=9",),
    "an option that a model does not have": ("pool.0.modle=m9",),
    "an option that a judge does not have": ("judge.0.modle=m9",),
    "a value that a strategy cannot take": ("pair.use=margin", "pair.min=-1"),
    "an option that a strategy does not have": ("pair.nope=1",),
    "an option that an objective does not have": ("train.loss.nope=1",),
    "a rubric that is not there": ("annotate.rubric=nope",),
    "a source that is not there": ("source.0.path=nope.jsonl",),
    "a ledger below a file": ("ledger.path=run.toml/led.sqlite",),
    "a price table that is not there": ("prices.path=nope.toml",),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_not_written(run: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = (run / "run.toml").read_text(encoding="utf-8")
    changes = [word for one in REFUSED[name] for word in ("--set", one)]
    assert command(monkeypatch, "run", run, "--to", "pair", *changes) in (1, 2)
    assert (run / "run.toml").read_text(encoding="utf-8") == before
    assert command(monkeypatch, "run", run, "--to", "pair") == 0
    assert (run / "run.toml").read_text(encoding="utf-8") == before


@pytest.mark.parametrize("busy", ["run", "ledger"])
@pytest.mark.parametrize("target", ["run", "run.toml"])
@pytest.mark.parametrize("pilot", [False, True])
def test_a_command_that_must_wait_changes_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch, busy: str, target: str, pilot: bool
) -> None:
    before = (run / "run.toml").read_text(encoding="utf-8")
    words = ("plan", target, "--pilot", 1) if pilot else ("run", target, "--to", "pair")
    out = ("--out", "run") if target == "run.toml" else ()
    claim({"run": run / ".lock", "ledger": run / "ledger.sqlite.lock"}[busy], "it")
    assert command(monkeypatch, *words, *out, "--set", "decode.k=1", "--set", "title=new") == 1
    assert (run / "run.toml").read_text(encoding="utf-8") == before


def test_a_last_room_that_cannot_run_is_told_before_the_first_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command(monkeypatch, "run", "run.toml", "--out", "run", "--set", "pair.nope=1") == 2
    assert not (home / "run").exists()
    assert command(monkeypatch, "run", "run.toml", "--out", "run", "--set", "pair.nope=1", "--to", "decode") == 2
    assert not (home / "run").exists()


def test_what_is_right_is_written_and_told(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "run", run, "--to", "pair", "--set", "decode.temperature=0.1") == 0
    assert "changed: decode.temperature: 0.7 → 0.1" in capsys.readouterr().err
    assert config.load(run / "run.toml").decode.temperature == 0.1
    with Ledger.open(run / "ledger.sqlite", write=False) as ledger:
        assert sum(total.calls for total in ledger.totals() if total.purpose == "decode") == 12
    assert command(monkeypatch, "run", "run.toml", "--out", run, "--to", "pair") == 0
    assert "changed: decode.temperature: 0.1 → 0.7" in capsys.readouterr().err
    assert config.load(run / "run.toml").decode.temperature == 0.7


def test_a_room_that_refuses_a_table_of_other_settings_says_what_to_type(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "run.toml").read_text(encoding="utf-8")
    assert command(monkeypatch, "annotate", run, "--set", "decode.temperature=0.1") == 1
    assert "--to annotate` with the same --set" in capsys.readouterr().err
    assert (run / "run.toml").read_text(encoding="utf-8") == before


def test_the_same_from_python(run: Path) -> None:
    before = (run / "run.toml").read_text(encoding="utf-8")
    with pytest.raises(ConfigError):
        api.collect(run, decode__k=9)
    with pytest.raises(ConfigError):
        api.pair(run, nope=1)
    held = claim(run / ".lock", "it")
    with pytest.raises(RunLocked):
        api.pair(run, use="best_worst")
    assert (run / "run.toml").read_text(encoding="utf-8") == before
    os.close(held)
    made = api.pair(run, use="best_worst")
    assert made == RunFolder.open(run)
    assert made.settings.pair.use == "best_worst"


def test_settings_written_by_hand_are_not_overwritten(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = f"# why: …\n{TOML}"
    (home / "run.toml").write_text(mine, encoding="utf-8")
    assert command(monkeypatch, "run", "run.toml", "--out", ".", "--to", "pair") == 2
    assert "run.toml would be overwritten" in capsys.readouterr().err
    assert [one.name for one in home.iterdir() if one.name not in {"run.toml", "instructions.jsonl"}] == []
    assert (home / "run.toml").read_text(encoding="utf-8") == mine
    assert command(monkeypatch, "run", "run.toml", "--out", "run", "--to", "pair") == 0
    assert command(monkeypatch, "run", "run/run.toml", "--out", "run", "--to", "pair") == 0, "the run's own is its own"
