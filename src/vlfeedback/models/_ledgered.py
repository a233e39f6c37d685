"""The wrapper through which every paid call goes: known replies are reused, new ones are committed first."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

from vlfeedback._flow_company import Company
from vlfeedback.errors import BudgetExceeded, ConfigError, LedgerError, ModelUnavailable
from vlfeedback.flow import Committer, Failures
from vlfeedback.ids import question_key, request_json
from vlfeedback.ledger import Intent, Ledger, Settled
from vlfeedback.models import Model
from vlfeedback.models._chat import chosen, failure
from vlfeedback.models._kept import Kept
from vlfeedback.models._purse import FirstBill, Purse
from vlfeedback.models._sends import NotBatched, Unsent, paying
from vlfeedback.records import Generation, Request, Usage

log = logging.getLogger(__name__)

ABSURD = 1000
"""A bill of more than so many times the most that a call can cost is a number that means something else."""


@dataclass
class Counters:
    """What a command did: shown as `calls_made` and `calls_reused`, and while it is under way.

    Attributes:
        failed: Calls without an answer, `errors` by class.
        unanswered: The same by model and class, for whoever has to mend it.
        again: Times that a question was sent once more.
        usage: Tokens of the answers that were bought.
        refused: By model, how many questions were refused, and the endpoint's words about the first.
    """

    made: int = 0
    reused: int = 0
    failed: int = 0
    again: int = 0
    errors: Counter[str] = field(default_factory=Counter[str])
    unanswered: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    usage: Usage = field(default_factory=Usage)
    refused: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def reuse(self, count: int) -> None:
        """So many answers were there already; rooms look them up in threads of their own."""
        with self._lock:
            self.reused += count

    def add(self, generation: Generation, model: str = "") -> None:
        """One call that was made."""
        self.made += 1
        self.again += max(0, generation.sent - 1)
        if not generation.answered or generation.error is not None:
            self.errors[generation.error or "other"] += 1
        if not generation.answered:
            self.failed += 1
            self.unanswered[model, generation.error or "other"] += 1
        if generation.error == "bad_request":
            self.refuse(model, generation.detail)
        one, all_ = generation.usage, self.usage
        self.usage = Usage(all_.input + one.input, all_.output + one.output, all_.cached + one.cached)

    def refuse(self, model: str, words: str) -> None:
        """A question was refused."""
        count, first = self.refused.get(model, (0, words))
        self.refused[model] = (count + 1, first)


class LedgerBook:
    """A ledger with its queue of commits, shared by all models of a command."""

    def __init__(self, ledger: Ledger, purse: Purse | None = None) -> None:
        self.ledger, self.purse, self.counters = ledger, purse or Purse(None, 0.0), Counters()
        self.company = Company()
        self.commits: Committer[Intent | Settled] = Committer(self._begin, self.company.wait)
        self.flying: dict[str, asyncio.Future[Generation]] = {}

    def _begin(self, rows: Sequence[Intent | Settled]) -> Callable[[], Failures]:
        """Begin one transaction for all; where it fails, each kind gets one of its own."""
        intents = [row for row in rows if isinstance(row, Intent)]
        replies = [row for row in rows if isinstance(row, Settled)]
        together = self.ledger.begin(intents, replies)

        def rest() -> Failures:
            if together is not None and together():
                return {}
            return self._apiece(rows, intents, replies)

        return rest

    def _apiece(
        self, rows: Sequence[Intent | Settled], intents: Sequence[Intent], replies: Sequence[Settled]
    ) -> Failures:
        """Replies first: on a full disk there is room for them, and none for what would buy more."""
        places = {kind: [place for place, row in enumerate(rows) if type(row) is kind] for kind in (Settled, Intent)}
        failures = _written(self.ledger.settle, replies, places[Settled])
        return {**failures, **_written(self.ledger.intend, intents, places[Intent])}


R = TypeVar("R", Intent, Settled)


def _written(write: Callable[[Sequence[R]], None], rows: Sequence[R], places: Sequence[int]) -> Failures:
    """Commit rows together, or singly where one of them cannot be written at all; errors by place."""
    try:
        if rows:
            write(rows)
    except LedgerError as error:  # the file's or the disk's, and so everybody's
        return dict.fromkeys(places, error)
    except Exception as error:
        if len(rows) == 1:
            return {places[0]: error}
        singly = (_written(write, [row], [place]) for row, place in zip(rows, places, strict=True))
        return {place: one for found in singly for place, one in found.items()}
    return {}


class Ledgered:
    """A model whose calls are kept.

    Args:
        inner: The model that is really asked.
        book: Ledger and queues of the command.
        price: Cost of a reply from its usage.
        reserve: Upper bound of the cost of a request.
        otherwise: Asked, at its own price, what a batch left unanswered.
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
        otherwise: Ledgered | None = None,
    ) -> None:
        self.inner, self.recipe, self._book, self._price, self._reserve = inner, recipe, book, price, reserve
        self._factor, self._first_bill = 1.0, FirstBill()
        self._otherwise = otherwise

    @property
    def identity(self) -> str:
        return self.inner.identity

    async def answer(self, request: Request) -> Generation:
        """The kept reply if there is one; else ask, commit, and hand on.

        Raises:
            BudgetExceeded: the call could cost more than is left; it is not sent.
            LedgerError: the reply could not be kept; it is not handed on.
        """
        return (await self.keyed(request)).generation

    async def keyed(self, request: Request) -> Kept:
        """The same with the key of the call, which takes a while to make."""
        if request.recipe != self.recipe:
            request = replace(request, recipe=self.recipe)
        question = request_json(request)
        key = question_key(self.identity, question)
        twin = self._book.flying.get(key)
        if twin is not None:  # the same question is under way: wait for its reply instead of buying it twice
            self._book.counters.reuse(1)
            return Kept(key, await asyncio.shield(twin))
        known = self._book.ledger.find(key) if self._book.ledger.answered(key) else None
        if known is not None and known.generation is not None:
            self._book.counters.reuse(1)
            return Kept(key, known.generation)
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
            return Kept(key, generation)
        finally:
            del self._book.flying[key]

    def kept(self, requests: Sequence[Request]) -> list[Kept | None]:
        """Replies that are in the ledger, without waiting for anything; safe in any thread."""
        keys = [self._key(one) for one in requests]
        found = self._book.ledger.replies(keys, raw=False)
        self._book.counters.reuse(sum(key in found for key in keys))
        return [Kept(key, found[key]) if key in found else None for key in keys]

    def recall(self, request: Request) -> Kept:
        """A reply that this command has had before, which counts it no second time; safe in any thread.

        Raises:
            LedgerError: it is not there any more.
        """
        key = self._key(request)
        found = self._book.ledger.replies([key], raw=False)
        if key not in found:
            raise LedgerError(f"{self._book.ledger.path} has lost the reply of call {key}: run again.")
        return Kept(key, found[key])

    def _key(self, request: Request) -> str:
        fitting = request if request.recipe == self.recipe else replace(request, recipe=self.recipe)
        return question_key(self.identity, request_json(fitting))

    def close(self) -> None:
        """Give back the memory of a local model."""
        close = getattr(self.inner, "close", None)
        if close is not None:
            close()

    async def _buy(self, key: str, question: str, request: Request) -> Generation:
        takes: Callable[[str], bool] | None = getattr(self.inner, "takes", None)
        if takes is not None and self._otherwise is not None and not takes(key):
            return await self._otherwise._buy(key, question, request)
        if self._book.purse.limit is None or hasattr(self.inner, "adopts"):  # a batch's bill comes when all is bought
            return await self._bought(key, question, request)
        if not await self._first_bill.turn():
            return replace(failure("connection", "stopped before it was sent"), sent=0)
        billed = False
        try:
            generation = await self._bought(key, question, request)
            billed = generation.answered and generation.error is None
        finally:
            self._first_bill.ended(billed=billed)
        return generation

    async def _bought(self, key: str, question: str, request: Request) -> Generation:
        book, factor = self._book, self._factor
        reserved = self._reserve(request) * factor
        sale = _Sale(book, Intent(key, self.identity, question, request.purpose, reserved).packed())
        adopts: Callable[[str], bool] | None = getattr(self.inner, "adopts", None)
        known = book.ledger.find(key) if adopts is not None and adopts(key) else None
        if known is not None and known.state == "intent":
            reserved = known.cost
            sale.adopt(reserved)
        elif not getattr(self.inner, "pays_late", False):
            await sale.open()
        try:
            began = time.monotonic()
            with paying(sale):
                generation = await self.inner.answer(request)
            book.company.took(time.monotonic() - began)
        except NotBatched as left:
            if left.unsure:
                sale.lose()
            else:
                await sale.withdraw()
            self._settled(key)
            if self._otherwise is None:
                raise
            return await self._otherwise._buy(key, question, request)
        except (ModelUnavailable, ConfigError, Unsent, BudgetExceeded):
            await sale.withdraw()
            raise
        if not (sale.opened or generation.sent):
            book.counters.add(generation, self.identity)
            return generation
        if generation.error == "bad_request" and getattr(self.inner, "doubted", False) and not self._served_before:
            book.counters.refuse(self.identity, generation.detail)
            generation = replace(generation, error="server")  # nothing shows that another question would be answered
        cost = self._cost(generation, reserved)
        await sale.close(generation, cost)
        self._settled(key)
        if cost > reserved > 0:
            self._learn(cost / (reserved / factor))
        if sale.refused and not generation.answered:
            raise book.purse.exceeded(reserved)
        return generation

    @cached_property
    def _served_before(self) -> bool:
        """Whether the model has ever answered anything in this ledger."""
        return any(one.model == self.identity and one.usage.output for one in self._book.ledger.totals())

    def _settled(self, key: str) -> None:
        settled: Callable[[str], None] | None = getattr(self.inner, "settled", None)
        if settled is not None:
            settled(key)

    def _cost(self, generation: Generation, reserved: float) -> float:
        """Price of a reply; what the endpoint does not count is taken at its upper bound, never at zero."""
        if not generation.answered:
            return 0.0
        cost = self._price(generation.usage) if counted(generation) else reserved
        if cost <= ABSURD * reserved or not reserved:
            return cost
        log.warning(
            "%s: a call is said to have taken %d and %d tokens, %.0f times the most that it can. It is charged that "
            "most.",
            self.identity,
            generation.usage.input,
            generation.usage.output,
            cost / reserved,
        )
        return reserved

    def _learn(self, ratio: float) -> None:
        """A reply cost more than was set aside for it: set more aside from now on."""
        if ratio > self._factor:
            self._factor = ratio
            log.warning(
                "%s: a call was billed %.2f times the most that it can cost by the price table; check the table's "
                "entry, above all how it counts pictures. From now on that much is set aside for each call.",
                self.identity,
                ratio,
            )


