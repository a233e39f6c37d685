"""The writing side of a ledger: transactions, and room for the last words on a full disk.

A transaction is one of two kinds. `commit` waits for its turn and for the disk; it belongs in a thread that may wait.
`begin` waits for nobody: it puts the rows into memory, some 25 µs of processor time per call, and leaves to a thread
only what has to wait for the disk. A thread that executes all the statements needs the interpreter back after each,
from threads that do not want to let go of it (docs/LOG.md).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from vlfeedback._ledger_bulk import ANSWER, Bulk
from vlfeedback.errors import LedgerError

BALLAST = 4 << 20
"""Bytes set aside beside a ledger: given up when the disk is full, so that the replies in flight still fit."""

PATIENCE = 30_000
"""Milliseconds that a commit waits for another process that has the file."""

AT_ONCE = 1024
"""Rows, two for a call, that `begin` takes at most: what is more keeps the caller for too long."""

Row = Sequence[Any] | dict[str, Any]
Work = Sequence[tuple[str | Bulk, Sequence[Row]]]
"""Statements with the rows of each, in their order."""


def _no_room(error: sqlite3.Error) -> bool:
    """Whether there was no room: a full disk, or (as an I/O error) a quota."""
    return "full" in str(error) or "disk I/O" in str(error)


def _lighter(statement: str | Bulk, rows: Sequence[Row]) -> Sequence[Row]:
    """Answers without their bodies as received."""
    return [(*cast("Sequence[Any]", row)[:2], None) for row in rows] if statement is ANSWER else rows


def explain(path: Path, error: sqlite3.Error) -> LedgerError:
    """What went wrong with the file, and what to do."""
    text = str(error)
    if _no_room(error):
        advice = "The disk is full: free some space and run the same command again; nothing that was paid for is lost."
    elif "malformed" in text or "not a database" in text:
        advice = "The file is damaged: restore it from a copy, or move it away to start a new ledger."
    elif "readonly" in text or "unable to open" in text:
        advice = "Check that the folder exists and that you may write there."
    else:
        advice = "Run the same command again; the ledger keeps every reply that was committed."
    return LedgerError(f"ledger {path}: {text}. {advice}")


class Writer:
    """The only connection that writes a ledger, one transaction at a time, from any thread.

    Args:
        path: Of the ledger.
        connection: To write it, in autocommit mode.
    Raises:
        LedgerError: the disk has no room for the ballast.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path, self.connection = path, connection
        self._ballast = path.with_name(path.name + ".ballast")
        self._turn = threading.Lock()  # taken by whoever begins a transaction, given back by the thread that ends it
        self._set_ballast()

    @property
    def on_ballast(self) -> bool:
        """Whether the disk ran full and the set-aside space was given up: no new call may start."""
        return not self._ballast.exists()

    def begin(self, work: Work) -> Callable[[], bool] | None:
        """Put rows into a transaction now, waiting for nobody.

        Returns:
            What commits them, to be called once, from any thread; it says whether they are on disk. Where it says no,
            and where there is None because they could not be put now, nothing of them is there: `commit` them.
        """
        if sum(len(rows) for _, rows in work) > AT_ONCE or not self._turn.acquire(blocking=False):
            return None
        try:
            self.connection.execute("PRAGMA busy_timeout=0")
            self._put(work)
        except BaseException as error:
            self._turn.release()
            if isinstance(error, Exception):
                return None  # one row that cannot be written is not to take the others of its round along
            raise
        return self._end

    def _end(self) -> bool:
        try:
            self.connection.execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()
            return False
        finally:
            self._turn.release()
        return True

    def commit(self, work: Work, *, paid: bool = True) -> None:
        """Write rows in one transaction; `paid` ones may have the room that is set aside for the last words.

        Raises:
            LedgerError: they are not on disk.
        """
        with self._turn:
            try:
                self._whole(work)
            except sqlite3.Error as error:
                if not paid or not _no_room(error) or self.on_ballast:
                    raise explain(self._path, error) from error
                self._last_words(work)

    def _last_words(self, work: Work) -> None:
        """The disk is full and the replies in hand are paid for: give up the ballast, keep them, and then stop."""
        # A checkpoint would copy the log into the file and so take the room a second time; the log is as durable.
        self.connection.execute("PRAGMA wal_autocheckpoint=0")
        self._ballast.unlink(missing_ok=True)
        with contextlib.suppress(sqlite3.Error):
            return self._whole(work)
        try:  # replies longer than the ballast has room for: their bodies as received say the same twice
            self._whole([(statement, _lighter(statement, rows)) for statement, rows in work])
        except sqlite3.Error as again:
            raise explain(self._path, again) from again

    def _whole(self, work: Work) -> None:
        self.connection.execute(f"PRAGMA busy_timeout={PATIENCE}")
        self._put(work)
        try:
            self.connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _put(self, work: Work) -> None:
        """Open a transaction with the rows in it, or leave none open."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            for statement, rows in work:
                if isinstance(statement, Bulk):
                    statement.put(self.connection, cast("Sequence[Sequence[Any]]", rows))
                else:
                    self.connection.executemany(statement, rows)
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def close(self) -> None:
        """Fold the write-ahead log into the file."""
        with self._turn:
            # On a full disk the log stays beside the file: it is as durable, and the next opening reads it.
            with contextlib.suppress(sqlite3.Error):
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with contextlib.suppress(sqlite3.Error):
                self.connection.close()

    def _set_ballast(self) -> None:
        if self._ballast.exists():
            return
        try:
            with self._ballast.open("wb") as file:
                file.write(os.urandom(BALLAST))
        except OSError as error:
            self._ballast.unlink(missing_ok=True)
            raise LedgerError(
                f"ledger {self._path}: the disk has no room for {BALLAST >> 20} MiB ({error}). Free some space first."
            ) from error
