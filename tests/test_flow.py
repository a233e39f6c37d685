"""Ctrl-C: what is paid for is drained, what is only computed is left at once or saved."""

from __future__ import annotations

import asyncio
import gc
import signal
import time

import pytest

from vlfeedback import flow
from vlfeedback.records import Generation, Part, Request, Sampling


def test_the_first_interrupt_is_a_wish_and_the_next_run_does_not_inherit_it() -> None:
    said: list[str] = []
    with flow.draining_on_interrupt(said.append):
        flow.stop_if_interrupted()
        signal.raise_signal(signal.SIGINT)
        assert flow.interrupted()
        with pytest.raises(KeyboardInterrupt):
            flow.stop_if_interrupted()
    assert len(said) == 1 and "again" in said[0]
    assert not flow.interrupted()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_computing_that_buys_nothing_is_left_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with flow.draining_on_interrupt(lambda text: None):
        draining = signal.getsignal(number)
        with pytest.raises(KeyboardInterrupt), flow.leaving_at_once():
            signal.raise_signal(number)
            raise AssertionError("the signal must leave the block")
        assert flow.interrupted(), "what comes after is told as well"
        assert signal.getsignal(number) == draining
        with pytest.raises(KeyboardInterrupt), flow.leaving_at_once():
            raise AssertionError("nothing more is begun")
    assert signal.getsignal(number) == before


def test_collection_rests_while_millions_are_made_and_goes_on_after_an_error() -> None:
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), flow.without_collection():
        assert not gc.isenabled()
        with flow.without_collection():
            pass
        assert not gc.isenabled(), "the inner one leaves it as it found it"
        raise ZeroDivisionError
    assert gc.isenabled()


def test_garbage_is_looked_for_seldom_while_anybody_has_calls_in_flight() -> None:
    before = gc.get_threshold()

    async def asked(number: int) -> int:
        return number

    one, other = (flow.each(range(3), asked, in_flight=1) for _ in range(2))
    next(one), next(other)
    assert gc.get_threshold()[0] > before[0]
    list(one)
    assert gc.get_threshold()[0] > before[0], "the other still has"
    list(other)
    assert gc.get_threshold() == before


def test_a_full_window_goes_on_as_soon_as_its_consumer_does() -> None:
    """Threads that are not woken look again after a fifth of a second."""

    async def asked(number: int) -> int:
        return number

    began = time.monotonic()
    found: list[int] = []
    for number in flow.each(range(300), asked, in_flight=2):
        found.append(number)
        time.sleep(0.002)
    assert sorted(found) == list(range(300))
    assert time.monotonic() - began < 10


def test_batches_hold_what_is_alike_in_length_and_the_oldest_is_never_left_behind() -> None:
    batches: list[list[int]] = []

    def run(requests: list[Request]) -> list[Generation]:
        batches.append([len(request.system) for request in requests])
        return [Generation(request.system, "stop") for request in requests]

    lengths = [50, 1, 2, 51, 3, 52, 4, 53, 5, 54]

    async def ask() -> list[Generation]:
        batcher = flow.Batcher(run, most=3, linger=0.0, length=lambda request: len(request.system))
        requests = [Request("x" * length, (Part(text="?"),), Sampling()) for length in lengths]
        return list(await asyncio.gather(*map(batcher.submit, requests)))

    assert [len(reply.text) for reply in flow.run(ask())] == lengths
    assert batches == [[50, 51, 52], [1, 2, 3], [4, 53, 5], [54]]
