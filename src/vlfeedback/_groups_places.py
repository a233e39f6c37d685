"""Where in a table the rows of which instructions lie: a run of a million is joined a portion at a time.

An index of four bytes per row is kept, and twelve per instruction. Rooms write nearly in the order of the instructions,
so that a portion of them lies in a few pieces of the file. In any other order the result is the same and more pieces
are read more often.
"""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa

from vlfeedback import tables
from vlfeedback._tables_ids import Array, numbers, places
from vlfeedback.errors import BooksError
from vlfeedback.records import Instruction

T = TypeVar("T")


class Numbered:
    """The instructions of a table by number.

    Ids are compared as numbers here, which two of them may share; whoever joins a portion compares them whole.
    """

    def __init__(self, path: Path) -> None:
        listed = [numbers(batch["id"]) for batch in tables.batches(path, ["id"])]
        plain = np.concatenate([np.zeros(0, dtype=np.uint64), *listed])
        self._order = np.argsort(plain, kind="stable").astype(np.int32)
        self._known = plain[self._order]

    def rows(self, ids: Any, what: str) -> Array:
        """Rows of these instructions, an Arrow array of ids.

        Raises:
            BooksError: one is not in the table.
        """
        found = places(numbers(ids), self._known)
        if (found < 0).any():
            raise BooksError(
                f"there are {what} of instruction {ids[int(np.argmin(found))]}, which is not in the table of "
                "instructions. The tables are of different runs: run the rooms again from source."
            )
        return self._order[found]


class Beside(Generic[T]):
    """A table of what belongs to instructions.

    Args:
        path: Of the table.
        record: Class of its rows, which have an `instruction_id`.
        what: Its rows in a word, for messages.
        columns: As `tables.read` takes them.
    Raises:
        BooksError: something belongs to no instruction of the table of instructions.
    """

    def __init__(
        self, numbered: Numbered, path: Path, record: type[T], what: str, columns: Sequence[str] | None = None
    ) -> None:
        self._numbered, self._path, self._record, self._what, self._columns = numbered, path, record, what, columns
        found = [numbered.rows(batch["instruction_id"], what) for batch in tables.batches(path, ["instruction_id"])]
        self._rows = np.concatenate([np.zeros(0, dtype=np.int32), *found])
        self._ends = np.cumsum(tables.pieces(path))

    def of(self, portion: Sequence[Instruction]) -> Iterator[T]:
        """Rows of these instructions, which are neighbours in their table; in the order of this one."""
        ids = [one.id for one in portion]
        among = tables.Among("instruction_id", set(ids), self._pieces(ids))
        return tables.read(self._path, self._record, columns=self._columns, among=among)

    def _pieces(self, ids: Sequence[str]) -> list[int]:
        rows = self._numbered.rows(pa.array(ids, pa.string()), self._what)
        mine = np.flatnonzero((self._rows >= rows.min()) & (self._rows <= rows.max()))
        return np.unique(np.searchsorted(self._ends, mine, side="right")).tolist()
