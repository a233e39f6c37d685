"""Money: what is spent, what is set aside for calls in flight, and the limit of both together."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from vlfeedback.errors import BudgetExceeded


class _Waiting(NamedTuple):
    """Somebody who waits for money that is set aside for calls in flight."""

    amount: float
    granted: asyncio.Future[None]


class Purse:
    """A hard stop for money: what is spent plus what is set aside never passes the limit.

    Where only the money set aside for calls in flight is in the way, a further call waits for one of them to end: most
    cost less than was set aside for them. All calls belong on one event loop.

    Args:
        limit: Upper bound of all costs of the ledger, or None for no bound.
        spent: What the ledger has cost so far.
    """

    def __init__(self, limit: float | None, spent: float) -> None:
        self.limit, self.used = limit, spent
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
        """What to tell the user whose next call costs up to `amount`."""
        limit = 0.0 if self.limit is None else self.limit
        return BudgetExceeded(
            f"the budget of {limit:.2f} is used up ({self.used:.2f} spent or reserved, the next call may cost "
            f"up to {amount:.4f}). Everything so far is kept: raise `budget` under [annotate] and run again."
        )

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
