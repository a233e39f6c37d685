"""A full disk in words: every library that writes a part of a checkpoint has an exception of its own for it."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from vlfeedback.errors import DataError, VLFeedbackError

# Python and safetensors pass on what the system says; torch only sees that fewer bytes arrived than it wrote.
_FULL = re.compile(r"No space left|Disk quota|File too large|unexpected pos|PytorchStreamWriter failed")


@contextmanager
def told_when_full(out: Path) -> Generator[None]:
    """Turn what a full disk or a quota causes into an error that says what to do.

    Args:
        out: The folder that is written to.
    Raises:
        DataError: it cannot be written. What was saved before stays: a state counts only when its last file is whole.
    """
    try:
        yield
    except VLFeedbackError:
        raise
    except Exception as error:  # they have no class in common
        if not _FULL.search(str(error)):
            raise
        raise DataError(
            f"{out} cannot be written: {error}. Free some space and run the same command again: it goes on from the "
            "last state that was saved"
        ) from error
