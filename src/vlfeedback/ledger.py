"""Every model call, kept once and for ever: the only state that costs money.

One SQLite file. A call is written before it is sent (an intent with its reserved cost) and its raw reply is committed
before anything parses it. Asking the same question again gives the kept reply and costs nothing. Bulky texts lie in a
table of their own, so that totals over millions of calls stay quick.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from vlfeedback._ledger_asked import Asked
from vlfeedback._ledger_bulk import ANSWER, ASK, INTEND, SETTLE
from vlfeedback._ledger_files import address, blank, refuse_foreign
from vlfeedback._ledger_rows import (
    Intent,
    Settled,
    Total,
    bodies_of,
    call_columns,
    call_of,
    reply_of,
    squeeze,
    total_of,
)
from vlfeedback._ledger_writer import BALLAST, PATIENCE, Work, Writer, explain
from vlfeedback.errors import LedgerError
from vlfeedback.locks import claim
from vlfeedback.records import Call, Generation, Purpose

__all__ = ["BALLAST", "VERSION", "Intent", "Ledger", "Settled", "Total"]

VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, model TEXT NOT NULL, purpose TEXT NOT NULL, state TEXT NOT NULL,
    finish TEXT, error TEXT, cost REAL NOT NULL, lost_cost REAL NOT NULL DEFAULT 0, attempts INTEGER NOT NULL,
    unsure INTEGER NOT NULL DEFAULT 0, input INTEGER NOT NULL DEFAULT 0, output INTEGER NOT NULL DEFAULT 0,
    cached INTEGER NOT NULL DEFAULT 0, image INTEGER NOT NULL DEFAULT 0, reasoning INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL, finished REAL);
CREATE TABLE IF NOT EXISTS bodies (id INTEGER PRIMARY KEY, request BLOB NOT NULL, reply BLOB, raw BLOB);
"""


_TAKE_IN = (
    "INSERT OR IGNORE INTO calls(key, model, purpose, state, finish, error, cost, attempts, unsure, input, output, "
    "cached, image, reasoning, created, finished) VALUES(:key, :model, :purpose, :state, :finish, :error, :cost, "
    ":sent, :unsure, :input, :output, :cached, :image, :reasoning, :created, :now)"
)
_TAKE_IN_BODIES = (
    "INSERT OR IGNORE INTO bodies(id, request, reply, raw) SELECT id, :request, :reply, :raw FROM calls "
    "WHERE key = :key"
)


def _asking(intents: Sequence[Intent]) -> Work:
    now = time.time()
    return (
        (INTEND, [(one.key, one.model, one.purpose, one.reserved, now) for one in intents]),
        (ASK, [(one.key, one.packed().request) for one in intents]),
    )


def _answering(settled: Sequence[Settled]) -> Work:
    now = time.time()
    return (
        (SETTLE, [tuple(call_columns(one, now).values()) for one in settled]),
        (ANSWER, [(one.key, *(one.kept or bodies_of(one.generation))) for one in settled]),
    )


