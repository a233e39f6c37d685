"""A transaction that waits for nobody: put together in one thread, made durable by another, or not there at all."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vlfeedback._ledger_writer import AT_ONCE
from vlfeedback.errors import LedgerError
from vlfeedback.ledger import Intent, Ledger, Settled
from vlfeedback.models._ledgered import LedgerBook
from vlfeedback.records import Generation

REPLY = Generation("Kept.", "stop")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        yield ledger


def intent(key: str) -> Intent:
    return Intent(key, "probe", "{}", "decode", 1.0)


def states(ledger: Ledger) -> dict[str, str]:
    return {call.key: call.state for call in ledger.calls()}


def no_disk(monkeypatch: pytest.MonkeyPatch, ledger: Ledger, times: int, what: str = "COMMIT") -> None:
    """As many commits (or the like) find the disk full; what another connection sees is what is on disk."""
    left = [times]
    writer = ledger._writer  # pyright: ignore[reportPrivateUsage]
    assert writer is not None
    real = writer.connection

    class Full:
        def execute(self, statement: str, *values: object) -> object:
            if statement.startswith(what) and left[0]:
                left[0] -= 1
                raise sqlite3.OperationalError("database or disk is full")
            return real.execute(statement, *values)

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    monkeypatch.setattr(writer, "connection", Full())


def test_it_is_durable_when_the_rest_is_done_by_any_thread_and_not_before(ledger: Ledger) -> None:
    ledger.intend([intent("a")])
    rest = ledger.begin([intent("b")], [Settled("a", REPLY, 0.5)])
    assert rest is not None
    assert states(ledger) == {"a": "intent"}
    said: list[bool] = []
    thread = threading.Thread(target=lambda: said.append(rest()))
    thread.start()
    thread.join()
    assert said == [True]
    assert states(ledger) == {"a": "done", "b": "intent"}
    assert ledger.spent() == 1.5


def test_whoever_comes_meanwhile_waits_or_is_refused(ledger: Ledger) -> None:
    rest = ledger.begin([intent("a")], [])
    assert rest is not None
    assert ledger.begin([intent("b")], []) is None
    other = threading.Thread(target=ledger.intend, args=([intent("c")],))
    other.start()
    other.join(0.1)
    assert other.is_alive(), "one transaction at a time"
    assert rest()
    other.join()
    assert states(ledger) == {"a": "intent", "c": "intent"}


def test_another_process_in_the_file_is_not_waited_for(ledger: Ledger) -> None:
    with sqlite3.connect(ledger.path, isolation_level=None) as elsewhere:
        elsewhere.execute("BEGIN IMMEDIATE")
        before = time.monotonic()
        assert ledger.begin([intent("a")], []) is None
        assert time.monotonic() - before < 5.0, "a commit would have waited for half a minute"
        elsewhere.execute("ROLLBACK")
    ledger.intend([intent("a")])
    assert states(ledger) == {"a": "intent"}


def test_many_rows_are_not_put_by_the_caller(ledger: Ledger) -> None:
    assert ledger.begin([intent(str(number)) for number in range(AT_ONCE)], []) is None
    rest = ledger.begin([intent(str(number)) for number in range(AT_ONCE // 2)], [])
    assert rest is not None and rest()


def test_a_row_that_cannot_be_written_leaves_no_transaction(ledger: Ledger) -> None:
    assert ledger.begin([], [Settled("a", Generation("", "stop", sent=1 << 70), 0.0)]) is None
    ledger.intend([intent("a")])
    assert states(ledger) == {"a": "intent"}


def test_an_intent_that_cannot_be_written_takes_no_reply_along(ledger: Ledger) -> None:
    ledger.intend([intent("a")])
    book = LedgerBook(ledger)

    async def both() -> list[BaseException | None]:
        bad = intent("b")._replace(model="\ud800")
        puts = (book.commits.put(row) for row in (bad, Settled("a", REPLY, 0.5)))
        return await asyncio.gather(*puts, return_exceptions=True)

    refused, kept = asyncio.run(both())
    assert isinstance(refused, UnicodeEncodeError)
    assert kept is None
    assert states(ledger) == {"a": "done"}


def test_a_commit_without_room_leaves_nothing_and_gives_the_turn_back(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_disk(monkeypatch, ledger, 1)
    rest = ledger.begin([intent("a")], [])
    assert rest is not None and not rest()
    assert states(ledger) == {}
    ledger.intend([intent("a")])
    assert states(ledger) == {"a": "intent"}


def test_on_a_full_disk_replies_of_the_round_are_kept_and_its_intents_refused(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.intend([intent("a")])
    no_disk(monkeypatch, ledger, 2)  # the round, and the replies before the ballast is given up
    book = LedgerBook(ledger)

    async def both() -> list[BaseException | None]:
        puts = (book.commits.put(row) for row in (intent("b"), Settled("a", REPLY, 0.5)))
        return await asyncio.gather(*puts, return_exceptions=True)

    refused, kept = asyncio.run(both())
    assert isinstance(refused, LedgerError) and "disk is full" in str(refused)
    assert kept is None
    assert states(ledger) == {"a": "done"}
    assert ledger.on_ballast
    assert ledger.begin([intent("b")], []) is None, "nothing new starts"


def test_replies_longer_than_the_room_set_aside_are_kept_without_their_bodies(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.intend([intent("a")])
    no_disk(monkeypatch, ledger, 2)
    ledger.settle([Settled("a", replace(REPLY, raw="long " * 200), 0.5)])
    call = ledger.find("a")
    assert call is not None and call.generation is not None
    assert (call.generation.text, call.generation.raw, call.cost) == (REPLY.text, "", 0.5)
    assert ledger.on_ballast


def test_a_log_that_cannot_be_folded_into_the_file_is_read_at_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "full.sqlite"
    with Ledger.open(path) as ledger:
        ledger.intend([intent("a")])
        ledger.settle([Settled("a", REPLY, 0.5)])
        no_disk(monkeypatch, ledger, 1, "PRAGMA wal_checkpoint")
    with Ledger.open(path) as again:
        assert states(again) == {"a": "done"}


def test_what_a_reader_opened_writes_nothing(ledger: Ledger) -> None:
    ledger.intend([intent("a")])
    with Ledger.open(ledger.path, write=False) as reader, pytest.raises(LedgerError, match="for reading only"):
        reader.begin([intent("b")], [])


def test_writers_take_turns(tmp_path: Path) -> None:
    """Rounds from one thread and commits from another never mix."""
    with Ledger.open(tmp_path / "l.sqlite") as ledger:
        others = threading.Thread(target=lambda: [ledger.intend([intent(f"o{number}")]) for number in range(60)])
        others.start()
        made = 0
        while others.is_alive():
            rest = ledger.begin([intent(f"m{made}")], [])
            if rest is not None:
                assert rest()
                made += 1
        others.join()
        found = states(ledger)
    assert len(found) == 60 + made
