"""Weights of a local judge are given back when all is judged: what comes next may need the memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlfeedback import config, pipeline
from vlfeedback.models.scripted import ScriptedModel
from vlfeedback.run_folder import RunFolder


def test_a_local_judge_is_closed_after_its_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    monkeypatch.setattr(ScriptedModel, "close", lambda self: closed.append(self.identity), raising=False)
    rows = [json.dumps({"prompt": f"What does sign {number} say?"}) for number in range(3)]
    (tmp_path / "instructions.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "run.toml").write_text(
        f'[[source]]\nuse = "jsonl"\npath = "{tmp_path}/instructions.jsonl"\n\n'
        '[[pool]]\nuse = "scripted"\nmodel = "m"\n\n[decode]\nk = 1\n\n[[judge]]\nuse = "scripted"\nmodel = "judge"\n',
        encoding="utf-8",
    )
    run = RunFolder.create(tmp_path / "run", config.load(tmp_path / "run.toml"))
    pipeline.run_rooms(run, last="annotate")
    assert closed.count("scripted:judge") == 1
    assert run.table("annotations").exists()
