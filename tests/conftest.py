"""What every test shares: no network but loopback, and one thread for torch."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Under `nohup` it is ignored, and what is ignored stays so in every process of a test.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile("house", deadline=None)  # machines are noisy: a timing is never a test
settings.load_profile("house")

LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")
_connect = socket.socket.connect


def _guarded(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
        raise RuntimeError(f"a test tried to reach {address[0]}: tests run without a network")
    return _connect(self, address)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this machine can be reached."""
    monkeypatch.setattr(socket.socket, "connect", _guarded)
