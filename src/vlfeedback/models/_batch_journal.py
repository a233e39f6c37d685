"""Shards of questions on disk, from the first question to the last reply of theirs that is committed.

A shard is noted before it is uploaded, and again when its batch has an id: whoever comes after a killed process finds
by these notes what lies at the provider.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from vlfeedback.errors import LedgerError
from vlfeedback.ids import hash_id

SPOOL = ".spool"
"""Ending of a shard that is being filled."""

_KEY = re.compile(rb'\{"custom_id":"([0-9a-f]+)"')


@dataclass
class Shard:
    """Questions that travel together.

    Attributes:
        name: Hash of their keys; the batch carries it.
        keys: Of the calls.
        batch: The provider's id, once it is known.
    """

    name: str
    model: str
    keys: list[str]
    batch: str = ""


class Journal:
    """Notes of the shards of one model that are under way.

    Args:
        folder: Of all models' notes.
        identity: Of the model.

    Attributes:
        folder: Of this model's notes; made when something is put into it.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = notes_of(folder, identity)
        self._open: dict[str, set[str]] = {}

    def spool(self, key: str) -> Path:
        """An empty place for a shard that begins with a question."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{key}{SPOOL}"
        path.unlink(missing_ok=True)
        return path

    def lines(self, shard: Shard) -> Path:
        """Its questions, until the batch is begun."""
        return self.folder / f"{shard.name}.jsonl"

    def note(self, shard: Shard) -> Path:
        """What is known of it."""
        return self.folder / f"{shard.name}.json"

    def write(self, shard: Shard) -> None:
        """Durable before anything is uploaded, and again once the batch has an id.

        Raises:
            OSError: the disk is full.
        """
        self._open[shard.name] = set(shard.keys)
        part = self.folder / f"{shard.name}.part"
        with part.open("w", encoding="utf-8") as file:
            json.dump(asdict(shard), file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.note(shard))

    def settled(self, key: str) -> None:
        """A reply is committed; a shard is forgotten when all of its replies are."""
        for name, keys in list(self._open.items()):
            keys.discard(key)
            if not keys:
                self.forget(name)

    def forget(self, name: str) -> None:
        """Nothing of a shard is waited for any more."""
        self._open.pop(name, None)
        for ending in ("jsonl", "json"):
            (self.folder / f"{name}.{ending}").unlink(missing_ok=True)

    def left(self, done: Callable[[list[str]], set[str]]) -> Iterator[tuple[Shard, set[str]]]:
        """Shards of an earlier process with the keys that are still waited for; forgets those that are over.

        Args:
            done: Which of some keys are answered.
        Raises:
            LedgerError: a note is damaged.
        """
        for path in sorted(self.folder.glob("*.json")):
            shard = _read(path)
            keys = set(shard.keys) - done(shard.keys)
            if keys and (shard.batch or self.lines(shard).exists()):
                self._open[shard.name] = keys
                yield shard, keys
            else:
                self.forget(shard.name)


def _read(note: Path) -> Shard:
    try:
        return TypeAdapter(Shard).validate_json(note.read_bytes(), strict=True)
    except (OSError, ValueError) as problem:
        raise LedgerError(
            f"{note} is damaged ({str(problem).splitlines()[0]}): it says which batch holds some of the run's "
            "questions. Restore it; or delete it, and they are asked and paid for again."
        ) from problem


def under_way(journal: Path, identity: str) -> bool:
    """Whether an earlier process has left shards of a model.

    Args:
        journal: Folder of all models' notes.
    """
    return any(notes_of(journal, identity).glob("*.json"))


def notes_of(journal: Path, identity: str) -> Path:
    """Where the shards of a model are noted."""
    return journal / hash_id("batches", identity)[:16]


def spooled(journal: Path) -> Iterator[str]:
    """Keys of the questions that an earlier process had written into a shard and never sent; they are forgotten.

    Args:
        journal: Folder of all models' notes.
    """
    for path in journal.glob("*/*" + SPOOL):
        with path.open("rb") as lines:
            keys = [found[1].decode() for line in lines if (found := _KEY.match(line))]
        path.unlink()  # first of all: what is taken back twice would be money that nobody counts
        yield from keys
