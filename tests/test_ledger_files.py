"""A commit of many replies needs no file but the ledger's own: a full /tmp, or no file left to open, loses none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
