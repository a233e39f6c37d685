"""A run folder: its settings, its lock, its tables and what each of them was made from."""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from vlfeedback import config, flow, tables
from vlfeedback._collecting_unread import Unread
from vlfeedback._ledger_files import blank
from vlfeedback.config import Settings, SourceTable
from vlfeedback.decode import Plan
from vlfeedback.errors import BooksError, ConfigError, DataError, LedgerError, StaleInput, check_name, too_long
from vlfeedback.ids import hash_id
from vlfeedback.images import RUN_ROOT, Roots
from vlfeedback.locks import claim
from vlfeedback.parts import SIZE, Parts
from vlfeedback.records import (
    ASKED_AGAIN,
    Annotation,
    Answer,
    Dropped,
    ErrorClass,
    Instruction,
    ItemScore,
    Judgement,
    PreferencePair,
    Response,
    Room,
    Score,
    Vote,
)
from vlfeedback.tables import TableInfo

T = TypeVar("T")

TABLES: dict[str, type[Any]] = {
    "instructions": Instruction,
    "plan": Plan,
    "responses": Response,
    "annotations": Annotation,
    "pairs": PreferencePair,
    "answers": Answer,
    "judgements": Judgement,
    "item_scores": ItemScore,
    "scores": Score,
    "votes": Vote,
}
"""Tables of a run folder with the record each holds, in the order in which they are made."""


_ERRORS = re.compile(": (" + "|".join(get_args(ErrorClass)) + "): ")
_BOUGHT = ("responses", "annotations", "answers", "judgements")
"""Those whose rows were paid for, each call in the ledger."""


