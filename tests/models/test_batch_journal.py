"""Notes of shards that are under way: kept until the last reply is, and read by whoever comes after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlfeedback.errors import LedgerError
from vlfeedback.models._batch_journal import Journal, Shard, under_way


def none(_: list[str]) -> set[str]:
    return set()


def begun(folder: Path, batch: str = "batch_1") -> tuple[Journal, Shard]:
    journal, shard = Journal(folder, "m"), Shard("s", "m", ["a", "b"], batch)
    journal.spool("a").touch()
    journal.spool("a")  # a second one begins anew
    journal.lines(shard).touch()
    journal.write(shard)
    return journal, shard


def test_a_shard_is_found_by_the_next_process_with_what_is_not_answered(tmp_path: Path) -> None:
    _, shard = begun(tmp_path)
    assert list(Journal(tmp_path, "m").left(lambda keys: {"a"} & set(keys))) == [(shard, {"b"})]
    assert under_way(tmp_path, "m")
    assert not list(Journal(tmp_path, "other").left(none))


def test_a_shard_is_forgotten_with_its_last_reply(tmp_path: Path) -> None:
    journal, shard = begun(tmp_path)
    journal.settled("a")
    assert journal.note(shard).exists()
    journal.settled("b")
    assert not list(journal.folder.iterdir())


@pytest.mark.parametrize("why", ["all are answered", "nothing to send and no batch"])
def test_a_shard_that_is_over_is_forgotten(why: str, tmp_path: Path) -> None:
    journal, shard = begun(tmp_path, batch="" if why.startswith("nothing") else "batch_1")
    if why.startswith("nothing"):
        journal.lines(shard).unlink()
    assert not list(Journal(tmp_path, "m").left(none if why.startswith("nothing") else set))
    assert not under_way(tmp_path, "m")


def test_a_shard_that_was_not_sent_yet_is_found(tmp_path: Path) -> None:
    _, shard = begun(tmp_path, batch="")
    assert list(Journal(tmp_path, "m").left(none)) == [(shard, {"a", "b"})]


@pytest.mark.parametrize(
    "damage", ["", '{"name": "s", "mo', '{"name": 1}', '["s"]', '{"name": "s", "model": "m"}', "\0"]
)
def test_a_damaged_note_is_named_and_kept(damage: str, tmp_path: Path) -> None:
    journal, shard = begun(tmp_path)
    journal.note(shard).write_text(damage)
    with pytest.raises(LedgerError, match=r"s\.json is damaged .* or delete it, and they are asked and paid for again"):
        list(Journal(tmp_path, "m").left(none))
    assert journal.note(shard).read_text() == damage
