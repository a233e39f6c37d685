"""Judging reads the responses of a portion of instructions at a time, in whatever order they lie."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from vlfeedback import _collecting_streamed as streamed, config, groups, pipeline, tables
from vlfeedback.annotate import Answered
from vlfeedback.errors import BooksError
from vlfeedback.ids import hash_id
from vlfeedback.records import Instruction, Response
from vlfeedback.run_folder import RunFolder

COUNT, K, PORTION, PIECE = 60, 4, 8, 16
INSTRUCTIONS = [Instruction(hash_id("i", n), f"What is {n}?", (), "s") for n in range(COUNT)]
RESPONSES = [
    Response(hash_id("r", one.id, k), one.id, f"m{k}", f"answer {k}", "stop") for one in INSTRUCTIONS for k in range(K)
]


class Held:
    """Counts the responses that were read and not handed on yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read, self.given, self.most, self.pieces = 0, 0, 0, list[list[int]]()
        inner = tables.read

        def counted(path: Path, record: type[Any], **options: Any) -> Iterator[Any]:
            if record is Response:
                self.pieces.append(list(options["among"].pieces))
            for one in inner(path, record, **options):
                self.read += record is Response
                self.most = max(self.most, self.read - self.given)
                yield one

        monkeypatch.setattr(tables, "read", counted)

    def take(self, found: Iterator[Answered]) -> list[Answered]:
        taken: list[Answered] = []
        for one in found:
            self.given += len(one.responses)
            taken.append(one)
        return taken


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(streamed, "PORTION", PORTION)
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", PIECE)
    tables.write(tmp_path / "i.parquet", Instruction, INSTRUCTIONS, room="source")
    return tmp_path


@pytest.mark.parametrize("order", ["as written", "backwards", "shuffled"])
def test_what_is_held_does_not_grow_with_the_run(folder: Path, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(RESPONSES[: -3 * K])  # the last three instructions have no response
    if order == "backwards":
        rows.reverse()
    elif order == "shuffled":
        random.Random(0).shuffle(rows)
    tables.write(folder / "r.parquet", Response, rows, room="decode")
    done = {one.id for one in INSTRUCTIONS[10:30]}
    held = Held(monkeypatch)
    found = held.take(streamed.answered(folder / "i.parquet", folder / "r.parquet", done))
    left = [one for one in INSTRUCTIONS if one.id not in done]
    every = groups.join(left, [one for one in rows if one.instruction_id not in done])
    assert found == [Answered(one.instruction, one.responses) for one in every]
    assert held.most <= PORTION * K
    if order == "as written":
        assert all(later[0] >= earlier[-1] for earlier, later in pairwise(filter(None, held.pieces)))
        assert sum(map(len, held.pieces)) <= 1.5 * len(tables.pieces(folder / "r.parquet"))


def test_strangers_are_said_before_the_first_is_judged(folder: Path) -> None:
    stray = Response("f" * 32, hash_id("i", "elsewhere"), "m0", "x", "stop")
    tables.write(folder / "r.parquet", Response, [*RESPONSES, stray], room="decode")
    with pytest.raises(BooksError, match=f"responses of instruction {stray.instruction_id}, which is not"):
        next(streamed.answered(folder / "i.parquet", folder / "r.parquet", set()))


def test_nothing_is_left_where_all_is_done(folder: Path) -> None:
    tables.write(folder / "r.parquet", Response, RESPONSES, room="decode")
    assert not list(streamed.answered(folder / "i.parquet", folder / "r.parquet", {one.id for one in INSTRUCTIONS}))


def test_judging_again_reads_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.parse({"judge": [{"use": "scripted", "model": "judge", "replies": ["no"]}]}, "test")
    run = RunFolder.create(folder / "run", settings)
    tables.write(run.table("instructions"), Instruction, INSTRUCTIONS, room="exchange")
    tables.write(run.table("responses"), Response, RESPONSES, room="exchange")
    held = Held(monkeypatch)
    [done] = pipeline.run_rooms(run, "annotate", "annotate").rooms
    assert done.kept == COUNT
    assert (held.read, len(held.pieces)) == (COUNT * K, -(-COUNT // PORTION))
