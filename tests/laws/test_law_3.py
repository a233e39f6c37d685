"""Law 3: nothing vanishes; a room that cannot balance its books writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlfeedback import config, groups, tables
from vlfeedback.config import Settings
from vlfeedback.errors import BooksError, DataError
from vlfeedback.ids import instruction_id, response_id
from vlfeedback.records import Annotation, Dropped, Instruction, PreferencePair, Rating, Response
from vlfeedback.run_folder import RunFolder, Sink

INSTRUCTION = Instruction(instruction_id("p", ()), "p", (), "test")
ONE = Response(response_id(INSTRUCTION.id, "m", None, "one"), INSTRUCTION.id, "m", "one", "stop")
TWO = Response(response_id(INSTRUCTION.id, "n", None, "two"), INSTRUCTION.id, "n", "two", "stop")


def test_law_3_books_that_do_not_balance_name_the_figures() -> None:
    tables.balance("decode", 10, responses=7, dropped=3)
    with pytest.raises(BooksError, match=r"decode: 10 came in, but 7 responses \+ 2 dropped = 9 went out"):
        tables.balance("decode", 10, responses=7, dropped=2)


def test_law_3_a_reason_outside_the_closed_list_is_refused() -> None:
    with pytest.raises(ValueError, match="closed list"):
        Dropped("decode", "x", "felt like it")  # type: ignore[arg-type]


def test_law_3_a_rating_of_a_strangers_response_is_refused() -> None:
    stray = Annotation("a", INSTRUCTION.id, "j", "r", None, "ok", (Rating("elsewhere", "Helpfulness", 3),), "k")
    with pytest.raises(BooksError, match="not its own"):
        list(groups.join([INSTRUCTION], [ONE], [stray]))


def test_law_3_a_response_without_its_instruction_is_refused() -> None:
    with pytest.raises(BooksError, match="not in the table of instructions"):
        list(groups.join([], [ONE]))


def test_law_3_a_pair_of_unknown_responses_is_refused() -> None:
    pair = PreferencePair("p", INSTRUCTION.id, ONE.id, "nobody", 1.0, "all_pairs")
    with pytest.raises(BooksError, match="not its own"):
        list(groups.join([INSTRUCTION], [ONE, TWO], [], [pair]))


def test_law_3_joins_are_by_id_and_never_by_position() -> None:
    other = Instruction(instruction_id("q", ()), "q", (), "test")
    theirs = Response(response_id(other.id, "m", None, "x"), other.id, "m", "x", "stop")
    mixed = list(groups.join([INSTRUCTION, other], [theirs, TWO, ONE]))
    assert [len(group.responses) for group in mixed] == [2, 1]
    assert {response.instruction_id for response in mixed[0].responses} == {INSTRUCTION.id}


def test_law_3_a_room_that_fails_writes_nothing_and_keeps_the_old_table(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", Settings())
    first: Sink[Response] = Sink(run, "responses", "decode")
    first.extend([ONE, Dropped("decode", "x", "call_failed", "why")])
    before = first.close("inputs")
    second: Sink[Response] = Sink(run, "responses", "decode")
    second.add(TWO)
    second.discard()
    assert run.info("responses") == before
    assert list(tables.read(run.dropped("decode"), Dropped)) == [Dropped("decode", "x", "call_failed", "why")]
    assert not [path for path in run.path.rglob("*") if path.name.endswith(".part")]


def test_law_3_a_room_with_calls_to_be_asked_again_is_not_taken_for_whole(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", Settings())
    for detail, whole in (
        ("openai:m: bad_request: status 400", True),
        ("bad_request: status 400", True),
        ("openai:m: timeout: no reply within 3 s", False),
        ("rate_limited: come back later", False),
    ):
        sink: Sink[Response] = Sink(run, "responses", "decode")
        sink.extend([ONE, Dropped("decode", "x", "call_failed", detail)])
        assert sink.close("inputs").complete is whole
        assert run.fresh("responses", "inputs") is whole


def test_law_3_an_interrupted_table_is_marked_and_never_taken_for_whole(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", Settings())
    sink: Sink[Response] = Sink(run, "responses", "decode")
    sink.add(ONE)
    sink.close("inputs", complete=False)
    assert not run.fresh("responses", "inputs")
    done: Sink[Response] = Sink(run, "responses", "decode")
    done.add(ONE)
    done.close("inputs")
    assert run.fresh("responses", "inputs")
    assert not run.fresh("responses", "other inputs"), "a stale table must be rebuilt"


def test_law_3_no_verdict_is_a_state_and_survives_the_disk(tmp_path: Path) -> None:
    none = Annotation("a", INSTRUCTION.id, "j", "r", (ONE.id,), "unparsed", (Rating(ONE.id, "Helpfulness", None),), "k")
    tables.write(tmp_path / "a.parquet", Annotation, [none], room="annotate")
    (back,) = tables.read(tmp_path / "a.parquet", Annotation)
    assert back == none and back.ratings[0].score is None


def test_law_3_a_damaged_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "responses.parquet"
    tables.write(path, Response, [ONE, TWO], room="decode")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"responses\.parquet is damaged"):
        list(tables.read(path, Response))


def test_law_3_the_digest_sees_rows_and_not_their_order(tmp_path: Path) -> None:
    def digest(rows: list[Response]) -> str:
        return tables.write(tmp_path / "t.parquet", Response, rows, room="decode").digest

    assert digest([ONE, TWO]) == digest([TWO, ONE])
    assert len({digest([ONE, TWO]), digest([ONE]), digest([ONE, ONE]), digest([])}) == 4


def test_law_3_settings_survive_the_way_through_the_run_folder(tmp_path: Path) -> None:
    settings = config.parse({"decode": {"k": 3}, "pool": [{"use": "openai", "model": "x"}], "control": []}, "test")
    RunFolder.create(tmp_path / "run", settings)
    assert RunFolder.open(tmp_path / "run").settings == settings
