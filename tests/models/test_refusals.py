"""Refusals: of one question, or of everything, against the loopback endpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import answers
from servers import Server, serve

from vlfeedback import flow
from vlfeedback.errors import ModelUnavailable
from vlfeedback.images import Roots
from vlfeedback.ledger import Ledger
from vlfeedback.models import openai as backend
from vlfeedback.models._ledgered import LedgerBook, Ledgered
from vlfeedback.records import Request

Ask = Callable[..., Request]

GEMINI = [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.",
                     "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}]  # fmt: skip
COUNTRY = {"error": {"code": 400, "message": "User location is not supported.", "status": "FAILED_PRECONDITION"}}
BILLING = {"error": {"message": "Reached", "type": "invalid_request_error", "code": "billing_hard_limit_reached"}}
CREDIT = {"type": "error", "error": {"type": "invalid_request_error",
          "message": "Your credit balance is too low to access the API."}}  # fmt: skip
WRONG = {"error": {"message": "top_p is not supported with this model", "code": 400}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlfeedback.models._limits.FIRST_WAIT", 0.01)
    monkeypatch.setattr("vlfeedback.models._refusals.GRACE", 0.3)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def open_model(server: Server, roots: Roots, **options: Any) -> backend.OpenAIModel:
    return backend.load(**{"model": "m", "roots": roots, "base_url": server.url, "timeout": 5.0} | options)


def questions(ask: Ask, count: int) -> list[Request]:
    return [ask(f"question {number}", None) for number in range(count)]


@pytest.mark.parametrize("refusal", [GEMINI, COUNTRY, BILLING, CREDIT], ids=["key", "country", "billing", "credit"])
@pytest.mark.parametrize("before", [0, 5])
def test_a_400_about_key_or_account_is_no_answer(
    refusal: Any, before: int, tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    with serve(tmp_path / "log", faults=[None] * before + ["400"] * 9, refusal=refusal) as server:
        model = open_model(server, roots, in_flight=1)
        if before:
            assert all(reply.finish == "stop" for reply in answers(model, *questions(ask, before)))
        with pytest.raises(ModelUnavailable, match=r"serves nobody with this key or account \(status 400"):
            answers(model, ask())
        assert len(server.served()) == before + 1


def test_an_endpoint_that_refuses_all_and_serves_none_stops_the_run(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", every={1: "400"}, refusal=WRONG) as server:
        with pytest.raises(ModelUnavailable, match=r"served none .*top_p is not supported"):
            answers(open_model(server, roots, in_flight=4), *questions(ask, 40))
        assert len(server.served()) <= 40


def test_refusals_that_wait_do_not_hold_up_the_questions_that_explain_them(
    tmp_path: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlfeedback.models._refusals.GRACE", 2.0)
    with serve(tmp_path / "log", every={1: "400"}, refusal=WRONG) as server:
        model, began = open_model(server, roots), time.monotonic()
        with pytest.raises(ModelUnavailable, match="served none"):
            list(flow.each(questions(ask, 40), model.answer, in_flight=1))
        flow.run(model.aclose())
        assert time.monotonic() - began < 7, "one after the other would take seven times the grace"


@pytest.mark.parametrize("served_first", [False, True])
def test_many_bad_questions_do_not_stop_an_endpoint_that_serves(
    served_first: bool, tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    faults = ["400"] * 20
    with serve(tmp_path / "log", faults=[None, *faults] if served_first else faults, delay=0.05) as server:
        found = answers(open_model(server, roots), *questions(ask, 26))
        assert len(server.served()) == 26
    assert sorted(reply.error or "" for reply in found) == [""] * 6 + ["bad_request"] * 20


def test_a_few_bad_questions_and_no_others_are_kept(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", every={1: "400"}, refusal=WRONG) as server:
        found = answers(open_model(server, roots), *questions(ask, 7))
        assert len(server.served()) == 7
    assert [(reply.error, reply.answered) for reply in found] == [("bad_request", True)] * 7


def test_a_question_that_repeats_such_words_is_a_question(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    said = {"error": {"message": f"too long: {'x' * 400} invalid api key", "code": 400}}
    with serve(tmp_path / "log", faults=["400"], refusal=said) as server:
        assert answers(open_model(server, roots), ask())[0].error == "bad_request"


def test_a_few_refusals_are_kept_only_from_a_model_that_has_ever_answered(
    tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    def put(question: Request) -> tuple[str | None, bool]:
        with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
            model, book = open_model(server, roots), LedgerBook(ledger)
            wrapped = Ledgered(model, book, price=lambda _: 0.0, reserve=lambda _: 0.0)
            key, reply = flow.run(wrapped.keyed(question))
            flow.run(model.aclose())
            assert book.counters.refused == ({"openai:m": (1, reply.detail)} if reply.error else {})
            return reply.error, ledger.answered(key)

    with serve(tmp_path / "log", faults=["400", None, "400"], refusal=WRONG) as server:
        one, two = questions(ask, 2)
        assert put(one) == ("server", False)
        assert put(two) == (None, True)
        assert put(one) == ("bad_request", True)


@pytest.mark.parametrize("status", ["403", "404"])
def test_one_refusal_in_some_by_an_endpoint_that_serves_is_asked_again(
    status: str, tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    with serve(tmp_path / "log", faults=[status], every={6: status}, delay=0.02) as server:
        found = answers(open_model(server, roots, in_flight=8), *questions(ask, 40))
    assert [reply.finish for reply in found] == ["stop"] * 40


def test_one_refusal_alone_by_an_endpoint_that_has_served_is_asked_again(
    tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    with serve(tmp_path / "log", faults=[None, "403", None]) as server:
        model = open_model(server, roots)
        assert [answers(model, question)[0].finish for question in questions(ask, 2)] == ["stop", "stop"]
        assert len(server.served()) == 3


@pytest.mark.parametrize("wait", [0.01, 0.3], ids=["among others", "when all others are answered"])
def test_a_question_that_is_always_refused_is_a_bad_request_at_last(
    wait: float, tmp_path: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlfeedback.models._limits.FIRST_WAIT", wait)
    with serve(tmp_path / "log", refuse="poison", delay=0.02) as server:
        asked = [*(ask(f"poison {number}", None) for number in range(12)), *questions(ask, 40)]
        found = answers(open_model(server, roots, in_flight=16, attempts=2), *asked)
        assert len(server.served()) == 12 * 2 + 40
    assert [reply.error for reply in found] == ["bad_request"] * 12 + [None] * 40
    assert found[0].detail.startswith("status 403")


@pytest.mark.parametrize("in_flight", [1, 16])
def test_an_endpoint_that_forbids_everything_from_some_moment_on_stops_the_run(
    in_flight: int, tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    with serve(tmp_path / "log", faults=[None] * 20 + ["403"] * 200, delay=0.02) as server:
        with pytest.raises(ModelUnavailable, match="forbids"):
            answers(open_model(server, roots, in_flight=in_flight, attempts=2), *questions(ask, 60))
        assert len(server.served()) <= 20 + 40
