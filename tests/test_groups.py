"""A run is joined a portion of instructions at a time: the same groups and pairs, whatever the order of its tables."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from vlfeedback import config, groups, pipeline, tables
from vlfeedback.errors import BooksError
from vlfeedback.ids import hash_id
from vlfeedback.pair import ASPECTS
from vlfeedback.records import Annotation, Group, Instruction, PreferencePair, Rating, Response
from vlfeedback.run_folder import RunFolder

COUNT, K, PORTION, PIECE = 40, 3, 8, 16
INSTRUCTIONS = [Instruction(hash_id("i", n), f"What is {n}?", (), "s") for n in range(COUNT)]
RESPONSES = [
    Response(hash_id("r", one.id, k), one.id, f"m{k}", f"answer {k} to {one.id}", "stop")
    for one in INSTRUCTIONS[:-2]
    for k in range(K)
]
ANNOTATIONS = [
    Annotation(
        hash_id("a", one.id, turn), one.id, "judge", "vlfeedback", None, "ok",
        tuple(
            Rating(hash_id("r", one.id, k), aspect, 1 + (n * 7 + k * 3 + turn) % 5, "because")
            for k in range(K) for aspect in ASPECTS
        ), hash_id("call", one.id, turn),
    )
    for n, one in enumerate(INSTRUCTIONS[:-4]) for turn in range(2)
]  # fmt: skip
PAIRS = [
    PreferencePair(hash_id("p", one.id), one.id, hash_id("r", one.id, 0), hash_id("r", one.id, 1), 1.0, "all_pairs")
    for one in INSTRUCTIONS[5:30]
]
ORDERS = ["as written", "backwards", "shuffled"]


def ordered(rows: Sequence[Any], order: str) -> list[Any]:
    found = list(rows)[:: -1 if order == "backwards" else 1]
    if order == "shuffled":
        random.Random(0).shuffle(found)
    return found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "PORTION", PORTION)
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", PIECE)


def written(folder: Path, order: str = "as written", pairing: str = "all_pairs", stray: object = None) -> RunFolder:
    """A run folder with all four tables, and a row of no instruction of the run."""
    run = RunFolder.create(folder / "run", config.parse({"pair": {"use": pairing}}, "test"))
    tables.write(run.table("instructions"), Instruction, INSTRUCTIONS, room="exchange")
    for record, rows in ((Response, RESPONSES), (Annotation, ANNOTATIONS), (PreferencePair, PAIRS)):
        name = {Response: "responses", Annotation: "annotations", PreferencePair: "pairs"}[record]
        more = [stray] if isinstance(stray, record) else []
        tables.write(run.table(name), record, [*ordered(rows, order), *more], room="exchange")
    return run


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("rationales", [True, False])
@pytest.mark.parametrize("order", ORDERS)
def test_portions_give_what_a_join_of_all_gives(tmp_path: Path, order: str, rationales: bool) -> None:
    run = written(tmp_path, order)
    rated = list(tables.read(run.table("annotations"), Annotation, columns=None if rationales else groups.SCORES_ONLY))
    found = list(groups.load(run.path, rationales=rationales))
    assert found == list(groups.join(INSTRUCTIONS, ordered(RESPONSES, order), rated, ordered(PAIRS, order)))
    assert {bool(one.rationale) for group in found for one in group.ratings} == {rationales}
    assert sum(len(group.pairs) for group in found) == len(PAIRS)


@pytest.mark.usefixtures("small")
def test_what_is_held_does_not_grow_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, held, pieces, inner = written(tmp_path), [0], list[Sequence[int]](), tables.read

    def counted(path: Path, record: type[Any], **options: Any) -> Iterator[Any]:
        if record is Annotation:
            pieces.append(options["among"].pieces)
        for one in inner(path, record, **options):
            held[-1] += record is not Instruction
            yield one

    monkeypatch.setattr(tables, "read", counted)
    for portion in groups.portions(run.path):
        assert len(portion.groups) == PORTION
        held.append(0)
    assert max(held) <= PORTION * (K + 2 + 1)
    assert sum(held) == len(RESPONSES) + len(ANNOTATIONS) + len(PAIRS)
    assert all(later[0] >= earlier[-1] for earlier, later in pairwise(filter(None, pieces)))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("stray", "what"),
    [
        (Response("f" * 32, hash_id("i", "else"), "m0", "x", "stop"), "responses"),
        (Annotation("f" * 32, hash_id("i", "else"), "j", "r", None, "ok", (), "c"), "ratings"),
        (PreferencePair("f" * 32, hash_id("i", "else"), "a", "b", None, "s"), "pairs"),
    ],
)
def test_what_belongs_to_no_instruction_is_said_before_the_first_group(
    tmp_path: Path, stray: object, what: str
) -> None:
    run = written(tmp_path, stray=stray)
    with pytest.raises(BooksError, match=f"there are {what} of instruction {hash_id('i', 'else')}, which is not"):
        next(groups.load(run.path))


def decided(run: RunFolder) -> list[PreferencePair]:
    run.table("pairs").unlink()
    pipeline.run_rooms(run, "pair", "pair")
    return list(tables.read(run.table("pairs"), PreferencePair))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("strategy", ["all_pairs", "strongest_as_best"])
def test_pairs_point_to_their_annotations_in_every_portion(
    tmp_path: Path, strategy: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decided(written(tmp_path / "whole", order, strategy))
    monkeypatch.setattr(groups, "PORTION", PORTION)
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", PIECE)
    found = decided(written(tmp_path / "parts", order, strategy))
    assert found == whole
    known = {one.id: {hash_id("a", one.id, turn) for turn in range(2)} for one in INSTRUCTIONS[:-4]}
    assert known.keys() <= {one.instruction_id for one in found}
    assert all(set(one.annotation_ids) == known.get(one.instruction_id, set()) for one in found)


@pytest.mark.usefixtures("small")
def test_another_strategy_pairs_the_same_groups_for_a_control(tmp_path: Path) -> None:
    run = written(tmp_path, "shuffled")
    plain: list[Group] = list(groups.load(run.path, rationales=False))
    again = list(pipeline.paired(run, run.settings.pair))
    assert [one.instruction.id for one in again] == [one.id for one in INSTRUCTIONS]
    assert [(one.responses, one.ratings) for one in again] == [(one.responses, one.ratings) for one in plain]
    assert [pair for one in again for pair in one.pairs] == decided(run)


def test_a_run_without_ratings_and_pairs_has_groups(tmp_path: Path) -> None:
    run = written(tmp_path)
    run.table("pairs").unlink()
    run.table("annotations").unlink()
    assert list(groups.load(run.path)) == list(groups.join(INSTRUCTIONS, RESPONSES))
