"""A ledger's file before it is opened as one: its address for reading, whether it was ever written to, and by whom."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from vlfeedback.errors import LedgerError


def address(path: Path) -> str:
    """Of a file that is only to be read, for SQLite; `#`, `?` and `%` in its name are part of the name.

    Where no file can be made beside it (another user's folder, an archive), SQLite could not read it, as it shares the
    log's index with writers through one: such a ledger is read as it lies there, unless there is a log to be read too.
    """
    beside = [path.with_name(path.name + end) for end in ("-wal", "-shm")]
    still = not any(one.exists() for one in beside) and not os.access(path.parent, os.W_OK)
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if still else ''}"


def blank(path: Path) -> bool:
    """Whether the file is there without a table: opened for a moment and never written, or emptied since."""
    if not path.is_file():
        return False
    if not path.stat().st_size:
        return True
    try:
        with closing(sqlite3.connect(address(path), uri=True, timeout=30)) as connection:
            return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
    except sqlite3.Error:
        return False  # whoever opens it as a ledger says what is wrong


def refuse_foreign(path: Path) -> None:
    """Leave the database of another program as it is.

    Raises:
        LedgerError: the file has tables, and that of the calls is not among them.
    """
    if blank(path) or not path.is_file():
        return
    with closing(sqlite3.connect(address(path), uri=True, timeout=30)) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    names = [name for (name,) in found]
    if "calls" not in names:
        raise LedgerError(
            f"{path} is a database of another program (it has the table {names[0] if names else '?'!r}): "
            "name another file in [ledger] path."
        )
