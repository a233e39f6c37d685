"""A ledger that takes in finished calls in a process of its own, so that an import has two cores to compute on.

Compressing texts and filing them is half of an import's time, and one process of Python computes on one core. The two
processes talk through pipes: lists of calls go out, and how many were committed (or the error) comes back.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

from vlfeedback import flow
from vlfeedback.errors import LedgerError, VLFeedbackError
from vlfeedback.ledger import Ledger
from vlfeedback.records import Call


class Recorder:
    """`Ledger.record` elsewhere: what it returns from is committed, as there.

    Args:
        path: The ledger, made if it is not there. It is locked for other writers until `close`.
    Raises:
        RunLocked: another process is writing it.
        LedgerError: it is damaged or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C reaches this process only, which then closes the other one in order
        )
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def record(self, calls: Sequence[Call]) -> int:
        """Take in finished calls from elsewhere; known keys stay as they are.

        Returns:
            How many calls were given, known ones included.
        Raises:
            LedgerError: the disk is full, or the other process has died; what it confirmed before is kept.
        """
        with contextlib.suppress(BrokenPipeError):  # then it has died, and there is no answer either
            _send(cast("IO[bytes]", self._process.stdin), list(calls))
        return self._answer()

    def _answer(self) -> int:
        try:
            found = pickle.load(cast("IO[bytes]", self._process.stdout))
        except (EOFError, pickle.UnpicklingError) as error:
            raise LedgerError(
                f"ledger {self._path}: the process that writes it ended with {self._process.wait()}. Run the same "
                "command again; the ledger keeps everything that was committed."
            ) from error
        if isinstance(found, VLFeedbackError):
            raise found
        return cast("int", found)

    def close(self) -> None:
        """Let the other process end in order, and wait for it."""
        with contextlib.suppress(BrokenPipeError):
            cast("IO[bytes]", self._process.stdin).close()
        self._process.wait()
        cast("IO[bytes]", self._process.stdout).close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _send(pipe: IO[bytes], value: object) -> None:
    pipe.write(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))
    pipe.flush()


def _serve(path: Path, calls: IO[bytes], answers: IO[bytes]) -> None:
    """The other side: until the pipe is closed, which it also is when the importing process is killed."""
    try:
        with flow.without_collection(), Ledger.open(path) as ledger:
            _send(answers, 0)
            while True:
                try:
                    batch = cast("list[Call]", pickle.load(calls))
                except (EOFError, pickle.UnpicklingError):  # closed, or killed amid a batch that nobody waits for
                    return
                _send(answers, ledger.record(batch))
    except VLFeedbackError as error:
        _send(answers, error)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # the import was killed: nobody waits to hear what was kept
        _serve(Path(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
