"""Law 2: a call is in the ledger before it is sent, its raw reply before anything parses it; the rest is a view."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from vlfeedback import flow
from vlfeedback._ledger_writer import Work, Writer
from vlfeedback.errors import BudgetExceeded, LedgerError, ModelUnavailable
from vlfeedback.ids import call_key
from vlfeedback.ledger import Intent, Ledger, Settled
from vlfeedback.models._kept import MISSES, Kept, Shelf
from vlfeedback.models._ledgered import LedgerBook, Ledgered
from vlfeedback.models._purse import Purse
from vlfeedback.models._sends import may_send_again
from vlfeedback.records import Generation, Image, Part, Request, Sampling, Usage

REQUEST = Request("", (Part(text="What?"),), Sampling())
KEY = call_key("probe", REQUEST)


class Probe:
    """A model that runs a check at the moment it is asked."""

    identity = "probe"

    def __init__(self, reply: Generation | Exception, check: Callable[[], None] = lambda: None) -> None:
        self.reply, self.check, self.asked = reply, check, 0

    async def answer(self, request: Request) -> Generation:
        self.asked += 1
        self.check()
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


def ledgered(model: Probe, ledger: Ledger, limit: float | None = None) -> Ledgered:
    book = LedgerBook(ledger, Purse(limit, ledger.spent()))
    return Ledgered(model, book, price=lambda usage: 0.01 * usage.output, reserve=lambda request: 1.0)


GOOD = Generation("fine", "stop", usage=Usage(3, 5), raw='{"whole": "body"}')


def test_law_2_the_intent_is_committed_before_the_call_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"

    def look() -> None:
        with Ledger.open(path, write=False) as other:  # what another process, or the next one, would see
            found = other.find(KEY)
            assert found is not None and found.state == "intent" and found.cost == 1.0

    with Ledger.open(path) as ledger:
        model = Probe(GOOD, look)
        assert flow.run(ledgered(model, ledger).answer(REQUEST)) == GOOD
        assert model.asked == 1


def test_law_2_the_raw_reply_is_committed_before_it_is_handed_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        flow.run(ledgered(Probe(GOOD), ledger).answer(REQUEST))
        with Ledger.open(path, write=False) as other:
            found = other.find(KEY)
    assert found is not None and found.generation == GOOD
    assert found.state == "done" and found.cost == pytest.approx(0.05)


def test_law_2_a_reply_that_cannot_be_kept_is_not_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        book_model = ledgered(Probe(GOOD), ledger)

        def full(_: object) -> None:
            raise LedgerError("the disk is full")

        monkeypatch.setattr(ledger, "begin", lambda *_: None)
        monkeypatch.setattr(ledger, "settle", full)
        with pytest.raises(LedgerError, match="full"):
            flow.run(book_model.answer(REQUEST))


def test_law_2_the_same_question_is_bought_once_even_at_the_same_time(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        model = Probe(GOOD)
        wrapped = ledgered(model, ledger)

        async def twice() -> list[Generation]:
            return list(await asyncio.gather(wrapped.answer(REQUEST), wrapped.answer(REQUEST)))

        assert flow.run(twice()) == [GOOD, GOOD]
        assert model.asked == 1
        assert flow.run(wrapped.answer(REQUEST)) == GOOD
        assert model.asked == 1


@pytest.mark.parametrize("error", ["rate_limited", "timeout", "connection", "server"])
def test_law_2_an_attempt_is_asked_again_and_an_answer_is_not(tmp_path: Path, error: str) -> None:
    failed = Generation("", "error", error=error)  # type: ignore[arg-type]
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        model = Probe(failed)
        flow.run(ledgered(model, ledger).answer(REQUEST))
        flow.run(ledgered(model, ledger).answer(REQUEST))
        assert model.asked == 2
        model.reply = Generation("", "error", error="bad_request")
        flow.run(ledgered(model, ledger).answer(REQUEST))
        flow.run(ledgered(model, ledger).answer(REQUEST))
        assert model.asked == 3


def test_law_2_a_refused_key_leaves_no_open_intent(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(ModelUnavailable):
            flow.run(ledgered(Probe(ModelUnavailable("wrong key")), ledger).answer(REQUEST))
        found = ledger.find(KEY)
        assert found is not None and found.state == "failed"
        assert ledger.spent() == 0


def test_law_2_the_budget_is_a_hard_stop(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        model = Probe(GOOD)
        wrapped = ledgered(model, ledger, limit=1.04)
        flow.run(wrapped.answer(REQUEST))
        other = Request("", (Part(text="And?"),), Sampling())
        with pytest.raises(BudgetExceeded, match="budget"):
            flow.run(wrapped.answer(other))
        assert model.asked == 1
        assert ledger.find(call_key("probe", other)) is None


class Stubborn:
    """A model whose first sends time out, and which asks before each further one."""

    identity = "probe"

    def __init__(self, failures: int, check: Callable[[int], None] = lambda _: None) -> None:
        self.failures, self.check, self.sent = failures, check, 0

    async def answer(self, request: Request) -> Generation:
        while self.sent < self.failures:
            self.sent += 1
            if not await may_send_again():
                return Generation("", "error", error="timeout", sent=self.sent, unsure=self.sent)
            self.check(self.sent)
        self.sent += 1
        return replace(GOOD, sent=self.sent, unsure=self.failures)


def test_law_2_each_further_send_is_in_the_ledger_before_it_happens(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"

    def look(sends: int) -> None:
        with Ledger.open(path, write=False) as other:  # all that is left after a kill at this moment
            assert other.spent() == pytest.approx(1.0 + sends)
            assert other.totals()[0].unsure == sends

    with Ledger.open(path) as ledger:
        wrapped = ledgered(Stubborn(2, look), ledger)  # type: ignore[arg-type]
        assert flow.run(wrapped.answer(REQUEST)).text == "fine"
        assert ledger.spent() == pytest.approx(2.05)
        assert wrapped._book.purse.used == pytest.approx(2.05)
        (total,) = ledger.totals()
        assert (total.calls, total.attempts, total.unsure) == (1, 3, 2)


def test_law_2_a_further_send_needs_money_too(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        model = Stubborn(3)
        wrapped = ledgered(model, ledger, limit=2.5)  # type: ignore[arg-type]
        with pytest.raises(BudgetExceeded):
            flow.run(wrapped.answer(REQUEST))
        assert model.sent == 2
        assert ledger.spent() == pytest.approx(2.0) == wrapped._book.purse.used


def test_law_2_a_call_waits_for_money_that_others_may_leave(tmp_path: Path) -> None:
    questions = [Request("", (Part(text=str(number)),), Sampling()) for number in range(6)]
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        model = Probe(GOOD)
        wrapped = ledgered(model, ledger, limit=1.21)  # one at a time: 1.0 is set aside, 0.05 is what it costs

        async def all_at_once() -> list[object]:
            return list(await asyncio.gather(*map(wrapped.answer, questions), return_exceptions=True))

        found = flow.run(all_at_once())
        assert found[:5] == [GOOD] * 5
        assert isinstance(found[5], BudgetExceeded)
        assert ledger.spent() == pytest.approx(0.25)


@pytest.mark.parametrize("usage", [Usage(), Usage(-3, 5), Usage(3, -5), Usage(3, 0), Usage(0, 5)])
def test_law_2_what_the_endpoint_does_not_count_costs_its_upper_bound(tmp_path: Path, usage: Usage) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        flow.run(ledgered(Probe(replace(GOOD, usage=usage)), ledger).answer(REQUEST))
        assert ledger.spent() == 1.0


@pytest.mark.parametrize(
    ("generation", "cost"),
    [
        (Generation("", "refused"), 1.0),
        (Generation("", "content_filter", provider_id="chatcmpl-1"), 1.0),  # filtered after it was written
        (Generation("", "content_filter"), 0.0),  # refused with a status, before it was read
        (Generation("", "content_filter", raw='{"error": {"code": "content_filter"}}'), 0.0),
        (Generation("", "content_filter", raw='{"choices": [{"finish_reason": "content_filter"}]}'), 1.0),
        (Generation("", "error", error="bad_request"), 0.0),
        (Generation("", "length", usage=Usage(3, 7)), 0.07),
        (Generation("", "stop", usage=Usage(3, 0)), 0.0),
        (Generation("more", "stop", usage=Usage(0, 5), sent=0), 0.05),  # a further sample of one call
        (Generation("", "stop", reasoning="hm", usage=Usage(3, 0)), 1.0),
        (Generation("fine", "stop", usage=Usage(3, 10**9)), 1.0),  # ten million times what is possible
    ],
)
def test_law_2_what_a_reply_costs(tmp_path: Path, generation: Generation, cost: float) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        wrapped = ledgered(Probe(generation), ledger)
        flow.run(wrapped.answer(REQUEST))
        assert (ledger.spent(), wrapped._book.purse.used) == (pytest.approx(cost), pytest.approx(cost))
        assert wrapped._factor == 1.0


def test_law_2_a_row_that_cannot_be_written_does_not_take_the_others_along(tmp_path: Path) -> None:
    requests = [Request("", (Part(text=str(number)),), Sampling()) for number in range(4)]
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        book = LedgerBook(ledger)
        mad = replace(GOOD, sent=10**40)

        async def all_at_once() -> list[object]:
            models = [Ledgered(Probe(mad if number == 2 else GOOD), book, price=lambda _: 0.0, reserve=lambda _: 0.0)
                      for number in range(4)]  # fmt: skip
            asked = (model.answer(request) for model, request in zip(models, requests, strict=True))
            return list(await asyncio.gather(*asked, return_exceptions=True))

        found = flow.run(all_at_once())
        assert [one == GOOD for one in found] == [True, True, False, True]
        assert isinstance(found[2], OverflowError)
        kept = [ledger.find(call_key("probe", request)) for request in requests]
        assert [one is not None and one.state for one in kept] == ["done", "done", "intent", "done"]


def test_law_2_a_bill_above_the_upper_bound_raises_it(tmp_path: Path) -> None:
    dear = replace(GOOD, usage=Usage(3, 300))
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        model = Probe(dear)
        wrapped = ledgered(model, ledger, limit=5.0)
        assert flow.run(wrapped.answer(REQUEST)) == dear
        with pytest.raises(BudgetExceeded):  # 3 are spent, and another call may cost 3 too
            flow.run(wrapped.answer(Request("", (Part(text="And?"),), Sampling())))
        assert model.asked == 1


def test_law_2_nonsense_in_one_reply_does_not_stop_the_commit_of_the_others(tmp_path: Path) -> None:
    mad = replace(GOOD, usage=Usage(10**40, 10**30, reasoning=-(10**30)))
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert flow.run(ledgered(Probe(mad), ledger).answer(REQUEST)) == mad
        assert ledger.find(KEY) is not None


def test_law_2_an_intent_of_a_killed_process_counts_as_money_that_may_be_gone(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.intend([Intent(KEY, "probe", "{}", "decode", 1.0)])
        assert ledger.spent() == 1.0
        ledger.intend([Intent(KEY, "probe", "{}", "decode", 1.0)])
        ledger.settle([Settled(KEY, GOOD, 0.05)])
        (total,) = ledger.totals()
        assert (total.calls, total.attempts, total.unsure) == (1, 2, 1)
        assert ledger.spent() == pytest.approx(1.05)


def test_law_2_a_full_disk_keeps_the_replies_in_hand_and_starts_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        ledger.intend([Intent(KEY, "probe", "{}", "decode", 1.0)])
        real, refused = Writer._whole, []

        def full_once(writer: Writer, work: Work) -> None:
            if not refused:
                refused.append(1)
                raise sqlite3.OperationalError("database or disk is full")
            real(writer, work)

        monkeypatch.setattr(Writer, "_whole", full_once)
        ledger.settle([Settled(KEY, GOOD, 0.05)])
        found = ledger.find(KEY)
        assert found is not None and found.generation == GOOD
        with pytest.raises(LedgerError, match="disk is full"):
            ledger.intend([Intent("other", "probe", "{}", "decode", 1.0)])


def test_law_2_kept_replies_are_looked_up_without_asking(tmp_path: Path) -> None:
    other = replace(REQUEST, system="Another question.")
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        model = Probe(GOOD)
        one = ledgered(model, ledger)
        assert one.kept([REQUEST, other]) == [None, None]
        flow.run(one.answer(REQUEST))
        found, missing = one.kept([REQUEST, other])
        assert missing is None and found is not None
        assert (found.key, found.generation) == (KEY, replace(GOOD, raw=""))
        assert model.asked == 1


def test_law_2_a_reply_is_given_again_without_being_counted(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        book = LedgerBook(ledger, Purse(None, 0.0))
        one = Ledgered(Probe(GOOD), book, price=lambda _: 0.0, reserve=lambda _: 0.0, recipe="jpeg")
        pictured = replace(REQUEST, parts=(Part(image=Image("a" * 64, "own:1.jpg", 4, 3)), *REQUEST.parts))
        flow.run(one.answer(pictured))
        key = call_key("probe", replace(pictured, recipe="jpeg"))
        assert one.recall(pictured) == Kept(key, replace(GOOD, raw=""))
        assert (book.counters.made, book.counters.reused) == (1, 0)
        with pytest.raises(LedgerError, match=r"has lost the reply of call .*: run again"):
            one.recall(REQUEST)


@pytest.mark.parametrize("error", ["timeout", "rate_limited"])
def test_law_2_an_attempt_is_never_looked_up_as_an_answer(tmp_path: Path, error: str) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        one = ledgered(Probe(Generation("", "error", error=error)), ledger)  # type: ignore[arg-type]
        flow.run(one.answer(REQUEST))
        assert one.kept([REQUEST]) == [None]


def test_law_2_a_look_up_prepares_pictures_as_the_call_does(tmp_path: Path) -> None:
    pictured = replace(REQUEST, parts=(Part(image=Image("a" * 64, "own:1.jpg", 4, 3)), *REQUEST.parts))
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        book = LedgerBook(ledger, Purse(None, 0.0))
        one = Ledgered(Probe(GOOD), book, price=lambda _: 0.0, reserve=lambda _: 0.0, recipe="jpeg")
        flow.run(one.answer(pictured))
        (found,) = one.kept([pictured])
        assert found is not None and found.key == call_key("probe", replace(pictured, recipe="jpeg"))
        assert book.counters.reused == 1


def test_law_2_looking_up_ends_where_nothing_is_kept() -> None:
    class Empty(Probe):
        looked = 0

        def kept(self, requests: Sequence[Request]) -> list[Kept | None]:
            self.looked += len(requests)
            return [None] * len(requests)

    assert Shelf([Probe(GOOD)]).bare
    model = Empty(GOOD)
    shelf = Shelf([Probe(GOOD), model])
    while not shelf.bare:
        shelf.look(model, [REQUEST] * 100)
    assert MISSES <= model.looked < MISSES + 100
