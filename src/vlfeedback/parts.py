"""Finished parts of a table that is still being made: what a killed run takes over instead of making it again.

A room settles one instruction after the other. A thousand of them make a part: a table of their records, one of what
was dropped, and one of what was settled, which is written last and makes the three a part. A folder of parts bears the
stamp of everything that the room's output depends on; with another stamp they are thrown away.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vlfeedback import tables
from vlfeedback.errors import DataError
from vlfeedback.ids import hash_id
from vlfeedback.records import Dropped
from vlfeedback.tables import Loaded

SIZE = 1024
"""Instructions of a part: with fewer the disk is asked too often, with more a kill costs more to make again
and more records wait in memory."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The instruction whose records are all in a part."""

    id: str


class Part(NamedTuple):
    """Three tables that belong together."""

    rows: Path
    dropped: Path
    settled: Path


class Read(NamedTuple):
    """A part that is whole, in memory; `ids` of what it settles."""

    part: Part
    rows: Loaded
    dropped: Loaded
    ids: list[str]


class Parts:
    """Parts of one room of one run.

    Args:
        folder: Where they lie, below a folder named by the stamp.
        stamp: Digest of everything that the records depend on beside the ledger; another one's parts are deleted.
        record: Class of the rows.
        settled: Class of what is settled; has an `id`.
        room: Who writes.
    """

    def __init__(self, folder: Path, stamp: str, record: type[Any], settled: type[Any], *, room: str) -> None:
        self._folder, self._here = folder, folder / stamp
        self._record, self._settled, self._room = record, settled, room
        self.kept: list[Part] = []
        self._next = 0

    def whole(self, among: Collection[str], fits: Callable[[Loaded], bool] | None = None) -> Iterator[Read]:
        """The parts that can be taken over, one at a time; what is damaged or does not belong here is deleted.

        Args:
            among: Ids that a part may settle.
            fits: Whether the rows of a part belong to what is there now.
        """
        if self._folder.exists():
            for other in self._folder.iterdir():
                if other != self._here:
                    shutil.rmtree(other)
        seen: set[str] = set()
        for number in sorted({int(path.name.split(".")[0]) for path in self._here.glob("[0-9]*.parquet")}):
            self._next = number + 1
            part = self._part(number)
            found = self._read(part)
            if (
                found is None
                or not seen.isdisjoint(found.ids)
                or any(one not in among for one in found.ids)
                or (fits is not None and not fits(found.rows))
            ):
                _delete(part)
                continue
            seen.update(found.ids)
            self.kept.append(part)
            yield found

    def write(self, settled: Sequence[Any], records: Sequence[Any]) -> Part:
        """Make a part; a kill on the way leaves nothing that counts as one."""
        part = self._part(self._next)
        dropped = [one for one in records if isinstance(one, Dropped)]
        kept = [one for one in records if not isinstance(one, Dropped)]
        rows = tables.write(part.rows, self._record, kept, room=self._room)
        gone = tables.write(part.dropped, Dropped, dropped, room=self._room)
        tables.write(part.settled, self._settled, settled, room=self._room, inputs=_mark(rows.digest, gone.digest))
        self._next += 1
        self.kept.append(part)
        return part

    def forget(self) -> None:
        """Delete them all: the table is made."""
        forget(self._folder)

    def _part(self, number: int) -> Part:
        names = (f"{number:06d}.{kind}.parquet" for kind in ("rows", "dropped", "settled"))
        return Part(*(self._here / name for name in names))

    def _read(self, part: Part) -> Read | None:
        """A part in memory; None where it is not whole."""
        try:
            settled = tables.load(part.settled, self._settled)
            rows, dropped = tables.load(part.rows, self._record), tables.load(part.dropped, Dropped)
        except DataError:
            return None
        if settled.info.inputs != _mark(rows.info.digest, dropped.info.digest):
            return None
        return Read(part, rows, dropped, settled.rows["id"].to_pylist())


def forget(folder: Path) -> None:
    """Delete the parts of a table."""
    if folder.exists():
        shutil.rmtree(folder)
    if folder.parent.exists() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def _mark(rows: str, dropped: str) -> str:
    """What ties the three tables of a part together."""
    return hash_id("part", rows, dropped)


def _delete(part: Part) -> None:
    for path in reversed(part):
        path.unlink(missing_ok=True)
