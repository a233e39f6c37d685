"""The ledger's own file, whatever it is called; a commit needs no other: a full /tmp, or no file to open, loses none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vlfeedback.ledger import Ledger

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
