"""Where there is a budget, one call of a model shows what is billed before many are sent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from vlfeedback import flow
from vlfeedback.errors import BudgetExceeded
from vlfeedback.ledger import Ledger
from vlfeedback.models._ledgered import LedgerBook, Ledgered
from vlfeedback.models._purse import Purse
from vlfeedback.records import Generation, Part, Request, Sampling, Usage

GOOD = Generation("fine", "stop", usage=Usage(3, 5), raw="{}")


class Slow:
    """A model that takes its time, and counts who waits for it."""

    identity = "probe"
    asked = most = under_way = 0

    def __init__(self, reply: Generation) -> None:
        self.reply = reply

    async def answer(self, request: Request) -> Generation:
        self.asked += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.05)
        self.under_way -= 1
        return self.reply


def many(model: Slow, ledger: Ledger, limit: float | None, begin: int = 0) -> list[object]:
    book = LedgerBook(ledger, Purse(limit, ledger.spent()))
    wrapped = Ledgered(model, book, price=lambda usage: 0.01 * usage.output, reserve=lambda request: 1.0)
    questions = [Request("", (Part(text=str(number)),), Sampling()) for number in range(begin, begin + 30)]

    async def all_at_once() -> list[object]:
        return list(await asyncio.gather(*map(wrapped.answer, questions), return_exceptions=True))

    return flow.run(all_at_once())


def test_one_call_shows_the_bill_before_many_are_sent(tmp_path: Path) -> None:
    dear = replace(GOOD, usage=Usage(3, 700))  # 7 are billed where 1 was set aside
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        found = many(model := Slow(dear), ledger, 25.0)
        assert model.asked == 3
        assert ledger.spent() == pytest.approx(21.0)
        [told, *_] = {str(one) for one in found if isinstance(one, BudgetExceeded)}
        assert "(21 spent; the next call may cost up to 7.0000)" in told


def test_a_dear_first_bill_is_told_as_it_ended(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        found = many(Slow(replace(GOOD, usage=Usage(3, 700))), ledger, 5.0)
        told = {str(one) for one in found if isinstance(one, BudgetExceeded)}
        assert len(told) == 1 and "budget of 5.00 is used up (7 spent; " in min(told)
        assert "billed more than the price table" in min(told)


@pytest.mark.parametrize("budget", [5.0, 29.5])
def test_a_budget_below_what_was_spent_before_does_not_blame_the_table(budget: float, tmp_path: Path) -> None:
    """All bills were within what was set aside for them: the user has chosen a budget that is used up already."""
    fair = replace(GOOD, usage=Usage(3, 100))
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert many(Slow(fair), ledger, 60.0) == [fair] * 30
        assert ledger.spent() == pytest.approx(30.0)
        found = many(model := Slow(fair), ledger, budget, begin=100)
        assert not model.asked
        [told] = {str(one) for one in found if isinstance(one, BudgetExceeded)}
    assert f"budget of {budget:.2f} is used up (30 spent; " in told
    assert "price table" not in told and "had cost 30 before this command began" in told


def test_what_is_told_is_spent_holds_the_calls_that_were_in_flight(tmp_path: Path) -> None:
    class Dearer(Slow):
        async def answer(self, request: Request) -> Generation:
            number = int(request.parts[0].text or 0)
            await asyncio.sleep(0.02 * number)
            return replace(await super().answer(request), usage=Usage(3, 700 if number else 100))

    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        found = many(model := Dearer(GOOD), ledger, 4.0)
        assert model.asked == 4
        told = {str(one) for one in found if isinstance(one, BudgetExceeded)}
        assert told and all("(22 spent; " in one for one in told)


@pytest.mark.parametrize("limit", [1000.0, None])
def test_nobody_waits_once_the_bill_is_known_or_without_a_budget(limit: float | None, tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert many(model := Slow(GOOD), ledger, limit) == [GOOD] * 30
        assert model.most >= 20


def test_a_first_call_that_hangs_or_fails_holds_nobody_up_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlfeedback.models._purse.FIRST_BILL", 0.3)

    class Hanging(Slow):
        before = 0

        async def answer(self, request: Request) -> Generation:
            if request.parts[0].text == "0":
                await asyncio.sleep(1.5)
                self.before = self.asked
            if request.parts[0].text == "1":
                return Generation("", "error", error="server")
            return await super().answer(request)

    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        found = many(model := Hanging(GOOD), ledger, 1000.0)
        assert found.count(GOOD) == 29 and model.most >= 20
        assert model.before == 28, "the others were done before it"


def test_large_sums_are_written_out() -> None:
    told = str(Purse(12_000.0, 12_345.678).exceeded(1.0))
    assert "(12346 spent; " in told and "had cost 12346 before" in told
