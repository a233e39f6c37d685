"""Answers are handed on in lumps, so that each does not wake two threads; none waits long for company."""

from __future__ import annotations

import asyncio
import time

import pytest

from vlfeedback import flow
from vlfeedback._flow_company import LINGER, Company
from vlfeedback._flow_window import LUMP, Window

IN_FLIGHT = 64


@pytest.fixture
def lumps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many answers each handing on had."""
    sizes: list[int] = []
    real = Window[int].leave

    def leave(window: Window[int], ended: list[object]) -> None:
        sizes.append(len(ended))
        real(window, ended)  # type: ignore[arg-type]

    monkeypatch.setattr(Window, "leave", leave)
    return sizes


async def one_after_the_other(number: int) -> int:
    """All are under way before the first ends, and no two end in one round of the loop."""
    await asyncio.sleep(0.2)
    for _ in range(number % IN_FLIGHT):
        await asyncio.sleep(0)
    return number


def test_answers_of_slow_calls_go_on_in_lumps(lumps: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Company, "wait", lambda _: 0.5)
    found = list(flow.each(range(IN_FLIGHT), one_after_the_other, in_flight=IN_FLIGHT))
    assert sorted(found) == list(range(IN_FLIGHT))
    assert len(lumps) <= LUMP + 1, lumps
    assert sum(lumps) == IN_FLIGHT


def test_the_last_of_a_lump_does_not_wait_for_those_that_never_come(lumps: list[int]) -> None:
    before = time.monotonic()
    assert list(flow.each([3], one_after_the_other, in_flight=IN_FLIGHT)) == [3]
    assert lumps == [1]
    assert time.monotonic() - before < 5.0
    assert LINGER < 0.1


def test_one_at_a_time_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Company, "wait", lambda _: 60.0)
    assert list(flow.each(range(3), one_after_the_other, in_flight=1)) == [0, 1, 2]


def test_a_failure_is_told_with_the_lump_it_fell_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Company, "wait", lambda _: 0.05)

    async def failing(number: int) -> int:
        if number == 2:
            raise ValueError("the third")
        return number

    found: list[int] = []
    with pytest.raises(ValueError, match="the third"):
        found.extend(flow.each(range(4), failing, in_flight=IN_FLIGHT))
    assert sorted(found) == [0, 1, 3]
