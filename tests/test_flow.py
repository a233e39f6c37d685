"""Ctrl-C: what is paid for is drained, what is only computed is left at once or saved."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import pty
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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


def test_a_closed_terminal_is_a_wish_however_often_it_says_so() -> None:
    said: list[str] = []
    with flow.draining_on_interrupt(said.append):
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)  # from the system and from the shell: neither of them cannot wait
        assert flow.interrupted() and len(said) == 1


def test_who_was_told_to_outlive_the_terminal_does() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by `nohup`
    try:
        with flow.draining_on_interrupt(lambda text: None):
            signal.raise_signal(signal.SIGHUP)
            assert not flow.interrupted()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


IN_A_TERMINAL = """
import os, sys, time
from pathlib import Path
from vlfeedback import flow
with flow.draining_on_interrupt():
    Path(sys.argv[1], "begun").touch()
    while not flow.interrupted():
        time.sleep(0.01)
    print("to nobody", flush=True)
    print("to nobody", file=sys.stderr, flush=True)
    Path(sys.argv[1], "drained").touch()
"""


def test_what_is_under_way_is_finished_after_the_terminal_is_gone(tmp_path: Path) -> None:
    child, terminal = pty.fork()
    if not child:
        os.execv(sys.executable, [sys.executable, "-c", IN_A_TERMINAL, str(tmp_path)])
    until = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert (tmp_path / "drained").exists() and os.waitstatus_to_exitcode(status) == 0


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


def fetched(
    records: Iterable[int], known: Callable[[int], int | None], asked: list[int], in_flight: int = 4
) -> list[int]:
    async def answer(number: int) -> int:
        asked.append(number)
        await asyncio.sleep(0)
        return number

    return list(flow.each(records, answer, in_flight=in_flight, known=known))


def test_what_is_known_goes_past_the_loop_in_its_order() -> None:
    here, asked, threads = threading.get_ident(), list[int](), set[int]()

    def known(number: int) -> int:
        threads.add(threading.get_ident())
        return number

    assert fetched(range(100), known, asked) == list(range(100))
    assert asked == [] and threads == {here}


@given(known=st.sets(st.integers(0, 30)), in_flight=st.integers(1, 5))
def test_whatever_is_known_every_record_has_one_result(known: set[int], in_flight: int) -> None:
    asked: list[int] = []
    found = fetched(range(30), lambda one: one if one in known else None, asked, in_flight)
    assert sorted(found) == list(range(30))
    assert sorted(asked) == [one for one in range(30) if one not in known]


def test_known_records_run_no_further_ahead_than_others() -> None:
    pulled = 0

    def endless() -> Iterator[int]:
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled

    async def answer(number: int) -> int:
        return number

    results = flow.each(endless(), answer, in_flight=4, known=lambda one: None if one == 3 else one)
    assert len([next(results) for _ in range(3)]) == 3
    time.sleep(0.3)
    results.close()  # type: ignore[attr-defined]
    assert pulled <= 3 + 2 * 4 + 1


@pytest.mark.parametrize("last", [0, 5])
def test_leaving_while_all_is_known_leaves_the_room_above_too(last: int) -> None:
    left: list[str] = []

    def above() -> Iterator[int]:
        try:
            yield from range(last or 10**9)
        finally:
            left.append("above")

    async def never(_: int) -> int:
        raise AssertionError

    room = above()  # held, so that nobody collects it
    results = flow.each(room, never, in_flight=1, known=lambda one: one)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    if last:
        assert list(results) == [3, 4]
    else:
        results.close()  # type: ignore[attr-defined]
    assert left == ["above"]


def test_an_interrupt_ends_what_is_known_too() -> None:
    with flow.draining_on_interrupt(lambda _: None):
        results = flow.each(itertools.count(), lambda _: asyncio.sleep(0, 0), in_flight=1, known=lambda one: one)
        next(results)
        signal.raise_signal(signal.SIGINT)
        assert list(results) == []


def test_an_error_above_comes_after_what_was_known() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("above")

    results = flow.each(failing(), lambda _: asyncio.sleep(0, 0), in_flight=1, known=lambda one: one)
    assert next(results) == 1
    with pytest.raises(ValueError, match="above"):
        next(results)
