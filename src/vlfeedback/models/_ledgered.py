"""The wrapper through which every paid call goes: known replies are reused, new ones are committed first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from vlfeedback.errors import BudgetExceeded, ModelUnavailable
from vlfeedback.flow import Committer
from vlfeedback.ids import question_key, request_json
from vlfeedback.ledger import Intent, Ledger, Settled
from vlfeedback.models import Model
from vlfeedback.records import Generation, Request, Usage


@dataclass
class Counters:
    """What a command did: shown as `calls_made` and `calls_reused`."""

    made: int = 0
    reused: int = 0
    failed: int = 0


class Purse:
    """A hard stop for money: what is spent plus what is reserved never passes the limit.

    Args:
        limit: Upper bound of all costs of the ledger, or None for no bound.
        spent: What the ledger has cost so far.
    """

    def __init__(self, limit: float | None, spent: float) -> None:
        self.limit, self.used = limit, spent

    def reserve(self, amount: float) -> None:
        """Set an amount aside.

        Raises:
            BudgetExceeded: it is not there.
        """
        if self.limit is not None and self.used + amount > self.limit:
            raise BudgetExceeded(
                f"the budget of {self.limit:.2f} is used up ({self.used:.2f} spent or reserved, the next call may cost "
                f"up to {amount:.4f}). Everything so far is kept: raise `budget` under [annotate] and run again."
            )
        self.used += amount

    def settle(self, reserved: float, cost: float) -> None:
        """Replace what was reserved by what it cost."""
        self.used += cost - reserved


class LedgerBook:
    """A ledger with its two queues of commits, shared by all models of a command."""

    def __init__(self, ledger: Ledger, purse: Purse | None = None) -> None:
        self.ledger, self.purse, self.counters = ledger, purse or Purse(None, 0.0), Counters()
        self.intents: Committer[Intent] = Committer(ledger.intend)
        self.replies: Committer[Settled] = Committer(ledger.settle)
        self.flying: dict[str, asyncio.Future[Generation]] = {}


class Ledgered:
    """A model whose calls are kept.

    Args:
        inner: The model that is really asked.
        book: Ledger and queues of the command.
        price: Cost of a reply from its usage.
        reserve: Upper bound of the cost of a request.
        recipe: How this model wants pictures prepared; part of the question, so rooms put it into their requests.
    """

    def __init__(
        self,
        inner: Model,
        book: LedgerBook,
        *,
        price: Callable[[Usage], float],
        reserve: Callable[[Request], float],
        recipe: str = "original",
    ) -> None:
        self.inner, self.recipe, self._book, self._price, self._reserve = inner, recipe, book, price, reserve

    @property
    def identity(self) -> str:
        return self.inner.identity

    async def answer(self, request: Request) -> Generation:
        """The kept reply if there is one; else ask, commit, and hand on.

        Raises:
            BudgetExceeded: the call could cost more than is left; it is not sent.
            LedgerError: the reply could not be kept; it is not handed on.
        """
        if request.recipe != self.recipe:
            request = replace(request, recipe=self.recipe)
        question = request_json(request)
        key = question_key(self.identity, question)
        twin = self._book.flying.get(key)
        if twin is not None:  # the same question is under way: wait for its reply instead of buying it twice
            self._book.counters.reused += 1
            return await asyncio.shield(twin)
        known = self._book.ledger.find(key)
        if known is not None and known.state == "done" and known.generation is not None:
            self._book.counters.reused += 1
            return known.generation
        future: asyncio.Future[Generation] = asyncio.get_running_loop().create_future()
        self._book.flying[key] = future
        try:
            generation = await self._buy(key, question, request)
        except BaseException as error:
            future.set_exception(error)
            future.exception()  # a twin may never look; that is no fault
            raise
        else:
            future.set_result(generation)
            return generation
        finally:
            del self._book.flying[key]

    def close(self) -> None:
        """Give back the memory of a local model."""
        close = getattr(self.inner, "close", None)
        if close is not None:
            close()

    async def _buy(self, key: str, question: str, request: Request) -> Generation:
        book, reserved = self._book, self._reserve(request)
        book.purse.reserve(reserved)
        try:
            await book.intents.put(Intent(key, self.identity, question, request.purpose, reserved))
        except BaseException:
            book.purse.settle(reserved, 0.0)  # it was never sent
            raise
        try:
            generation = await self.inner.answer(request)
        except ModelUnavailable:
            await asyncio.to_thread(book.ledger.withdraw, [key])
            book.purse.settle(reserved, 0.0)
            raise
        cost = self._price(generation.usage) if generation.answered else 0.0
        await book.replies.put(Settled(key, generation, cost))
        book.purse.settle(reserved, cost + generation.unsure * reserved)
        book.counters.made += 1
        book.counters.failed += not generation.answered
        return generation
