"""How hard an endpoint is pressed, and what is done when it does not answer: against the loopback endpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import Server, serve

from vlfeedback import flow
from vlfeedback.errors import ModelUnavailable
from vlfeedback.images import Roots
from vlfeedback.models import openai as backend
from vlfeedback.records import Generation, Request

Ask = Callable[..., Request]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlfeedback.models._limits.FIRST_WAIT", 0.005)
    monkeypatch.setattr("vlfeedback.models._limits.FIRST_PAUSE", 0.02)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def open_model(server: Server, roots: Roots, **options: Any) -> backend.OpenAIModel:
    return backend.load(**{"model": "m", "roots": roots, "base_url": server.url, "timeout": 20.0} | options)


async def gathered(model: backend.OpenAIModel, *requests: Request) -> list[Generation | BaseException]:
    try:
        return list(await asyncio.gather(*(model.answer(request) for request in requests), return_exceptions=True))
    finally:
        await model.aclose()


def test_an_endpoint_that_is_out_is_looked_at_by_one_call_at_a_time_and_comes_back(
    tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    with serve(tmp_path / "log", every={1: "503"}) as server:
        model = open_model(server, roots, in_flight=32, attempts=4)

        async def run() -> list[Generation | BaseException]:
            asked = asyncio.ensure_future(gathered(model, *(ask(str(number), None) for number in range(200))))
            for _ in range(400):
                await asyncio.sleep(0.05)
                if model.at_once == (1,):
                    break
            else:
                raise AssertionError("nobody noticed that the endpoint is out")
            await asyncio.sleep(0.3)  # what was under way has come back
            during = len(server.served())
            await asyncio.sleep(0.4)
            assert len(server.served()) - during <= 12, "an endpoint that is out was hammered"
            server.every.clear()
            return await asked

        replies = asyncio.run(run())
        assert len([reply for reply in replies if isinstance(reply, Generation) and reply.answered]) >= 150
        assert model.at_once[0] > 1, "it is back, and still looked at by one call at a time"


def test_an_endpoint_that_stays_out_is_given_up_after_a_while(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", faults=[None], every={1: "500"}) as server:
        model = open_model(server, roots, in_flight=8, attempts=50, patience=0.5)
        began = time.monotonic()
        replies = asyncio.run(gathered(model, *(ask(str(number), None) for number in range(40))))
        assert time.monotonic() - began < 20
        assert len(server.served()) < 60
    given_up = [reply for reply in replies if isinstance(reply, ModelUnavailable)]
    assert len(given_up) >= 30
    assert "nothing has been answered" in str(given_up[0]) and "(the last time: status 500: " in str(given_up[0])


def test_an_endpoint_that_warms_up_is_waited_for_as_long_as_patience_says(
    tmp_path: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "NOBODY_THERE", 0.0)
    monkeypatch.setattr("vlfeedback.models._limits.FIRST_PAUSE", 0.5)  # long enough for somebody to meet it shut
    with serve(tmp_path / "log", faults=["503"] * 10) as server:
        model = open_model(server, roots, in_flight=1, attempts=50, patience=30)
        replies = asyncio.run(gathered(model, *(ask(str(number), None) for number in range(3))))
    assert [reply.finish for reply in replies if isinstance(reply, Generation)] == ["stop"] * 3


@pytest.mark.parametrize("retry_after", [None, "0.05"])
def test_an_endpoint_that_answers_nothing_but_429_is_given_up(
    retry_after: str | None, tmp_path: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "LONGEST_REST", 0.5)
    with serve(tmp_path / "log", faults=[None], every={1: "429"}, retry_after=retry_after) as server:
        model = open_model(server, roots, in_flight=2)
        requests = [ask(str(number), None) for number in range(200)]
        with pytest.raises(ModelUnavailable, match=r"nothing but 429 .*made to fail"):
            list(flow.each(requests, model.answer, in_flight=2))
        flow.run(model.aclose())
        assert len(server.served()) < 60


def test_an_endpoint_that_serves_between_its_rests_is_not_given_up(
    tmp_path: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "LONGEST_REST", 1.5)
    with serve(tmp_path / "log", every={2: "429", 3: "429"}, retry_after="0.3") as server:
        model = open_model(server, roots, in_flight=1)
        for number in range(8):  # one after the other: no call rests for long
            [reply] = asyncio.run(gathered(model, ask(str(number), None)))
            assert isinstance(reply, Generation) and reply.finish == "stop"
    assert model.traffic.rested >= 8


def test_who_may_have_been_charged_says_so_when_the_endpoint_is_given_up(
    tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    with serve(tmp_path / "log", faults=["reset", "401"]) as server:
        model = open_model(server, roots, in_flight=1)

        async def run() -> None:
            reply = await model.answer(ask("a", None))
            assert (reply.error, reply.unsure, reply.answered) == ("connection", 1, False)
            assert "api_key_env" in reply.detail
            with pytest.raises(ModelUnavailable, match="api_key_env"):
                await model.answer(ask("b", None))
            await model.aclose()

        asyncio.run(run())
        assert len(server.served()) == 2


def test_a_503_with_retry_after_is_left_alone_as_long_as_it_asks(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", faults=["503_rest"], retry_after="0.7") as server:
        began = time.monotonic()
        [reply] = asyncio.run(gathered(open_model(server, roots, in_flight=1), ask("a", None)))
        assert time.monotonic() - began >= 0.7
    assert isinstance(reply, Generation) and reply.finish == "stop"


def test_a_date_to_retry_after_is_read_by_the_clock_of_the_endpoint(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", faults=["429_date"]) as server:  # its clock is a day behind; one second is asked for
        began = time.monotonic()
        asyncio.run(gathered(open_model(server, roots), ask("a", None)))
        assert 0.9 <= time.monotonic() - began < 15


def test_tokens_per_minute_spread_the_calls(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", reply=lambda body: "x " * 39) as server:  # 50 tokens a call, as the server counts
        model = open_model(server, roots, tokens_per_minute=30_000, in_flight=4)  # 0.1 s each

        async def run() -> float:
            await model.answer(ask("first", None, max_tokens=40))
            began = time.monotonic()
            await asyncio.gather(*(model.answer(ask(str(number), None, max_tokens=40)) for number in range(6)))
            await model.aclose()
            return time.monotonic() - began

        assert asyncio.run(run()) >= 0.5


def test_places_follow_what_the_endpoint_bears(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    """An endpoint that refuses more than six at a time: it ends near six, and everything is answered."""
    with serve(tmp_path / "log", delay=0.05, most=6, retry_after=None) as server:
        model = open_model(server, roots, in_flight=64)
        replies = asyncio.run(gathered(model, *(ask(str(number), None) for number in range(600))))
        assert all(isinstance(reply, Generation) and reply.finish == "stop" for reply in replies)
        assert 1 <= model.at_once[0] <= 24


def test_a_resting_endpoint_gives_its_place_in_the_room_to_others(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "a", faults=["429"], retry_after="4") as tired, serve(tmp_path / "b") as fresh:
        models = [open_model(server, roots, in_flight=4) for server in (tired, fresh)]
        done: list[tuple[float, int]] = []
        began = time.monotonic()

        async def answer(number: int) -> int:
            await models[number % 2].answer(ask(str(number), None))
            done.append((time.monotonic() - began, number))
            return number

        assert sorted(flow.each(range(60), answer, in_flight=4)) == list(range(60))
        early = [number for when, number in done if when < 3.5]
        assert len([number for number in early if number % 2]) >= 25, "others waited for an endpoint that rests"
        for model in models:
            flow.run(model.aclose())


def test_one_failure_moves_one_call_and_not_all_that_follow(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "a", faults=["500"]) as one, serve(tmp_path / "b") as two:
        model = open_model(one, roots, base_url=[one.url, two.url], in_flight=1)

        async def run() -> None:
            for number in range(12):
                await model.answer(ask(str(number), 0))
            await model.aclose()

        asyncio.run(run())
        served = sorted((len(one.served()), len(two.served())))
        assert served in ([0, 12], [1, 12]), "questions on one picture stay together"
