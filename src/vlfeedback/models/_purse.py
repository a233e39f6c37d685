"""Money: what is spent, what is set aside for calls in flight, and the limit of both together."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import NamedTuple

from vlfeedback.errors import BudgetExceeded
from vlfeedback.flow import interrupted, parked

FIRST_BILL = 20.0
"""Seconds for which a model's first call keeps its others waiting, at most: a judge's reply takes ten."""

LOOK = 0.02
"""Seconds between two looks of those that wait for it."""


class _Waiting(NamedTuple):
    """Somebody who waits for money that is set aside for calls in flight."""

    amount: float
    granted: asyncio.Future[None]


class Exceeded(BudgetExceeded):
    """What to tell the user whose next call costs up to `amount`; by the money as it stands when it is told.

    Calls in flight are waited for before an error reaches the user, and they too are billed.
    """

    def __init__(self, purse: Purse, amount: float) -> None:
        super().__init__()
        self._purse, self._amount = purse, amount

    def __str__(self) -> str:
        limit, spent, held = self._purse.limit or 0.0, self._purse.settled, self._purse.held
        flying = f", {held:.2f} set aside for calls in flight" if held > 0 else ""
        return (
            f"the budget of {limit:.2f} is used up ({_short(spent)} spent{flying}; the next call may cost up to "
            f"{self._amount:.4f}).{self._over(limit, spent)} Everything so far is kept: raise `budget` under "
            "[annotate] and run again."
        )

    def _over(self, limit: float, spent: float) -> str:
        """Why more is spent than the limit, if it is: only bills of this command show that the table is wrong."""
        if spent <= limit:
            return ""
        if self._purse.began > limit:
            return f" This ledger's calls had cost {_short(self._purse.began)} before this command began."
        return " The endpoint has billed more than the price table says a call can cost: check the table."


def _short(amount: float) -> str:
    """Four figures, and all of those before the point: no `1.235e+04`."""
    return f"{amount:.4g}" if amount < 1000 else f"{amount:.0f}"


class FirstBill:
    """Lets one call of a model go first where there is a budget.

    What the table says of a price may be wrong, and the first bill shows it. A whole window of calls in flight, each
    billed at several times what was set aside for it, would pass the budget before anybody knew.
    """

    def __init__(self) -> None:
        self._busy = self._known = False
        self._until = 0.0

    async def turn(self) -> bool:
        """Wait until a bill is known, or nobody is finding out.

        Returns:
            False where the user asked to stop meanwhile.
        """
        if self._known:
            return True
        self._until = self._until or time.monotonic() + FIRST_BILL
        if self._busy:
            async with parked():  # the others of the room may be for other models
                while self._busy and not self._known and time.monotonic() < self._until:
                    if interrupted():
                        return False
                    await asyncio.sleep(LOOK)
                self._busy = True
        self._busy = True
        return True

    def ended(self, *, billed: bool) -> None:
        """A call is over; one that was not billed says nothing, and another one goes first."""
        self._busy, self._known = False, self._known or billed


class Purse:
    """A hard stop for money: what is spent plus what is set aside never passes the limit.

    Where only the money set aside for calls in flight is in the way, a further call waits for one of them to end: most
    cost less than was set aside for them. All calls belong on one event loop.

    Args:
        limit: Upper bound of all costs of the ledger, or None for no bound.
        spent: What the ledger has cost so far; it stays known as `began`.
    """

    def __init__(self, limit: float | None, spent: float) -> None:
        self.limit, self.used, self.began = limit, spent, spent
        self._held, self._flying = 0.0, 0
        self._waiting: deque[_Waiting] = deque()

    @property
    def settled(self) -> float:
        """What is spent for sure, or may be and will never be known better."""
        return self.used - self._held

    @property
    def held(self) -> float:
        """What is set aside for calls in flight."""
        return self._held

    async def take(self, amount: float) -> None:
        """Set an amount aside, waiting for calls in flight if they may leave enough.

        Raises:
            BudgetExceeded: it is not there, whatever they leave.
        """
        if not self._waiting and self.take_now(amount):
            return
        waiting = _Waiting(amount, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._serve()
        await waiting.granted

    def take_now(self, amount: float) -> bool:
        """Set an amount aside if it is there."""
        if self.limit is not None and self.used + amount > self.limit:
            return False
        self.used += amount
        self._held += amount
        self._flying += 1
        return True

    def adopt(self, amount: float) -> None:
        """An amount that counts as spent already is in flight again."""
        self._held += amount
        self._flying += 1

    def settle(self, reserved: float, cost: float) -> None:
        """Replace what was set aside by what it cost."""
        self.used += cost - reserved
        self._flying -= 1
        self._held = self._held - reserved if self._flying else 0.0
        self._serve()

    def exceeded(self, amount: float) -> BudgetExceeded:
        """See `Exceeded`."""
        return Exceeded(self, amount)

    def _serve(self) -> None:
        while self._waiting:
            amount, granted = self._waiting[0]
            if granted.done():  # given up
                pass
            elif self.take_now(amount):
                granted.set_result(None)
            elif self._flying and self.limit is not None and self.settled + amount <= self.limit:
                return
            else:
                granted.set_exception(self.exceeded(amount))
            self._waiting.popleft()
