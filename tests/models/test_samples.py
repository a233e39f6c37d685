"""Several samples in one call: what each is worth, and what happens where an endpoint knows no `n`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asking
import pytest
from hypothesis import given, strategies as st
from servers import Server, serve

from vlfeedback.errors import ModelUnavailable
from vlfeedback.images import Roots
from vlfeedback.models import openai as backend
from vlfeedback.models._samples import _shared
from vlfeedback.models._sends import paying
from vlfeedback.records import Generation, Request

Ask = Callable[..., Request]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlfeedback.models._limits.FIRST_WAIT", 0.005)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def asked(server: Server, roots: Roots, *requests: Request, **options: Any) -> list[Generation]:
    model = backend.load(**{"model": "m", "roots": roots, "base_url": server.url, "samples": 4} | options)
    return asking.answers(model, *requests)


def four(ask: Ask, **options: Any) -> list[Request]:
    return [ask("Why?", **{"sample_index": number, "temperature": 0.7} | options) for number in range(4)]


def test_samples_of_one_question_are_one_call_and_its_bill_is_shared_out(
    tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    with serve(tmp_path / "log") as server:
        replies = asked(server, roots, *four(ask), ask("Another?", temperature=0.7))
        assert sorted(body.get("n", 1) for body in server.bodies) == [1, 4]
    samples = replies[:4]
    assert len({reply.text for reply in samples}) == 4
    assert [reply.usage.input for reply in samples] == [96, 0, 0, 0]
    assert sum(reply.usage.output for reply in samples) == sum(len(reply.text.split()) for reply in samples)
    assert [reply.sent for reply in samples] == [1, 0, 0, 0]
    assert len({reply.raw for reply in samples}) == 1


def test_without_the_option_or_without_noise_every_sample_is_a_call(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log") as server:
        asked(server, roots, *four(ask), samples=1)
        asked(server, roots, *four(ask, temperature=0.0))
        assert [body.get("n", 1) for body in server.bodies] == [1] * 8


@pytest.mark.parametrize(
    ("options", "calls"), [({"most_samples": 3}, 2), ({"most_samples": 1}, 4), ({"refuses_n": True}, 5)]
)
def test_what_an_endpoint_leaves_out_is_asked_singly(
    options: dict[str, Any], calls: int, tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    with serve(tmp_path / "log", **options) as server:
        replies = asked(server, roots, *four(ask))
        assert len(server.served()) == calls
    assert all(reply.finish == "stop" for reply in replies)


def test_a_failure_of_all_is_one_of_each_and_was_sent_once(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", faults=["reset"]) as server:
        replies = asked(server, roots, *four(ask), attempts=1)
        assert len(server.served()) == 1
    assert [(reply.error, reply.unsure) for reply in replies] == [("connection", 1)] * 4
    assert sum(reply.sent for reply in replies) == 1


def test_before_it_is_sent_again_every_sample_is_asked_whether_it_may(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    asked_for: list[int] = []

    async def one(model: backend.OpenAIModel, number: int, request: Request) -> Generation:
        with paying(asking.Purser(lambda: asked_for.append(number))):
            return await model.answer(request)

    async def run(model: backend.OpenAIModel) -> list[Generation]:
        try:
            return list(await asyncio.gather(*(one(model, *pair) for pair in enumerate(four(ask)))))
        finally:
            await model.aclose()

    with serve(tmp_path / "log", faults=["reset"]) as server:
        replies = asyncio.run(run(backend.load(model="m", roots=roots, base_url=server.url, samples=4)))
    assert sorted(asked_for) == [0, 1, 2, 3]
    assert [reply.unsure for reply in replies] == [1] * 4  # each may have been charged by the call that was lost


def test_a_sample_that_cannot_be_had_takes_none_along_that_was_paid_for(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    async def run(model: backend.OpenAIModel) -> list[Generation | BaseException]:
        try:
            async with asyncio.timeout(10):
                return await asyncio.gather(*map(model.answer, four(ask)), return_exceptions=True)
        finally:
            await model.aclose()

    with serve(tmp_path / "log", faults=[None, None, None, "quota"], most_samples=1) as server:
        model = backend.load(model="m", roots=roots, base_url=server.url, samples=4)
        replies = asyncio.run(run(model))
        assert server.good().total() == 3
    assert [type(one) for one in replies].count(ModelUnavailable) == 1
    assert [one.finish for one in replies if isinstance(one, Generation)] == ["stop"] * 3


def test_sendings_lost_before_samples_are_asked_singly_stay_lost(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", faults=["reset"], most_samples=1) as server:
        replies = asked(server, roots, *four(ask))
        assert len(server.served()) == 5  # lost, one choice, and three singly
    assert [reply.unsure for reply in replies] == [1] * 4
    assert sum(reply.sent for reply in replies) == 5


@pytest.mark.parametrize(
    ("faults", "wanted"), [([None, "422"], [4, 4, 1, 1, 1, 1, 4]), (["422"], [4, 1, 1, 1, 1] + [1] * 8)]
)
def test_a_refused_question_is_no_reason_to_ask_others_singly_where_several_are_known_to_be_given(
    faults: list[str | None], wanted: list[int], tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    async def run(model: backend.OpenAIModel) -> None:
        for words in ("Why?", "Where?", "When?"):
            requests = [ask(words, sample_index=number, temperature=0.7) for number in range(4)]
            assert {one.finish for one in await asyncio.gather(*map(model.answer, requests))} == {"stop"}
        await model.aclose()

    with serve(tmp_path / "log", faults=faults) as server:
        asyncio.run(run(backend.load(model="m", roots=roots, base_url=server.url, samples=4)))
        assert [body.get("n", 1) for body in server.bodies] == wanted


@given(st.integers(0, 10**6), st.lists(st.integers(1, 1000), min_size=1, max_size=8))
def test_shares_sum_up_to_the_whole(whole: int, weights: list[int]) -> None:
    parts = _shared(whole, weights)
    assert sum(parts) == whole and min(parts) >= 0
