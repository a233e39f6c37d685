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
            "`vlfeedback status`, `view` and `report` may run meanwhile."
        ) from error
    return descriptor
