from __future__ import annotations

import asyncio
import time

import pytest

from vlfeedback.models._limits import (
    A_WEEK,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    LONGEST_WAIT,
    OUT_AFTER,
    Gate,
    backoff,
    retry_after,
)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 60.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "7200"}, 7200.0),
        ({"retry-after": "1e300"}, A_WEEK),
        ({"retry-after": "-1e400"}, 0.0),
        ({"retry-after": "Fri, 31 Dec 99999 23:59:59 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:26:00 GMT"}, 0.0),
        # the endpoint's clock is a day behind ours: it means five seconds, not a day ago
        ({"retry-after": "Tue, 20 Oct 2015 07:28:05 GMT", "date": "Tue, 20 Oct 2015 07:28:00 GMT"}, 5.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "nonsense"}, 60.0),
        ({"retry-after": "", "retry-after-ms": "x"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=1445412420.0) == seconds


def test_backoff_doubles_with_jitter_up_to_a_cap() -> None:
    for attempt, most in ((1, 0.5), (2, 1.0), (4, 4.0), (30, LONGEST_WAIT)):
        waits = {backoff(attempt) for _ in range(50)}
        assert all(most / 2 <= wait <= most for wait in waits)
        assert len(waits) > 10


def test_thirty_two_refusals_at_once_are_one_step() -> None:
    gate = Gate()
    first = [gate.pause(None) for _ in range(32)]
    assert set(first) == {FIRST_PAUSE}
    assert 0 < gate.closed_for() <= FIRST_PAUSE


def test_pauses_in_a_row_double_and_a_reply_ends_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    gate = Gate()
    pauses: list[float] = []
    for _ in range(12):
        pauses.append(gate.pause(None))
        clock[0] += pauses[-1]
        assert gate.closed_for() == 0
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    gate.answered()
    assert gate.pause(None) == FIRST_PAUSE
    assert gate.pause(40.0) == 40.0
    assert gate.pause(1.0) == 1.0
    assert gate.closed_for() == 40.0  # a shorter pause never opens the gate early


def test_an_endpoint_that_asks_for_a_moment_again_and_again_is_left_alone_for_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    gate = Gate()
    pauses: list[float] = []
    for _ in range(6):
        pauses.append(gate.pause(0.001))
        clock[0] += pauses[-1]
    assert pauses[:3] == [0.001] * 3
    assert pauses[3:] == [8 * FIRST_PAUSE, 16 * FIRST_PAUSE, 32 * FIRST_PAUSE]
    assert gate.pause(7200.0) == 7200.0
    gate.answered()
    clock[0] += 7200.0
    assert gate.pause(0.001) == 0.001


def test_ten_failures_in_a_row_are_an_outage_and_any_answer_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    gate = Gate()
    assert [gate.failed() for _ in range(OUT_AFTER)] == [False] * (OUT_AFTER - 1) + [True]
    assert gate.closed_for() == FIRST_PAUSE
    clock[0] += 7
    assert gate.out_for() == 7
    assert gate.failed() and gate.closed_for() == 2 * FIRST_PAUSE
    gate.answered()
    assert gate.out_for() == 0
    gate.rest(None)
    assert not gate.failed()


def test_rests_in_vain_are_counted_once_they_are_over_and_not_while_nobody_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    gate = Gate()
    for _ in range(32):
        gate.rest(40.0)
    assert gate.in_vain == 0
    clock[0] += 3600.0
    gate.rest(20.0)
    assert gate.in_vain == 40.0
    clock[0] += 20.0
    gate.rest(7200.0)
    assert gate.in_vain == 60.0
    gate.answered()
    assert gate.in_vain == 0


def test_calls_and_tokens_have_their_pace_and_a_call_that_took_less_gives_time_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, slept = [100.0], 0.0
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    async def sleep(seconds: float) -> None:
        nonlocal slept
        slept += seconds
        clock[0] += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)

    def turn(gate: Gate, tokens: float) -> float:
        nonlocal slept
        slept = 0.0
        assert asyncio.run(gate.keep_pace(tokens, lambda: False))
        return slept

    gate = Gate(pace=2.0, token_pace=0.01)
    assert turn(gate, 500) == 0
    assert turn(gate, 10) == pytest.approx(5.0)  # the tokens of the first one
    assert turn(gate, 10) == pytest.approx(2.0)  # the pace of calls
    assert turn(gate, 1000) == pytest.approx(2.0)
    gate.took(1000, 300)
    assert turn(gate, 10) == pytest.approx(3.0)
    assert not asyncio.run(gate.keep_pace(10, lambda: True))
