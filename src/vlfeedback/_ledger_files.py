"""A ledger's file before it is opened as one: its address for reading, and whether anything was ever written to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def address(path: Path) -> str:
    """Of a file that is only to be read, for SQLite; `#`, `?` and `%` in its name are part of the name."""
    return f"{path.absolute().as_uri()}?mode=ro"


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
