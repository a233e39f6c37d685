"""How many calls at a time, against simulated endpoints with a clock of their own: nothing depends on the machine."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from vlfeedback.models._crowd import Crowd


@dataclass
class Simulated:
    """An endpoint that serves `capacity` calls at a time in `latency` seconds each, the others wait or are refused."""

    capacity: int
    latency: float = 1.0
    refuses: bool = False
    fails: float = 0.0
    spread: float = 0.0
    draw: random.Random = field(default_factory=lambda: random.Random(0))


def drive(crowd: Crowd, endpoint: Simulated, calls: int, on: Callable[[int], None] = lambda done: None) -> list[int]:
    """Put that many calls through; the places after each. The clock is simulated: places are taken by hand."""
    clock, order = 0.0, itertools.count()
    under_way: list[tuple[float, int, float, int, bool]] = []
    free_at = [0.0] * endpoint.capacity
    places: list[int] = []
    begun = 0
    while len(places) < calls:
        while begun < calls and crowd.active < crowd.places:
            crowd.active += 1
            crowd._peak = max(crowd._peak, crowd.active)
            begun += 1
            heapq.heapify(free_at)
            if endpoint.refuses and free_at[0] > clock:
                heapq.heappush(under_way, (clock + 0.01, next(order), clock, crowd.round, True))
                continue
            took = endpoint.latency * (1 + endpoint.spread * endpoint.draw.expovariate(1.0))
            ends = max(clock, heapq.heappop(free_at)) + took
            heapq.heappush(free_at, ends)
            failed = endpoint.draw.random() < endpoint.fails
            heapq.heappush(under_way, (ends, next(order), clock, crowd.round, failed))
        clock, _, started, round_, failed = heapq.heappop(under_way)
        crowd.leave(round_, clock - started, failed=failed)
        places.append(crowd.places)
        on(len(places))
    return places


def test_places_are_bounded_and_handed_on_in_order() -> None:
    async def run() -> list[int]:
        crowd = Crowd(2)
        order: list[int] = []

        async def call(number: int) -> None:
            round_ = await crowd.enter()
            assert crowd.active <= 2
            order.append(number)
            await asyncio.sleep(0)
            crowd.leave(round_, 0.1)

        await asyncio.gather(*(call(number) for number in range(7)))
        assert crowd.active == 0
        return order

    assert asyncio.run(run()) == list(range(7))


def test_who_goes_away_while_waiting_takes_no_place_along() -> None:
    async def run() -> None:
        crowd = Crowd(1)
        round_ = await crowd.enter()
        waiting = [asyncio.ensure_future(crowd.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        crowd.leave(round_, 0.1)
        waiting[1].cancel()  # it has its place already, and does not know yet
        await asyncio.sleep(0)
        assert await asyncio.wait_for(waiting[2], 5) == crowd.round
        crowd.leave(crowd.round, 0.1)
        assert crowd.active == 0

    asyncio.run(run())


def test_it_grows_to_all_that_is_allowed_where_nothing_says_stop() -> None:
    crowd = Crowd(512, start=32)
    assert drive(crowd, Simulated(10_000), 1500)[-1] == 512


def test_without_adapting_there_are_always_all_places() -> None:
    crowd = Crowd(64, start=8, adaptive=False)
    assert set(drive(crowd, Simulated(4), 500)) == {64}


@pytest.mark.parametrize("capacity", [6, 40, 150])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_a_queue_at_the_endpoint_stops_the_growth_near_its_capacity(capacity: int, spread: float) -> None:
    crowd = Crowd(512, start=4)
    places = drive(crowd, Simulated(capacity, spread=spread), 12_000)[4_000:]
    assert 0.8 * capacity <= sum(places) / len(places) <= 3 * capacity
    assert min(places) >= 0.5 * capacity
    assert max(places) <= 5 * capacity


@pytest.mark.parametrize("capacity", [6, 40, 150])
def test_refusals_stop_the_growth_near_the_capacity(capacity: int) -> None:
    crowd = Crowd(512, start=128)
    places = drive(crowd, Simulated(capacity, refuses=True), 30_000)[15_000:]
    assert 0.4 * capacity <= sum(places) / len(places) <= 2 * capacity
    assert min(places) >= 2


def test_an_endpoint_that_fails_at_random_is_not_starved() -> None:
    crowd = Crowd(64, start=16)
    places = drive(crowd, Simulated(1000, fails=0.3), 6_000)
    assert sum(places[2_000:]) / 4_000 > 40


def test_a_crowd_begun_far_too_large_is_not_begun_again() -> None:
    """Most calls are refused, and after four cuts still most: the last cut is not taken back."""
    crowd = Crowd(256, start=128)
    places = drive(crowd, Simulated(1000, fails=0.65), 2_000)
    assert max(places[600:]) <= 32 and places[0] == 128


def test_longer_answers_are_no_queue() -> None:
    crowd, endpoint = Crowd(64, start=64), Simulated(1000, latency=1.0)

    def longer(done: int) -> None:
        endpoint.latency = 1.0 if done < 500 else 4.0

    places = drive(crowd, endpoint, 4_000, longer)
    assert min(places) >= 32
    assert places[-1] == 64


def test_an_outage_lets_one_through_and_its_end_half_of_what_was_before() -> None:
    crowd = Crowd(64, start=64)
    drive(crowd, Simulated(1000), 200)
    crowd.outage()
    assert crowd.places == 1
    crowd.outage()  # again, by others that were in flight
    crowd.answered()
    assert crowd.places == 32
    assert drive(crowd, Simulated(1000), 300)[-1] == 64
