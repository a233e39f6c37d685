"""Before a question is sent, and before it is sent once more although its first sending may have been served.

Whoever pays (the ledger's wrapper) has to set money aside for each sending and to write it down before it happens:
after a kill nothing else would know of it. It is asked as late as can be, because what is written down and was never
sent counts as money that may be spent. The backend asks here, without knowing who pays.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

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


class Payer(Protocol):
    """Whoever pays for one question."""

    async def open(self) -> None:
        """Before the first sending; asked again, it does nothing. Raises what forbids the sending."""
        ...

    async def again(self) -> bool:
        """Before a further sending, see `may_send_again`."""
        ...


_payer: ContextVar[Payer | None] = ContextVar("vlfeedback_payer", default=None)


def payer() -> Payer | None:
    """Who pays here."""
    return _payer.get()


async def before_sending() -> None:
    """To be awaited before the first sending of a question, by models that say `pays_late`.

    Raises:
        BudgetExceeded, LedgerError: it may not be sent.
    """
    payer = _payer.get()
    if payer is not None:
        await payer.open()


async def may_send_again() -> bool:
    """Whether the question under way may be sent again; to be asked after each sending of unknown fate.

    Returns:
        False where no money is left for it: the caller gives the failure back as it is.
    """
    payer = _payer.get()
    return True if payer is None else await payer.again()


class paying:
    """Within, `payer` is asked. A class: a generator would take three times as long, for every call."""

    __slots__ = ("_payer", "_token")

    def __init__(self, payer: Payer | None) -> None:
        self._payer = payer

    def __enter__(self) -> None:
        self._token = _payer.set(self._payer)

    def __exit__(self, *_: object) -> None:
        _payer.reset(self._token)
