"""The file of a ledger: what it is called, what is lost from it, and that a commit needs no other to be opened."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from vlfeedback import tables
from vlfeedback.commands.import_ import import_data
from vlfeedback.config import Settings
from vlfeedback.errors import LedgerError
from vlfeedback.ledger import Intent, Ledger
from vlfeedback.records import Instruction, Response
from vlfeedback.run_folder import RunFolder
from vlfeedback.run_models import access

SYSTEM = Path("/proc" if Path("/proc").is_dir() else "/dev/null")

CODE = """
import os, resource, sys
from pathlib import Path
from vlfeedback.ledger import Intent, Ledger, Settled
from vlfeedback.records import Generation, Usage

with Ledger.open(Path(sys.argv[1]) / "ledger.sqlite") as ledger:
    keys = [os.urandom(16).hex() for _ in range(2000)]

    def buy(some):
        ledger.intend([Intent(key, "m", "q" * 2000, "annotate", 0.0).packed() for key in some])
        replies = [Generation(text=os.urandom(400).hex(), finish="stop", usage=Usage(1, 1)) for _ in some]
        ledger.settle([Settled(key, reply, 0.0).packed() for key, reply in zip(some, replies, strict=True)])

    buy(keys[:100])
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(64)]  # no gap below the limit
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (held[-1] + 1, hard))
    for start in range(100, len(keys), 64):
        buy(keys[start : start + 64])
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(len(ledger.replies(keys[-500:])))
"""


def test_a_commit_opens_no_other_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.stdout.strip(), done.stderr) == ("500", "")


@pytest.mark.parametrize("name", ["a#b", "a?b=c", "a%20b", "a b", "\u00e9"])
def test_a_ledger_is_read_where_it_was_written_whatever_its_folder_is_called(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / f"{name}.sqlite"
    Ledger.open(path).close()
    with Ledger.open(path, write=False) as ledger:
        assert ledger.totals() == ()
    assert [one.name for one in tmp_path.iterdir()] == [name]  # no stray file of half the name beside it


def locked_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is for a user who may not write there; the one who runs the tests may write anywhere."""
    monkeypatch.setattr(os, "access", lambda *_: False)


def test_a_ledger_is_read_where_no_file_can_be_made_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger.open(path).close()
    before = sorted(one.name for one in tmp_path.iterdir())
    locked_folder(monkeypatch)
    with Ledger.open(path, write=False) as ledger:
        assert ledger.totals() == ()
        assert sorted(one.name for one in tmp_path.iterdir()) == before, "no index of a log"


def test_what_is_in_the_log_alone_is_read_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as writing:
        writing.intend([Intent("a" * 32, "m", "q", "decode", 0.0)])
        locked_folder(monkeypatch)
        with Ledger.open(path, write=False) as ledger:
            assert [one.calls for one in ledger.totals()] == [1]


def test_the_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    before = path.read_bytes()
    for write in (True, False):
        with pytest.raises(LedgerError, match=r"another program.*'notes'.*name another file"):
            Ledger.open(path, write=write)
    assert path.read_bytes() == before


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def without_tables(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:  # as a copy is that was taken without its log
        connection.execute("PRAGMA journal_mode=WAL")
    assert path.stat().st_size


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder.create(tmp_path / "run", Settings())
    with access(run):
        pass
    return run


@pytest.mark.parametrize("harm", [emptied, without_tables])
def test_a_ledger_that_lost_what_tables_were_made_with_is_not_taken_for_a_new_one(run: RunFolder, harm) -> None:
    tables.write(run.table("responses"), Response, [], room="exchange", inputs="")
    harm(run.ledger_path)
    before = run.ledger_path.read_bytes()
    with (
        pytest.raises(LedgerError, match=r"ledger\.sqlite is empty, but .* Restore it from a copy; or delete"),
        access(run),
    ):
        pass
    with pytest.raises(LedgerError, match="is empty, but"):
        import_data("trl", run.path / "run.toml", out=run.path)
    assert run.ledger_path.read_bytes() == before, "still as it was found, and refused the next time as well"
    run.ledger_path.unlink()
    with access(run) as reach:
        assert reach.book.ledger.spent() == 0


def test_the_followers_of_a_launch_do_not_look_at_a_ledger_that_is_being_made(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.write(run.table("responses"), Response, [], room="exchange", inputs="")
    emptied(run.ledger_path)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with access(run) as reach:
        assert reach.book.ledger.spent() == 0
    assert run.ledger_path.read_bytes() == b""


@pytest.mark.parametrize("harm", [emptied, without_tables])
def test_a_run_that_was_killed_at_its_first_moment_begins_again(run: RunFolder, harm) -> None:
    tables.write(run.table("instructions"), Instruction, [], room="exchange", inputs="")  # nobody was paid for these
    harm(run.ledger_path)
    with pytest.raises(LedgerError, match="the next run fills it"):
        Ledger.open(run.ledger_path, write=False)
    with access(run) as reach:
        assert reach.book.ledger.spent() == 0


@pytest.mark.parametrize("write", [True, False])
def test_a_place_where_nothing_can_be_is_said(tmp_path: Path, write: bool) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "l.sqlite", tmp_path / "file" / "deep" / "l.sqlite", SYSTEM / "x" / "y"):
        with pytest.raises(LedgerError, match=r"\[ledger\] path" if write else "is not there"):
            Ledger.open(place, write=write)
