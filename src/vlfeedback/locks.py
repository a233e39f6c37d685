"""One writer at a time: locks that the system lets go of when a process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from vlfeedback.errors import RunLocked


def claim(path: Path, what: str) -> int:
    """Take the right to write something, for this process, until the returned descriptor is closed.

    Args:
        path: A lock file beside the thing; it stays, empty.
        what: For the message.
    Raises:
        RunLocked: another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise RunLocked(
            f"{what} is being written by another command. Wait for it to end, or stop it; "
            "`vlfeedback status`, `digest`, `compare` and `export` may run meanwhile."
        ) from error
    return descriptor


def launched() -> int:
    """How many processes a launcher (torchrun, accelerate launch) has started for this command; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def follower() -> bool:
    """Whether another process of the same launch writes the files and talks to the user."""
    return launched() > 1 and os.environ.get("RANK", "0") != "0"
