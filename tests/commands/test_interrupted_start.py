"""Ctrl-C before the command line has been imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SLOW = """
import pathlib, time
pathlib.Path(__file__).with_name("begun").touch()
time.sleep(60)
"""


def test_it_ends_quietly_with_130(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(SLOW)  # the first thing of others that the command line imports
    process = subprocess.Popen(
        [sys.executable, "-m", "vlfeedback", "--help"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        stderr=subprocess.PIPE,
        # Tests that were begun in the background of a shell ignore Ctrl-C, and what they begin inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, b"")
