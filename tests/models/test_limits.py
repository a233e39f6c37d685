from __future__ import annotations

import time

import pytest

from vlfeedback.models._limits import FIRST_PAUSE, LONGEST_PAUSE, LONGEST_WAIT, Gate, backoff, retry_after


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
