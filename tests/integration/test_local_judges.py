"""Local judges: their weights are given back when all is judged, and they know no provider's batches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlfeedback import config, pipeline
from vlfeedback.errors import ConfigError
from vlfeedback.models.scripted import ScriptedModel
from vlfeedback.run_folder import RunFolder


def run_of(tmp_path: Path, judge: str = "") -> RunFolder:
    rows = [json.dumps({"prompt": f"What does sign {number} say?"}) for number in range(3)]
    (tmp_path / "instructions.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "run.toml").write_text(
        f'[[source]]\nuse = "jsonl"\npath = "{tmp_path}/instructions.jsonl"\n\n'
        '[[pool]]\nuse = "scripted"\nmodel = "m"\n\n[decode]\nk = 1\n\n[[judge]]\nuse = "scripted"\n'
        f'model = "judge"\n{judge}',
        encoding="utf-8",
    )
    return RunFolder.create(tmp_path / "run", config.load(tmp_path / "run.toml"))


def test_a_local_judge_is_closed_after_its_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    monkeypatch.setattr(ScriptedModel, "close", lambda self: closed.append(self.identity), raising=False)
    run = run_of(tmp_path)
    pipeline.run_rooms(run, last="annotate")
    assert closed.count("scripted:judge") == 1
    assert run.table("annotations").exists()


def test_a_local_judge_is_asked_in_no_batches(tmp_path: Path) -> None:
    run = run_of(tmp_path, "batch = true\n")
    with pytest.raises(ConfigError, match="scripted:judge: batch = true is for endpoints"):
        pipeline.run_rooms(run, last="annotate")
    assert not run.table("responses").exists(), "it is said before the pool is asked"
