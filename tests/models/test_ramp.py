"""How an endpoint is begun with, and what counts as its slowness: its own, not the queue of this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from servers import serve

from vlfeedback.images import Roots
from vlfeedback.models import openai as backend
from vlfeedback.models._base64 import Piece
from vlfeedback.models._endpoint import Endpoint, Policy, Traffic
from vlfeedback.models._secrets import find_key
from vlfeedback.models._wire import Reply, Wire, open_wire
from vlfeedback.records import Generation, Request, Sampling

Ask = Callable[..., Request]

BODY = '{"choices": [{"finish_reason": "stop", "message": {"content": "yes"}}]}'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlfeedback.models._limits.FIRST_WAIT", 0.005)
    monkeypatch.setattr("vlfeedback.models._limits.FIRST_PAUSE", 0.02)


class Slow:
    """A way on which the question waits before it goes out, and the endpoint answers at once."""

    def __init__(self, knows: bool) -> None:
        self._knows = knows

    async def post(self, content: Sequence[Piece]) -> Reply:
        await asyncio.sleep(0.2)
        return Reply(200, {}, BODY, time.perf_counter() - 0.01 if self._knows else None)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("knows", [True, False])
def test_a_queue_of_ours_is_no_queue_at_the_endpoint(knows: bool) -> None:
    def opens(*_: object) -> Wire:
        return Slow(knows)

    async def run() -> None:
        endpoint = Endpoint("http://127.0.0.1:9/v1", "m", find_key("", ["127.0.0.1"]), Policy(4, 9.0, 1), Traffic(), 1)
        endpoint.opens = opens
        outcome = await endpoint.send(Request("", (), Sampling()), [b"{}"], 0.0)
        assert outcome.generation.latency >= 0.2, "the reply's own account is of all that it took"
        assert (outcome.took < 0.1) == knows

    asyncio.run(run())


def test_the_clock_of_a_question_starts_when_it_goes_out(tmp_path: Path) -> None:
    with serve(tmp_path / "log") as server:

        async def run() -> None:
            wire = open_wire(server.url, find_key("", ["127.0.0.1"]), 1, 9.0)
            before = time.perf_counter()
            reply = await wire.post([b'{"model":"m","messages":[{"role":"user","content":"a"}]}'])
            assert reply.status == 200
            assert reply.began is not None and before <= reply.began <= time.perf_counter()
            await wire.close()

        asyncio.run(run())


@pytest.mark.parametrize(("in_flight", "first"), [(8, 8), (32, 32), (48, 32), (512, 256)])
def test_a_new_endpoint_gets_half_of_what_is_allowed_at_first(roots: Roots, in_flight: int, first: int) -> None:
    model = backend.load(model="m", roots=roots, base_url="http://127.0.0.1:9/v1", in_flight=in_flight)
    assert model.at_once == (first,)


def test_one_that_bears_little_is_soon_sent_little(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    """It refuses more than six at a time and is begun with 128: everything is answered, and it ends near six."""
    with serve(tmp_path / "log", delay=0.02, most=6, retry_after=None) as server:
        model = backend.load(model="m", roots=roots, base_url=server.url, timeout=20.0, in_flight=256)

        async def run() -> list[Generation]:
            try:
                return list(await asyncio.gather(*(model.answer(ask(str(number), None)) for number in range(300))))
            finally:
                await model.aclose()

        assert all(reply.finish == "stop" for reply in asyncio.run(run()))
        assert 1 <= model.at_once[0] <= 24
