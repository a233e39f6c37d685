"""Full disks and quotas: nothing that was paid for is lost, and a resumed run ends like an undisturbed one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import world
from servers import Server, serve

from vlfeedback.ledger import Ledger

COUNT = 12


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 megabytes, of which a whole run takes 19; only where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting needs more rights than this process has")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def padded(server: Server) -> None:
    """Replies of 60 kB that do not compress, so that a small disk is full soon."""
    say = server.reply
    server.reply = lambda body: say(body) + "\n<!-- " + os.urandom(30_000).hex() + " -->"


def finish(tmp_path: Path, server: Server, run: Path) -> None:
    """Resume, and compare what was bought with what the ledger holds."""
    done = world.collect(run)
    assert done["calls_made"] + done["calls_reused"] == 5 * COUNT
    with Ledger.open(run / "ledger.sqlite", write=False) as ledger:
        totals = ledger.totals()
    assert sum(one.calls for one in totals if one.state == "done") == 5 * COUNT
    twice = sum(count - 1 for count in server.good().values())
    assert twice <= sum(one.unsure for one in totals)


def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    world.draw(tmp_path, COUNT)
    with serve(tmp_path / "served.jsonl") as server:
        padded(server)
        run, toml = small_disk / "run", world.settings(tmp_path, server.url)
        ballast = small_disk / "filler"
        ballast.write_bytes(os.urandom(26 << 20))
        words = world.call("run", toml, "--out", run, "--to", "pair", code=1)
        assert "disk" in words and "ree some" in words
        assert "Traceback" not in words
        served = len(server.served())
        assert 0 < served < 5 * COUNT
        with Ledger.open(run / "ledger.sqlite", write=False) as ledger:
            kept = sum(one.calls for one in ledger.totals() if one.state == "done")
        assert kept >= served - 1, "what was in flight has to fit into the space that was set aside"
        ballast.unlink()
        finish(tmp_path, server, run)


def test_a_file_that_may_not_grow_is_a_full_disk_too(tmp_path: Path) -> None:
    """Quotas and limits answer otherwise than a full disk; the advice is the same."""
    path = tmp_path / "ledger.sqlite"
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from vlfeedback.errors import LedgerError\n"
        "from vlfeedback.ledger import Intent, Ledger\n"
        "ledger = Ledger.open(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))\n"
        "import os\n"
        "try:\n"
        "    for number in range(100):\n"
        "        ledger.intend([Intent(str(number), 'm', os.urandom(20_000).hex(), 'decode', 1.0)])\n"
        "except LedgerError as error:\n"
        "    print(number, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    number = int(done.stdout.split()[0])
    assert "disk" in done.stdout and "ree some" in done.stdout
    with Ledger.open(path) as ledger:  # what was committed is there, and it goes on when there is room
        assert ledger.totals()[0].calls == number
