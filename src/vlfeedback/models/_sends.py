"""Before a question is sent once more, although its first sending may have been served and billed.

Whoever pays (the ledger's wrapper) has to set money aside for the further sending and to write the first one down
before it happens: after a kill nothing else would know of it. The backend asks here, without knowing who pays.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from vlfeedback.errors import Stopped


class NotBatched(Exception):
    """A batch ended without an answer to this question: it is to be asked live.

    Args:
        unsure: The provider may have served and billed it all the same.
    """

    def __init__(self, *, unsure: bool = False) -> None:
        super().__init__()
        self.unsure = unsure


class Unsent(Stopped):
    """The user asked to stop before the question was sent."""


Permit = Callable[[], Awaitable[bool]]

_permit: ContextVar[Permit | None] = ContextVar("vlfeedback_permit", default=None)


def permit() -> Permit | None:
    """Whom `may_send_again` would ask here."""
    return _permit.get()


async def may_send_again() -> bool:
    """Whether the question under way may be sent again; to be asked after each sending of unknown fate.

    Returns:
        False where no money is left for it: the caller gives the failure back as it is.
    """
    permit = _permit.get()
    return True if permit is None else await permit()


class permitting:
    """Within, `may_send_again` asks `permit`. A class: a generator would take three times as long, for every call."""

    __slots__ = ("_permit", "_token")

    def __init__(self, permit: Permit | None) -> None:
        self._permit = permit

    def __enter__(self) -> None:
        self._token = _permit.set(self._permit)

    def __exit__(self, *_: object) -> None:
        _permit.reset(self._token)
