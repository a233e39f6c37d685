"""What a caller can be told. Values, not exceptions, stand for what can go wrong with a single record.

    VLFeedbackError
    ├── ConfigError          a mistake in run.toml, a flag or an argument            exit 2
    ├── PluginError          a plug-in is unknown, outside the package, or broken    exit 2
    ├── DataError            a file or folder cannot be used as it is                exit 1
    │   ├── ImageError       one picture cannot be used; `reason` is a drop class
    │   ├── StaleInput       a table was made from other inputs or settings
    │   ├── BooksError       records went missing between two rooms
    │   └── ResultFileError  a file given to `score` is not of its benchmark's format     exit 2
    ├── LedgerError          the ledger is damaged, locked or on a full disk         exit 1
    ├── RunLocked            another command is writing this run folder              exit 1
    ├── ModelUnavailable     an endpoint or checkpoint cannot be used at all         exit 1
    ├── BudgetExceeded       the next call could cost more than is left              exit 1
    ├── NotBuiltYet          the part is planned but not there                       exit 2
    └── Stopped              the user asked to stop before anything was changed      exit 130

Every message says what is wrong, where, and what to do next.
"""

from __future__ import annotations

import errno
from pathlib import Path

from vlfeedback.records import Reason


class VLFeedbackError(Exception):
    """Root of all errors that the package raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class ConfigError(VLFeedbackError):
    """A mistake of the caller in settings, flags or arguments."""

    exit_code = 2


def too_long(error: Exception) -> ConfigError | None:
    """A name that the file system takes for none, as the caller's mistake; None for every other error."""
    if not isinstance(error, OSError) or error.errno != errno.ENAMETOOLONG:
        return None
    return ConfigError(f"{str(error.filename)[:60]}…: a part of this name is too long for a file; choose another.")


def check_name(path: Path) -> None:
    """Refuse a path that Arrow cannot open and TOML cannot hold, which would pass for a damaged file.

    Raises:
        ConfigError: it has bytes that are no UTF-8, such as an old `\\xfc` for ü.
    """
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        shown = error.object.encode("utf-8", "backslashreplace").decode()
        raise ConfigError(f"{shown}: this name is not UTF-8. Rename the folder (`convmv` does many).") from None


class PluginError(VLFeedbackError):
    """A plug-in that is unknown, not allowed, or does not keep its room's contract."""

    exit_code = 2


class DataError(VLFeedbackError):
    """A file or folder that cannot be used as it is."""


class ImageError(DataError):
    """One picture that cannot be used.

    Args:
        reason: The class under which a room drops the record.
        detail: What is wrong with which file, for the user.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail


class StaleInput(DataError):
    """A table was made from other inputs or settings than the present ones."""


class BooksError(DataError):
    """A room's input does not equal its output plus what it dropped."""


class ResultFileError(DataError):
    """A file that was given to be scored is not in the format of its benchmark: a mistake of the caller."""

    exit_code = 2


class LedgerError(VLFeedbackError):
    """The ledger cannot be read or written."""


class RunLocked(VLFeedbackError):
    """Another command is writing the same run folder or ledger."""


class ModelUnavailable(VLFeedbackError):
    """A model cannot be used at all: wrong key, no such model, endpoint dead, checkpoint missing."""


class BudgetExceeded(VLFeedbackError):
    """The next call could cost more than the budget leaves."""


class NotBuiltYet(VLFeedbackError):
    """A part of the design that this version does not have."""

    exit_code = 2


class Stopped(VLFeedbackError):
    """The user asked to stop, and nothing was changed."""

    exit_code = 130
