"""Money is set aside, and a sending written down, just before it happens: what never was sent may not look sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import Body, Server, say, serve

from vlfeedback import flow
from vlfeedback.errors import BudgetExceeded
from vlfeedback.images import Roots
from vlfeedback.ledger import Ledger
from vlfeedback.models import openai as backend
from vlfeedback.models._endpoint import LEAST_NEXT
from vlfeedback.models._ledgered import LedgerBook, Ledgered
from vlfeedback.models._purse import Purse
from vlfeedback.records import Generation, Part, Request, Sampling

IN_FLIGHT = 4
QUESTIONS = [Request("", (Part(text=str(number)),), Sampling()) for number in range(60)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlfeedback.models._limits.FIRST_WAIT", 0.01)
    monkeypatch.setattr("vlfeedback.models._limits.FIRST_PAUSE", 0.02)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def open_calls(ledger: Path) -> int:
    """Calls that would count as sent, their fates unknown, if the process were killed now."""
    with Ledger.open(ledger, write=False) as other:
        return sum(total.calls for total in other.totals() if total.state == "intent")


def ask_all(
    ledger: Ledger, server: Server, roots: Roots, limit: float | None = None, **options: Any
) -> list[Generation | BaseException]:
    """Put all questions at once; a call is reserved at 1 and costs 0.01 a token that was said."""
    model = backend.load(
        model="m", roots=roots, base_url=server.url, timeout=5.0, in_flight=IN_FLIGHT, adaptive=False, **options
    )
    book = LedgerBook(ledger, Purse(limit, ledger.spent()))
    wrapped = Ledgered(model, book, price=lambda usage: 0.01 * usage.output, reserve=lambda request: 1.0)

    async def run() -> list[Generation | BaseException]:
        try:
            async with asyncio.timeout(40):
                return list(await asyncio.gather(*map(wrapped.answer, QUESTIONS), return_exceptions=True))
        finally:
            await model.aclose()

    return flow.run(run())


def watching(ledger: Path, seen: list[int]) -> Callable[[Body], str]:
    def reply(body: Body) -> str:
        seen.append(open_calls(ledger))
        return say(body)

    return reply


def test_what_waits_for_its_turn_is_not_written_down_and_what_is_sent_is(tmp_path: Path, roots: Roots) -> None:
    path, seen = tmp_path / "ledger.sqlite", list[int]()
    with Ledger.open(path) as ledger, serve(tmp_path / "log", reply=watching(path, seen), delay=0.02) as server:
        found = ask_all(ledger, server, roots)
        assert ledger.totals()[0].calls == len(QUESTIONS)
    assert all(isinstance(one, Generation) and one.answered for one in found)
    assert len(seen) == len(QUESTIONS)
    assert min(seen) >= 1  # its own
    # Beside what is in flight and next in line: replies that are on their way to the disk.
    assert max(seen) <= IN_FLIGHT + LEAST_NEXT + IN_FLIGHT


def test_what_waits_for_a_rest_is_not_written_down(
    tmp_path: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "LONGEST_REST", 0.5)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        with serve(tmp_path / "log", every={1: "429"}, retry_after="60") as server:
            found = ask_all(ledger, server, roots)
            sent = len(server.served())
        assert [getattr(one, "error", None) for one in found] == ["rate_limited"] * len(QUESTIONS)
        assert 1 <= sent <= sum(total.calls for total in ledger.totals()) <= IN_FLIGHT + LEAST_NEXT
        assert ledger.spent() == 0


def test_who_has_paid_and_rests_does_not_wait_behind_those_who_wait_for_his_money(tmp_path: Path, roots: Roots) -> None:
    rests = {3: "429", 5: "429", 7: "429"}
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        with serve(tmp_path / "log", every=rests, retry_after="0.05") as server:
            found = ask_all(ledger, server, roots, limit=2.5)
            good = sum(server.good().values())
        answered = [one for one in found if isinstance(one, Generation) and one.answered]
        assert len(answered) == good > IN_FLIGHT
        assert all(isinstance(one, BudgetExceeded) for one in found if one not in answered)
        assert ledger.spent() <= 2.5


def test_samples_of_one_call_are_paid_before_they_are_gathered(roots: Roots) -> None:
    one, many = (
        backend.load(model="m", roots=roots, base_url="http://127.0.0.1:9/v1", samples=samples) for samples in (1, 4)
    )
    assert one.pays_late and not many.pays_late
