"""A ledger written by a process of its own: nothing confirmed is lost, and nobody hangs, whichever of the two dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from vlfeedback.errors import LedgerError, RunLocked
from vlfeedback.ledger import Ledger
from vlfeedback.recorder import Recorder
from vlfeedback.records import Call, Generation, TokenLogprobs, Usage


def call(number: int, text: str = "") -> Call:
    said = Generation(text or f"reply {number} ✓", "stop", usage=Usage(3, 4), logprobs=(TokenLogprobs("r", -0.5),))
    return Call(f"{number:032x}", "imported:m", f'{{"n":{number}}}', "decode", said, 0.0, "done", 1, 5.0, 6.0)


def kept(path: Path) -> list[Call]:
    with Ledger.open(path, write=False) as ledger:
        return list(ledger.calls())


def test_it_keeps_what_the_ledger_itself_would_keep(tmp_path: Path) -> None:
    calls = [call(number) for number in range(50)] + [call(99, "halves \ud800 stay")]
    with Recorder(tmp_path / "beside.sqlite") as recorder:
        assert recorder.record(calls[:30]) == 30
        assert recorder.record(calls[20:]) == 31  # known keys are counted and stay
    with Ledger.open(tmp_path / "here.sqlite") as ledger:
        ledger.record(calls)
    assert kept(tmp_path / "beside.sqlite") == kept(tmp_path / "here.sqlite") == calls


def test_what_it_confirmed_is_committed(tmp_path: Path) -> None:
    with Recorder(tmp_path / "ledger.sqlite") as recorder:
        recorder.record([call(1)])
        assert kept(tmp_path / "ledger.sqlite") == [call(1)]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Recorder(path):
        for writer in (Ledger.open, Recorder):
            with pytest.raises(RunLocked):
                writer(path)
    with Ledger.open(path):
        pass  # closing waits until the other process has let go


def test_a_damaged_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"no database" * 99)
    with pytest.raises(LedgerError, match=r"ledger\.sqlite: file is not a database\. The file is damaged"):
        Recorder(tmp_path / "ledger.sqlite")


def test_a_dead_writer_is_an_error_and_what_it_confirmed_stays(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Recorder(tmp_path / "ledger.sqlite") as recorder:
        recorder.record([call(1)])
        with pytest.raises(LedgerError, match=r"ended with 1\. Run the same command again"):
            recorder.record([replace(call(2), generation=None)])
        with pytest.raises(LedgerError, match="ended with 1"):
            recorder.record([call(3)])
    assert kept(tmp_path / "ledger.sqlite") == [call(1)]
    assert "only finished calls" in capfd.readouterr().err


def test_a_killed_import_leaves_no_writer_behind(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    script = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from test_recorder import call; from vlfeedback.recorder import Recorder\n"
        "recorder = Recorder(Path(sys.argv[1])); recorder.record([call(1)]); print('kept', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path), str(Path(__file__).parent)], stdout=subprocess.PIPE
    ) as importing:
        assert importing.stdout is not None and importing.stdout.readline() == b"kept\n"
        os.kill(importing.pid, signal.SIGKILL)
    assert _opened_within(path, seconds=20)
    assert kept(path) == [call(1)]


def _opened_within(path: Path, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            Ledger.open(path).close()
        except RunLocked:
            time.sleep(0.05)
        else:
            return True
    return False
