"""Law 7: the report reads artefacts; no room calls it, and a run folder is enough to rebuild it."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest
from test_law_1 import ROOMS, SRC, imported, own

from vlfeedback import report, tables
from vlfeedback.config import Settings
from vlfeedback.ids import instruction_id, pair_id, response_id
from vlfeedback.records import Annotation, Instruction, PreferencePair, Rating, Response
from vlfeedback.run_folder import RunFolder

ASPECTS = ("Helpfulness", "Visual Faithfulness", "Ethical Considerations")


def test_law_7_no_room_imports_the_report() -> None:
    callers = [path.name for path in SRC.rglob("*.py") if own(path) in ROOMS and own(path) != "report"]
    assert len(callers) > 50
    assert [
        path.name
        for path in SRC.rglob("*.py")
        if own(path) in ROOMS and own(path) != "report" and "report" in imported(path)
    ] == []


def small_run(folder: Path) -> Path:
    """A run folder after pairing, made without any room."""
    run = RunFolder.create(folder, Settings(title="small"))
    instructions, responses, annotations, pairs = [], [], [], []
    for number in range(6):
        one = Instruction(instruction_id(f"What is {number}?", ()), f"What is {number}?", (), "list")
        mine = [
            Response(response_id(one.id, f"m{m}", None, f"answer {m}"), one.id, f"m{m}", f"answer {m}", "stop")
            for m in range(2)
        ]
        ratings = tuple(Rating(r.id, aspect, 2 + m) for m, r in enumerate(mine) for aspect in ASPECTS)
        instructions.append(one)
        responses += mine
        annotations.append(
            Annotation(f"a{number}", one.id, "judge", "r", tuple(r.id for r in mine), "ok", ratings, f"k{number}")
        )
        ids = mine[1].id, mine[0].id
        pairs.append(PreferencePair(pair_id(*ids, "all_pairs"), one.id, *ids, 1.0, "all_pairs"))
    tables.write(run.table("instructions"), Instruction, instructions, room="source")
    tables.write(run.table("responses"), Response, responses, room="decode")
    tables.write(run.table("annotations"), Annotation, annotations, room="annotate")
    tables.write(run.table("pairs"), PreferencePair, pairs, room="pair")
    return folder


def test_law_7_a_run_folder_is_enough_to_rebuild_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object) -> None:
        raise AssertionError("the report made a connection")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    run = small_run(tmp_path / "run")
    first = report.write(run).read_bytes()
    before = {path.name: path.read_bytes() for path in run.glob("*.parquet")}
    moved = tmp_path / "moved" / "run"
    shutil.copytree(run, moved)
    (moved / "report.html").unlink()
    shutil.rmtree(moved / "figures", ignore_errors=True)
    assert report.write(moved).read_bytes() == first
    assert {path.name: path.read_bytes() for path in moved.glob("*.parquet")} == before
