"""Finished parts of a table: taken over whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from vlfeedback import parts, run_folder, tables
from vlfeedback.config import Settings
from vlfeedback.errors import BooksError
from vlfeedback.ids import instruction_id, response_id
from vlfeedback.parts import Parts, Settled
from vlfeedback.records import Annotation, Dropped, Instruction, Response
from vlfeedback.run_folder import RunFolder, Sink, asked_again

STAMP = "0" * 32
TIMEOUT = "m: timeout: no reply within 3 s"

Found = tuple[Instruction, list[Response | Dropped]]


def settled(number: int, gone: str = "") -> Found:
    """An instruction with two responses, or with one and a dropped slot."""
    prompt = f"question {number}"
    one = Instruction(instruction_id(prompt, ()), prompt, (), "test")
    texts = [f"{text} to {number}" for text in ("yes", "no")]
    made: list[Response | Dropped] = [
        Response(response_id(one.id, "m", None, text), one.id, "m", text, "stop") for text in texts
    ]
    return one, [made[0], Dropped("decode", f"slot {number}", "call_failed", gone)] if gone else made


EVERY = [settled(number) for number in range(10)]
IDS = {one.id for one, _ in EVERY}


def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", Settings())


def opened(run: RunFolder, stamp: str = STAMP, among: set[str] = IDS) -> Sink[Response]:
    shelf = Parts(run.parts("responses"), stamp, Response, Instruction, room="decode")
    sink: Sink[Response] = Sink(run, "responses", "decode", shelf)
    sink.take_over(among)
    return sink


def killed(run: RunFolder, found: list[Found]) -> None:
    """A run that settles these and is killed."""
    sink = opened(run, among={one.id for one, _ in found} | IDS)
    for one, records in found:
        sink.settle(one, records)
    sink.discard()  # what a kill leaves of the tables has no name


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "SIZE", 2)


@pytest.fixture
def whole(tmp_path: Path) -> str:
    """Digest of a table that was made at one go."""
    rows = [row for _, records in EVERY for row in records]
    return tables.write(tmp_path / "whole.parquet", Response, rows, room="decode").digest


def finish(run: RunFolder, sink: Sink[Response]) -> str:
    """Settle what is not done yet; the digest."""
    for one, records in EVERY:
        if one.id not in sink.done:
            sink.settle(one, records)
    info = sink.close("inputs")
    assert info.rows == 20
    assert info == run.info("responses")
    assert not (run.path / ".parts").exists()
    return info.digest


def test_what_a_killed_run_has_settled_is_taken_over(tmp_path: Path, whole: str) -> None:
    run = folder(tmp_path)
    killed(run, EVERY[:5])
    sink = opened(run)
    assert sink.done == {one.id for one, _ in EVERY[:4]}, "two parts of two; the fifth was not in one yet"
    assert (sink.kept, sink.gone) == (8, 0)
    assert finish(run, sink) == whole
    assert {row.id for row in tables.read(run.table("responses"), Response)} == {
        row.id for _, records in EVERY for row in records if isinstance(row, Response)
    }


def test_another_stamp_throws_them_away(tmp_path: Path, whole: str) -> None:
    run = folder(tmp_path)
    killed(run, EVERY[:4])
    other = opened(run, "1" * 32)
    assert other.done == set()
    assert not (run.parts("responses") / STAMP).exists()
    assert finish(run, other) == whole


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _flip(path: Path) -> None:
    """A bit within the first page, which is not looked at when a file is opened."""
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(bytes(data))


def _swap(path: Path) -> None:
    """The same table of the other part."""
    shutil.copy(path.with_name(path.name.replace("000000", "000001")), path)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _of_others(path: Path) -> None:
    tables.write(path, Dropped, [], room="decode")


@pytest.mark.parametrize("kind", ["rows", "dropped", "settled"])
@pytest.mark.parametrize("harm", [_cut, _swap, _empty, Path.unlink, _of_others])
def test_a_part_that_is_not_whole_is_made_again(
    tmp_path: Path, whole: str, kind: str, harm: Callable[[Path], None]
) -> None:
    run = folder(tmp_path)
    killed(run, EVERY[:4])
    if (kind, harm) in (("dropped", _swap), ("dropped", _of_others)):
        pytest.skip("both are empty tables, and so the same")
    harm(run.parts("responses") / STAMP / f"000000.{kind}.parquet")
    sink = opened(run)
    assert sink.done == {one.id for one, _ in EVERY[2:4]}
    assert not list((run.parts("responses") / STAMP).glob("000000.*"))
    assert finish(run, sink) == whole


def test_a_damaged_page_is_noticed(tmp_path: Path, whole: str) -> None:
    run = folder(tmp_path)
    killed(run, EVERY[:4])
    _flip(run.parts("responses") / STAMP / "000001.rows.parquet")
    sink = opened(run)
    assert sink.done == {one.id for one, _ in EVERY[:2]}
    assert finish(run, sink) == whole


def test_a_part_of_another_run_is_not_taken(tmp_path: Path, whole: str) -> None:
    run, other = folder(tmp_path / "one"), folder(tmp_path / "two")
    killed(run, EVERY[:2])
    killed(other, [settled(number) for number in range(100, 104)])
    for path in (other.parts("responses") / STAMP).glob("000001.*"):
        shutil.copy(path, run.parts("responses") / STAMP)
    sink = opened(run)
    assert sink.done == {one.id for one, _ in EVERY[:2]}
    assert finish(run, sink) == whole


def test_a_part_that_is_there_twice_counts_once(tmp_path: Path, whole: str) -> None:
    run = folder(tmp_path)
    killed(run, EVERY[:2])
    for path in list((run.parts("responses") / STAMP).glob("000000.*")):
        shutil.copy(path, path.with_name(path.name.replace("000000", "000007")))
    sink = opened(run)
    assert sink.kept == 4
    assert finish(run, sink) == whole


@pytest.mark.parametrize("after", [1, 2])
def test_a_kill_while_a_part_is_written_leaves_none(
    tmp_path: Path, whole: str, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    run, write, count = folder(tmp_path), tables.write, 0

    def dying(*arguments: object, **options: object) -> tables.TableInfo:
        nonlocal count
        if count == after:
            raise KeyboardInterrupt
        count += 1
        return write(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(parts.tables, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        killed(run, EVERY[:2])
    monkeypatch.undo()
    monkeypatch.setattr(run_folder, "SIZE", 2)
    assert list((run.parts("responses") / STAMP).glob("*.parquet"))
    sink = opened(run)
    assert sink.done == set()
    assert finish(run, sink) == whole


def test_what_will_be_asked_again_is_in_no_part(tmp_path: Path) -> None:
    run = folder(tmp_path)
    some = [EVERY[0], settled(1, TIMEOUT), EVERY[2], settled(3, "m: bad_request: status 400")]
    sink = opened(run)
    for one, records in some:
        sink.settle(one, records)
    sink.settle(*EVERY[4], final=False)
    assert not sink.close("inputs").complete
    again = opened(run)
    assert again.done == {one.id for one, _ in (EVERY[0], EVERY[2], EVERY[3])}
    assert (again.kept, again.gone, again.unanswered) == (5, 1, 0)
    for one, records in (EVERY[1], EVERY[4]):
        again.settle(one, records)
    again.balance(10)
    assert again.close("inputs").complete
    assert [row.record_id for row in tables.read(run.dropped("decode"), Dropped)] == ["slot 3"]


@pytest.mark.parametrize(
    ("detail", "again"),
    [
        ("m: server: 503 upstream: bad_request: retry", True),
        ("bad_request: status 400: the server: timeout: is far away", False),
        ("openai:m: bad_request: status 400", False),
        ("rate_limited: later", True),
    ],
)
def test_the_class_of_a_failure_is_ours_and_no_word_of_the_endpoint(detail: str, again: bool) -> None:
    assert asked_again(Dropped("decode", "slot", "call_failed", detail)) is again


def test_books_that_do_not_balance_leave_no_part_behind(tmp_path: Path) -> None:
    run = folder(tmp_path)
    killed(run, EVERY[:4])
    sink = opened(run)
    with pytest.raises(BooksError):
        sink.balance(20)
    assert not run.parts("responses").exists()


def test_the_room_before_is_kept_first(tmp_path: Path) -> None:
    """What is judged must be there: a part of judgements never lies on the disk without the responses."""
    run = folder(tmp_path)
    before = opened(run)
    shelf = Parts(run.parts("annotations"), STAMP, Annotation, Settled, room="annotate")
    after: Sink[Annotation] = Sink(run, "annotations", "annotate", shelf, before)
    before.settle(*EVERY[0])
    for one, _ in EVERY[:2]:
        after.settle(Settled(one.id), [])
    assert len(shelf.kept) == 1
    assert opened(run).done == {EVERY[0][0].id}


@given(
    kills=st.lists(st.integers(0, 10), max_size=4),
    failing=st.sets(st.integers(0, 9), max_size=3),
    size=st.integers(1, 4),
)
def test_any_number_of_kills_gives_the_table_of_none(
    tmp_path_factory: pytest.TempPathFactory, kills: list[int], failing: set[int], size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "SIZE", size)
        run = folder(tmp_path_factory.mktemp("any"))
        for goal in kills:
            sink = opened(run)
            for number, found in enumerate(EVERY[:goal]):
                if found[0].id not in sink.done:
                    sink.settle(*(settled(number, TIMEOUT) if number in failing else found))
            sink.discard()
        sink = opened(run)
        assert not sink.done & {EVERY[number][0].id for number in failing}
        digest = finish(run, sink)
        rows = [row for _, records in EVERY for row in records]
        assert tables.write(run.path / "whole.parquet", Response, rows, room="decode").digest == digest