def counted(generation: Generation) -> bool:
    """Whether an endpoint said what the reply took; half of it, or a number that is none, does not say it."""
    usage = generation.usage
    if min(usage.input, usage.output, usage.cached) < 0:
        return False
    if not (generation.text or generation.provider_id or generation.finish in _COMPLETED or chosen(generation.raw)):
        return True  # refused before anything was read or written
    # A further sample of a call has its own output alone: what was read is the first one's.
    read = usage.input > 0 or generation.sent == 0
    return read and (usage.output > 0 or not (generation.text or generation.reasoning))


_COMPLETED = frozenset({"stop", "length", "refused"})


class _Sale:
    """One call being bought: money set aside and an intent for each time it is sent."""

    def __init__(self, book: LedgerBook, intent: Intent) -> None:
        self._book, self._intent = book, intent
        self._counted = 0
        self.opened = self.refused = False

    async def open(self) -> None:
        """Set money aside and commit the intent; once.

        Raises:
            BudgetExceeded, LedgerError: nothing may be sent.
        """
        if not self.opened:
            await self._book.purse.take(self._intent.reserved)
            await self._intend()
            self.opened = True

    def adopt(self, reserved: float) -> None:
        """Go on with an intent of an earlier process, whose batch is still under way."""
        self._intent = self._intent._replace(reserved=reserved)
        self._book.purse.adopt(reserved)
        self.opened = True

    async def again(self) -> bool:
        """The same for a further sending; the one before stays in the books at its reserve, billed or not."""
        if not self._book.purse.take_now(self._intent.reserved):
            self.refused = True  # the others' money cannot be waited for: they may be waiting for this call's
            return False
        await self._intend()
        self._counted += 1
        return True

    async def _intend(self) -> None:
        try:
            await self._book.commits.put(self._intent)
        except BaseException:
            self._book.purse.settle(self._intent.reserved, 0.0)  # it was never sent
            raise

    async def withdraw(self) -> None:
        """The last sending, if there was one, was certainly not served."""
        if not self.opened:
            return
        await asyncio.to_thread(self._book.ledger.withdraw, [self._intent.key])
        self._settle(0.0)

    def lose(self) -> None:
        """The last sending may have been served and billed: its intent stays open, and its reserve spent."""
        self._settle(self._intent.reserved)

    async def close(self, generation: Generation, cost: float) -> None:
        """Commit the reply."""
        await self._book.commits.put(Settled(self._intent.key, generation, cost, self._counted).packed())
        self._settle(cost + (generation.unsure - self._counted) * self._intent.reserved)
        self._book.counters.add(generation, self._intent.model)

    def _settle(self, last: float) -> None:
        reserved = self._intent.reserved
        for _ in range(self._counted):
            self._book.purse.settle(reserved, reserved)
        self._book.purse.settle(reserved, last)
