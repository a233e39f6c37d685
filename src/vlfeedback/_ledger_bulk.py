"""Many rows of the ledger in one statement.

Before and after every statement sqlite3 lets go of the interpreter, and while calls are in flight somebody else always
wants it: a commit of fifty rows, one statement each, waited for it a few hundred times, and every wait was two changes
of threads. A statement that holds many rows waits once. What is in the file afterwards is the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

SIZES = (64, 32, 16, 8, 4, 2, 1)
"""Rows per statement, the largest that fits first: few enough statements that SQLite keeps all of them prepared, and in
each fewer values than the 999 that older versions of it take."""


class Bulk(NamedTuple):
    """A statement with as many rows of values as wanted.

    Attributes:
        before: Up to the rows.
        row: Placeholders of one row, with its brackets.
        after: What follows the rows.
    """

    before: str
    row: str
    after: str

    def put(self, writer: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Execute it with these rows, in their order, as one statement for each would."""
        at = 0
        for size in SIZES:
            while len(rows) - at >= size:
                writer.execute(_statement(self, size), tuple(chain.from_iterable(rows[at : at + size])))
                at += size


@lru_cache(maxsize=64)
def _statement(bulk: Bulk, rows: int) -> str:
    return bulk.before + ",".join([bulk.row] * rows) + bulk.after


INTEND = Bulk(
    "INSERT INTO calls(key, model, purpose, cost, created, state, attempts) VALUES",
    "(?,?,?,?,?,'intent',0)",
    " ON CONFLICT(key) DO UPDATE SET "
    "lost_cost = lost_cost + CASE state WHEN 'intent' THEN cost ELSE 0 END, "
    "unsure = unsure + (state = 'intent'), attempts = attempts + (state = 'intent'), "
    "state = 'intent', cost = excluded.cost",
)
"""Key, model, purpose, reserve, time; one found open from before counts as a send whose fate is unknown."""

ASK = Bulk(
    "INSERT OR IGNORE INTO bodies(id, request) SELECT calls.id, given.column2 FROM (VALUES",
    "(?,?)",
    ") AS given CROSS JOIN calls ON calls.key = given.column1",
)
"""Key and question; CROSS JOIN makes SQLite look each key up, whatever it thinks of the sizes of tables."""

SETTLE = Bulk(
    "INSERT INTO calls(key, model, purpose, created, state, finish, error, cost, attempts, unsure, finished, input, "
    "output, cached, image, reasoning) SELECT calls.key, calls.model, calls.purpose, calls.created, given.column2, "
    "given.column3, given.column4, given.column5, given.column6, given.column7, given.column8, given.column9, "
    "given.column10, given.column11, given.column12, given.column13 FROM (VALUES",
    "(?,?,?,?,?,?,?,?,?,?,?,?,?)",
    ") AS given CROSS JOIN calls ON calls.key = given.column1 WHERE true ON CONFLICT(key) DO UPDATE SET "
    "state = excluded.state, finish = excluded.finish, error = excluded.error, "
    "lost_cost = lost_cost + cost * excluded.unsure, cost = excluded.cost, unsure = unsure + excluded.unsure, "
    "attempts = attempts + excluded.attempts, finished = excluded.finished, input = excluded.input, "
    "output = excluded.output, cached = excluded.cached, image = excluded.image, reasoning = excluded.reasoning",
)
"""Columns in the order of `call_columns`. An update of many rows by values is younger than some SQLite in use."""

ANSWER = Bulk(
    "INSERT INTO bodies(id, request, reply, raw) SELECT calls.id, '', given.column2, given.column3 FROM (VALUES",
    "(?,?,?)",
    ") AS given CROSS JOIN calls ON calls.key = given.column1 WHERE true ON CONFLICT(id) DO UPDATE SET "
    "reply = excluded.reply, raw = excluded.raw",
)
"""Key, reply, body as received."""