class Ledger:
    """The calls of one or many runs.

    Open it with `Ledger.open`. Reading and writing use connections of their own, so that a look-up never waits for a
    commit. All methods may be called from any thread.
    """

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path = path
        self._read_lock = threading.Lock()
        self._lock_file = claim(path.with_name(path.name + ".lock"), f"ledger {path}") if write else None
        self._writer: Writer | None = None
        self._asked: Asked | None = None  # known only where all keys came through this very object
        try:
            refuse_foreign(path)
            self._reader = self._connect(write)
            if write:
                connection = self._connect(write)
                connection.executescript(_SCHEMA)
                self._check_version(connection)
                self._writer = Writer(path, connection)
                if connection.execute("SELECT 1 FROM calls LIMIT 1").fetchone() is None:
                    self._asked = Asked()
            else:
                self._check_version(self._reader)
        except sqlite3.Error as error:
            self._unlock()
            raise explain(path, error) from error
        except BaseException:
            self._unlock()
            raise

    @classmethod
    def open(cls, path: Path, *, write: bool = True) -> Ledger:
        """Open a ledger, making it if `write` is set.

        Raises:
            RunLocked: another process is writing it.
            LedgerError: it is missing or empty (when only reading), damaged, or cannot be written.
        """
        try:
            if not write and not path.exists():
                raise LedgerError(f"ledger {path} is not there: nothing has been collected yet.")
            path.parent.mkdir(parents=True, exist_ok=True)
            return cls(path, write=write)
        except (
            OSError
        ) as error:  # of the folder or the lock: below a file, another user's, on a disk that takes nothing
            words = f"ledger {path} cannot be opened ({error}). Name a place that can be written in [ledger] path."
            raise LedgerError(words) from error

    def _connect(self, write: bool) -> sqlite3.Connection:
        target = str(self.path) if write else address(self.path)
        connection = sqlite3.connect(target, check_same_thread=False, isolation_level=None, uri=not write, timeout=30)
        if write:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # a commit that returned survives a power cut
            connection.execute("PRAGMA temp_store=MEMORY")  # a commit needs no file but these
        connection.execute(f"PRAGMA busy_timeout={PATIENCE}")
        return connection

    def _check_version(self, connection: sqlite3.Connection) -> None:
        found = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if found == 0 and self._writer_of(connection):
            connection.execute(f"PRAGMA user_version={VERSION}")
        elif found == 0 and blank(self.path):
            raise LedgerError(
                f"ledger {self.path} is empty. If calls were made with it, restore it from a copy; if none were, the "
                "next run fills it."
            )
        elif found != VERSION:
            raise LedgerError(f"ledger {self.path} has format {found}, this version reads {VERSION}: use a new ledger.")

    def _writer_of(self, connection: sqlite3.Connection) -> bool:
        return self._lock_file is not None and connection is not self._reader

    def _writing(self) -> Writer:
        if self._writer is None:
            raise LedgerError(f"ledger {self.path} was opened for reading only.")
        return self._writer

    @property
    def on_ballast(self) -> bool:
        """Whether the disk ran full and the set-aside space was given up: no new call may start."""
        return self._writer is not None and self._writer.on_ballast

    def intend(self, intents: Sequence[Intent]) -> None:
        """Commit intents; one found open from an earlier process counts as a send whose fate is unknown.

        Raises:
            LedgerError: the disk is full or the file damaged; then nothing may be sent.
        """
        if self.on_ballast:
            raise LedgerError(f"ledger {self.path}: the disk is full. Free some space and run the same command again.")
        self._note(intents)
        self._writing().commit(_asking(intents), paid=False)

    def settle(self, settled: Sequence[Settled]) -> None:
        """Commit replies; after this returns they survive anything but the loss of the disk."""
        self._writing().commit(_answering(settled))

    def begin(self, intents: Sequence[Intent], settled: Sequence[Settled]) -> Callable[[], bool] | None:
        """Begin to write both in one transaction, waiting for nobody; see `_ledger_writer.Writer.begin`.

        Returns:
            What commits them, in any thread, and says whether they are on disk. Where it says no, and where there is
            None, nothing of them is: `settle` and `intend` them, which say why.
        """
        if intents and self.on_ballast:
            return None
        self._note(intents)
        return self._writing().begin((*_asking(intents), *_answering(settled)))

    def withdraw(self, keys: Sequence[str]) -> None:
        """Take back intents of calls that were certainly not served (a refused key, a missing model)."""
        self._writing().commit(
            [("UPDATE calls SET state='failed', cost=0 WHERE key=:key", [{"key": key} for key in keys])]
        )

    def record(self, calls: Iterable[Call]) -> int:
        """Take in finished calls from elsewhere (imports), thousands per commit; known keys stay as they are.

        Returns:
            How many calls were given, known ones included.
        """
        count, waiting = 0, iter(calls)
        while batch := list(islice(waiting, 10_000)):
            self._record(batch)
            count += len(batch)
        return count

    def _record(self, calls: Sequence[Call]) -> None:
        self._note(calls)
        rows: list[dict[str, Any]] = []
        bodies: list[dict[str, Any]] = []
        for call in calls:
            if call.generation is None:
                raise ValueError("only finished calls can be taken in")
            done = Settled(call.key, call.generation, call.cost)
            rows.append(
                {**call_columns(done, call.finished or call.created), "model": call.model, "purpose": call.purpose}
                | {"created": call.created, "sent": call.attempts}
            )
            reply, raw = bodies_of(call.generation)
            bodies.append({"key": call.key, "request": squeeze(call.request), "reply": reply, "raw": raw})
        self._writing().commit(((_TAKE_IN, rows), (_TAKE_IN_BODIES, bodies)))

    def _note(self, given: Sequence[Intent] | Sequence[Call]) -> None:
        if self._asked is not None:
            for one in given:
                self._asked.add(one.key)

    def find(self, key: str) -> Call | None:
        """The call with that key, whatever its state; None if it was never intended."""
        return next(self._select("WHERE calls.key = ?", (key,)), None)

    def answered(self, key: str) -> bool:
        """Whether that question has a reply; quicker than to look for one that is not there."""
        if self._asked is not None and key not in self._asked:
            return False
        try:
            with self._read_lock:
                row = self._reader.execute("SELECT 1 FROM calls WHERE key = ? AND state = 'done'", (key,)).fetchone()
        except sqlite3.Error as error:
            raise explain(self.path, error) from error
        return row is not None

    def replies(self, keys: Sequence[str], *, raw: bool = True) -> dict[str, Generation]:
        """Kept answers of many questions at once, by key; what is not answered is not among them.

        Args:
            keys: At most some thousands.
            raw: With the bodies as they were received, which are most of the bytes.
        """
        marks = ",".join("?" * len(keys))
        statement = (
            f"SELECT key, reply, {'raw' if raw else 'NULL'}, input, output, cached, image, reasoning "
            f"FROM calls JOIN bodies USING(id) WHERE state = 'done' AND key IN ({marks})"
        )
        try:
            with self._read_lock:
                rows = self._reader.execute(statement, list(keys)).fetchall()
        except sqlite3.Error as error:
            raise explain(self.path, error) from error
        return {row[0]: reply for row in rows if (reply := reply_of(row)) is not None}

    def calls(self, *, purpose: Purpose | None = None) -> Iterator[Call]:
        """All calls, oldest first; of one purpose if it is given."""
        if purpose is None:
            return self._select("ORDER BY calls.id", ())
        return self._select("WHERE purpose = ? ORDER BY calls.id", (purpose,))

    def _select(self, where: str, values: Sequence[Any]) -> Iterator[Call]:
        statement = (
            "SELECT key, model, request, purpose, reply, raw, cost, state, attempts, created, finished, input, output, "
            f"cached, image, reasoning FROM calls JOIN bodies USING(id) {where}"
        )
        try:
            with self._read_lock:
                cursor = self._reader.cursor().execute(statement, values)
            while rows := cursor.fetchmany(500):
                yield from map(call_of, rows)
        except sqlite3.Error as error:
            raise explain(self.path, error) from error

    def totals(self) -> tuple[Total, ...]:
        """Sums per model, purpose and state."""
        statement = (
            "SELECT model, purpose, state, COUNT(*), SUM(attempts), SUM(unsure), SUM(input), SUM(output), SUM(cached), "
            "SUM(image), SUM(reasoning), SUM(cost), SUM(lost_cost) FROM calls GROUP BY model, purpose, state "
            "ORDER BY purpose, model, state"
        )
        return tuple(total_of(row) for row in self._selected(statement))

    def spent(self) -> float:
        """Upper bound of what all calls have cost: replies, open intents at their reserve, and unsure sends."""
        # A tenth of the time that `totals` takes: nothing has to be sorted by model.
        ((cost, lost),) = self._selected("SELECT TOTAL(cost), TOTAL(lost_cost) FROM calls")
        return float(cost + lost)

    def _selected(self, statement: str) -> list[Any]:
        try:
            with self._read_lock:
                return self._reader.execute(statement).fetchall()
        except sqlite3.Error as error:
            raise explain(self.path, error) from error

    def close(self) -> None:
        """Fold the write-ahead log into the file and let other processes write."""
        with self._read_lock:
            self._reader.close()
        if self._writer is not None:
            self._writer.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