@contextmanager
def told_when_unwritable(path: Path) -> Generator[None]:
    """Put into words that a folder may not be looked at, made or written.

    Args:
        path: The folder that was asked for; nothing but it may be touched in the block.
    Raises:
        DataError: the system refuses: it is another user's, lies below a file, or on a disk that takes nothing.
        ConfigError: a part of its name is too long.
    """
    try:
        yield
    except OSError as error:
        refused = DataError(f"{path} cannot be written ({error}). Choose another --out.")
        raise too_long(error) or refused from error


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A folder that holds everything about one run; its name is UTF-8, or it is a `ConfigError`.

    Attributes:
        path: The folder.
        settings: As resolved, from its run.toml.
        written: Whether its run.toml says so. What a command line changes is written by `keep_settings`, when nobody
            else works on the folder and nothing is wrong with it.
    """

    path: Path
    settings: Settings
    written: bool = True

    def __post_init__(self) -> None:
        check_name(self.path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run folder.

        Raises:
            ConfigError: it is not there, has no run.toml, or its name is too long.
            DataError: it may not be looked at.
        """
        try:
            there = (path / "run.toml").is_file()
        except OSError as error:
            refused = DataError(f"{path} cannot be read ({error}). Is it another user's?")
            raise too_long(error) or refused from error
        if not there:
            hint = "Make one with `vlfeedback run run.toml --out DIR` or `vlfeedback import`."
            raise ConfigError(f"{path} is no run folder: it has no run.toml. {hint}")
        return cls(path, config.load(path / "run.toml"))

    @classmethod
    def create(cls, path: Path, settings: Settings) -> RunFolder:
        """Make a run folder, or give an existing one new settings.

        Raises:
            DataError: the folder cannot be written.
        """
        cls(path, settings, written=False).keep_settings()
        return cls(path, settings)

    def keep_settings(self) -> Callable[[], None]:
        """Write run.toml, if it does not say the same already.

        Returns:
            What puts the old one back, where there was one.
        Raises:
            DataError: the folder cannot be written.
        """
        if self.written:
            return lambda: None
        place = self.path / "run.toml"
        with told_when_unwritable(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            old = place.read_bytes() if place.exists() else None
            self._write_toml(config.to_toml(self.settings).encode())
        return lambda: None if old is None else self._write_toml(old)

    def _write_toml(self, text: bytes) -> None:
        part = self.path / f".run.toml.{os.getpid()}.part"
        part.write_bytes(text)
        part.replace(self.path / "run.toml")

    @property
    def ledger_path(self) -> Path:
        """Where the calls are kept: in the folder, or where [ledger] says."""
        return Path(self.settings.ledger.path) if self.settings.ledger.path else self.path / "ledger.sqlite"

    def check_ledger(self) -> None:
        """Refuse to take a ledger for a new one where tables show that calls were bought.

        An empty file in a folder without them is what a command leaves that was killed at its very first moment.

        Raises:
            LedgerError: nothing is in it, and there are tables.
        """
        bought = any(self.table(name).exists() for name in _BOUGHT)
        if bought and blank(self.ledger_path):
            raise LedgerError(
                f"ledger {self.ledger_path} is empty, but {self.path} has tables that were made with it: every reply "
                "that was paid for is missing from it. Restore it from a copy; or delete the empty file to buy all "
                "that is still needed again, with a budget that knows nothing of what was spent."
            )

    @property
    def roots(self) -> Roots:
        """Image roots by name; `run` holds pictures that were drawn or unpacked by the run itself."""
        return roots_of(self.settings, self.path / "images")

    def table(self, name: str) -> Path:
        """Path of a table."""
        return self.path / f"{name}.parquet"

    def dropped(self, room: str) -> Path:
        """Path of what a room dropped."""
        return self.path / "dropped" / f"{room}.parquet"

    def parts(self, name: str) -> Path:
        """Folder of the finished parts of a table that is not made yet."""
        return self.path / ".parts" / name

    def info(self, name: str) -> TableInfo | None:
        """What a table says of itself; None if it is not there."""
        return tables.info(self.table(name)) if self.table(name).exists() else None

    def fresh(self, name: str, inputs: str) -> bool:
        """Whether a table is complete and was made from just these inputs and settings."""
        found = self.info(name)
        return found is not None and found.complete and found.inputs == inputs

    def need(self, name: str, room: str) -> TableInfo:
        """A table that the next room reads.

        Raises:
            StaleInput: it is missing or was interrupted.
        """
        found = self.info(name)
        if found is None:
            raise StaleInput(f"{self.table(name)} is missing: run `vlfeedback {room} {self.path}` first.")
        return found

    @contextmanager
    def writing(self) -> Generator[None]:
        """Be the only command that writes this folder.

        Raises:
            RunLocked: another one is at it.
            DataError: the folder cannot be written.
        """
        with told_when_unwritable(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = claim(self.path / ".lock", f"run folder {self.path}")
        for folder in (self.path, self.path / "dropped"):
            for left in folder.glob(".*.parquet.*.part"):  # of a command that was killed: a table nobody can read
                left.unlink(missing_ok=True)
        try:
            yield
        finally:
            os.close(descriptor)


def roots_of(settings: Settings, own: Path | None = None, *, fetch: bool = True) -> Roots:
    """Image roots of settings, within their [image_limits].

    Args:
        own: Where the pictures lie that a run itself draws, unpacks or fetches.
        fetch: Let pictures be fetched by URL, where the settings do.
    """
    named = {name: Path(place) for name, place in settings.images.items()}
    limits = settings.image_limits.model_dump(exclude_none=True)
    limits["allow_urls"] &= fetch
    return Roots(named if own is None else {**named, RUN_ROOT: own}, **limits)


def home_of(settings: Settings, table: SourceTable) -> Path | None:
    """The folder or archive of a source's image root, None where it names none of the settings'."""
    place = settings.images.get(table.images)
    return None if place is None else Path(place)


def inputs_digest(*parts: object) -> str:
    """Digest of what a room was given: digests of tables, settings as JSON values, versions."""
    return hash_id("inputs", *parts)


def asked_again(dropped: Dropped) -> bool:
    """Whether a call has failed in a way that says nothing of the question: the next run asks it again."""
    if dropped.reason != "call_failed":
        return False
    # The first class named is ours; what follows are the endpoint's words, which may name another.
    found = _ERRORS.search(f": {dropped.detail}")
    return found is None or found[1] in ASKED_AGAIN


@dataclass
class Sink(Generic[T]):
    """Takes a room's stream apart: records into the table, dropped ones beside it, both or neither.

    A sink with parts keeps what is settled for the next run, should this one not come to its end.

    Args:
        run: The folder.
        name: Of the table.
        room: Who writes.
        parts: Where finished parts are kept.
        after: The sink of the room before: what it has settled is kept first, because records here build on it.
    """

    run: RunFolder
    name: str
    room: Room
    parts: Parts | None = None
    after: Sink[Any] | None = None
    kept: int = 0
    reasons: Counter[str] = field(default_factory=Counter[str])
    unanswered: int = 0
    unread: Unread = field(default_factory=Unread)
    done: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        self._table = tables.Writer(self.run.table(self.name), TABLES[self.name], room=self.room)
        self._dropped = tables.Writer(self.run.dropped(self.room), Dropped, room=self.room)
        self._settled: list[Any] = []
        self._records: list[Any] = []
        self._lock = threading.RLock()  # two rooms at work at the same time share the sink of the first

    def add(self, record: T | Dropped) -> None:
        """One record of the stream."""
        self._count(record)
        (self._dropped if isinstance(record, Dropped) else self._table).add(record)

    def extend(self, records: Iterable[T | Dropped]) -> None:
        """Many records of the stream."""
        with self._lock:
            for record in records:
                self.add(record)

    def _count(self, record: T | Dropped) -> None:
        if isinstance(record, Dropped):
            self.reasons[record.reason] += 1
            self.unanswered += asked_again(record)
            self.unread.add(record)
        else:
            self.kept += 1

    def take_over(self, among: Collection[str], fits: Callable[[tables.Loaded], bool] | None = None) -> int:
        """Take what earlier runs have finished; `done` then has whose records these are.

        Returns:
            The number of records.
        """
        before = self.kept + self.gone
        for part in self.parts.whole(among, fits) if self.parts is not None else ():
            self._table.take(part.rows)
            self._dropped.take(part.dropped)
            self.kept += part.rows.info.rows
            self.reasons.update(part.dropped.rows["reason"].to_pylist())
            self.done.update(part.ids)
        return self.kept + self.gone - before

    def settle(self, what: Any, records: Sequence[T | Dropped], *, final: bool = True) -> None:
        """All records of one instruction; unless they are final, or all its calls are answered, the next run asks on.

        Args:
            what: Whose they are, in the class that the parts are of.
        """
        if self.parts is None or not final or any(isinstance(one, Dropped) and asked_again(one) for one in records):
            self.extend(records)
            return
        with self._lock:
            for record in records:
                self._count(record)
            self._settled.append(what)
            self._records.extend(records)
            if len(self._settled) >= SIZE:
                self.keep()

    def keep(self) -> None:
        """Make a part of what is settled, so that a kill does not cost it."""
        if self.after is not None:
            self.after.keep()
        with self._lock:
            if self.parts is None or not self._settled:
                return
            part = self.parts.write(self._settled, self._records)
            self._table.take(tables.load(part.rows, TABLES[self.name]))
            self._dropped.take(tables.load(part.dropped, Dropped))
            self._settled, self._records = [], []

    @property
    def gone(self) -> int:
        """How many were dropped."""
        return self.reasons.total()

    def balance(self, wanted: int) -> None:
        """Check that everything that was asked for is in one of the two tables.

        Raises:
            BooksError: it is not; the parts are deleted then, or the next run would end like this one.
        """
        try:
            tables.balance(self.room, wanted, **{self.name: self.kept}, dropped=self.gone)
        except BooksError:
            if self.parts is not None:
                self.parts.forget()
            raise

    def close(self, inputs: str, *, complete: bool = True) -> TableInfo:
        """Make both tables visible; where calls are still to be answered they are marked incomplete."""
        complete = complete and not flow.interrupted() and not self.unanswered
        with self._lock:
            try:
                if not complete:
                    self.keep()
                for record in self._records:
                    (self._dropped if isinstance(record, Dropped) else self._table).add(record)
                self._settled, self._records = [], []
            except BaseException:
                self.discard()
                raise
            self._dropped.close(inputs=inputs, complete=complete)
            made = self._table.close(inputs=inputs, complete=complete)
            if complete and self.parts is not None:
                self.parts.forget()
            return made

    def discard(self) -> None:
        """Leave no trace; tables and parts that were there before stay."""
        self._table.discard()
        self._dropped.discard()
