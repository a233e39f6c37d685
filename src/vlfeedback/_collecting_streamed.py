"""Instructions with their responses out of two tables, a portion at a time: a million of them do not fit in memory.

Instructions come in the order of their table. Where the responses of a portion lie is looked up in an index of four
bytes per response; decode writes them nearly in that order, so that a portion lies in a few pieces of the file. In any
other order the result is the same and more pieces are read more often.
"""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from vlfeedback import groups, tables
from vlfeedback._tables_ids import Array, numbers, places
from vlfeedback.annotate import Answered
from vlfeedback.errors import BooksError
from vlfeedback.records import Instruction, Response

PORTION = 1024
"""Instructions that are held at a time with their responses: some 8 MB where answers have 120 words."""


def answered(instructions: Path, responses: Path, done: Collection[str]) -> Iterator[Answered]:
    """Instructions in the order of their table, each with its responses in the order of theirs.

    Args:
        instructions: Their table.
        responses: Theirs.
        done: Ids of instructions to leave out.
    Raises:
        BooksError: there are responses to what is not in the table of instructions; said before the first is given.
    """
    where = _Where(instructions, responses)
    left = tables.read(instructions, Instruction, but=tables.But("id", done))
    while portion := list(islice(left, PORTION)):
        ids = [one.id for one in portion]
        among = tables.Among("instruction_id", set(ids), where.pieces(ids))
        for group in groups.join(portion, tables.read(responses, Response, among=among)):
            yield Answered(group.instruction, group.responses)


class _Where:
    """In which pieces of a table the responses to which instructions are.

    Ids are compared as numbers here, which two of them may share; the join of a portion compares them whole.
    """

    def __init__(self, instructions: Path, responses: Path) -> None:
        listed = [numbers(batch["id"]) for batch in tables.batches(instructions, ["id"])]
        plain = np.concatenate([np.zeros(0, dtype=np.uint64), *listed])
        self._order = np.argsort(plain, kind="stable").astype(np.int32)
        self._known = plain[self._order]
        found = [self._rows_of(batch["instruction_id"]) for batch in tables.batches(responses, ["instruction_id"])]
        self._rows = np.concatenate([np.zeros(0, dtype=np.int32), *found])
        self._ends = np.cumsum(tables.pieces(responses))

    def _rows_of(self, ids: pa.Array) -> Array:
        """Rows of instructions in their table."""
        found = places(numbers(ids), self._known)
        if (found < 0).any():
            raise BooksError(
                f"there are responses to instruction {ids[int(np.argmin(found))]}, which is not in the table of "
                "instructions. The tables are of different runs: run the rooms again from source."
            )
        return self._order[found]

    def pieces(self, ids: Sequence[str]) -> list[int]:
        """Pieces that have responses to these instructions, which are neighbours in their table."""
        rows = self._rows_of(pa.array(ids, pa.string()))
        mine = np.flatnonzero((self._rows >= rows.min()) & (self._rows <= rows.max()))
        return np.unique(np.searchsorted(self._ends, mine, side="right")).tolist()
