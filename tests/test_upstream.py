"""A room by itself reads no table of other settings: `run` would make it anew, so the room says which and stops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from vlfeedback import config, pipeline, tables
from vlfeedback.errors import StaleInput
from vlfeedback.ledger import Ledger
from vlfeedback.records import Response
from vlfeedback.run_folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Three instructions, two answers each, judged and paired."""
    rows = [json.dumps({"prompt": f"What does sign {number} say?"}) for number in range(3)]
    (tmp_path / "instructions.jsonl").write_text("\n".join(rows), encoding="utf-8")
    settings = config.parse(
        {
            "source": [{"use": "jsonl", "path": str(tmp_path / "instructions.jsonl")}],
            "pool": [{"use": "scripted", "model": name, "replies": [name]} for name in ("a", "b")],
            "decode": {"k": 2},
            "judge": [{"use": "scripted", "model": "judge"}],
        },
        "test",
    )
    opened = RunFolder.create(tmp_path / "run", settings)
    pipeline.run_rooms(opened, last="pair")
    return opened


def changed(run: RunFolder, **changes: Any) -> RunFolder:
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return RunFolder.create(run.path, config.changed(run.settings, dotted))


@pytest.mark.parametrize(
    ("room", "changes", "table"),
    [
        ("decode", {"eval_share": 0.5}, "instructions"),
        ("annotate", {"limit": 2}, "instructions"),
        ("annotate", {"decode__temperature": 0.1}, "responses"),
        ("annotate", {"pool__1__identity": "another"}, "responses"),
        ("pair", {"decode__max_tokens": 7}, "responses"),
        ("pair", {"judge__0__identity": "another"}, "annotations"),
        ("pair", {"annotate__orders": 2}, "annotations"),
        ("train", {"pair__use": "best_worst"}, "pairs"),
    ],
)
def test_a_table_of_other_settings_is_named_and_not_read(
    run: RunFolder, room: str, changes: dict[str, Any], table: str
) -> None:
    with Ledger.open(run.ledger_path, write=False) as ledger:
        before = ledger.totals()
    with pytest.raises(StaleInput, match=rf"{table}\.parquet is out of date.*--from \w+ --to {room}"):
        pipeline.run_rooms(changed(run, **changes), room, room)
    with Ledger.open(run.ledger_path, write=False) as ledger:
        assert ledger.totals() == before


def test_what_is_proposed_helps(run: RunFolder) -> None:
    other = changed(run, decode__temperature=0.1)
    with pytest.raises(StaleInput, match="--from decode --to annotate"):
        pipeline.run_rooms(other, "annotate", "annotate")
    pipeline.run_rooms(other, "decode", "annotate")
    done = pipeline.run_rooms(other, "annotate", "annotate")
    assert (done.calls_made, [room.reused for room in done.rooms]) == (0, [True])
    with pytest.raises(StaleInput, match=r"pairs\.parquet"):  # made of the annotations before
        pipeline.run_rooms(other, "train", "train")


@pytest.mark.parametrize(
    "changes",
    [{}, {"decode__in_flight": 3}, {"annotate__budget": 5.0}, {"annotate__partial": True}, {"train__epochs": 7}],
)
def test_what_changes_no_table_stops_nothing(run: RunFolder, changes: dict[str, Any]) -> None:
    other = changed(run, **changes)
    for room in ("decode", "annotate", "pair"):
        [done] = pipeline.run_rooms(other, room, room).rooms
        assert done.reused


def test_what_is_not_here_is_not_taken_for_changed(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    (run.path.parent / "instructions.jsonl").unlink()
    [done] = pipeline.run_rooms(run, "pair", "pair").rooms
    assert done.reused
    assert "instructions.parquet is taken as it is" in capsys.readouterr().err


def test_imported_responses_have_no_settings(run: RunFolder) -> None:
    responses = list(tables.read(run.table("responses"), Response))
    tables.write(run.table("responses"), Response, responses, room="exchange")
    shutil.rmtree(run.path / "dropped")
    done = pipeline.run_rooms(changed(run, decode__temperature=0.1), "annotate", "annotate")
    assert done.rooms[0].kept == 3
