"""Many small things, few commits: who waits for whom, and for how long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest

from vlfeedback import flow
from vlfeedback._flow_company import LINGER, SHARE, Company

T = TypeVar("T")


def durable(write: Callable[[Sequence[T]], object]) -> Callable[[Sequence[T]], Callable[[], flow.Failures]]:
    """Begins nothing, and writes in the thread."""

    def begin(batch: Sequence[T]) -> Callable[[], flow.Failures]:
        def rest() -> flow.Failures:
            write(batch)
            return {}

        return rest

    return begin


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock stands still but for naps, which take no time."""
    now, taken, pause = [100.0], list[float](), asyncio.sleep

    async def nap(seconds: float) -> None:
        taken.append(seconds)
        now[0] += seconds
        await pause(0)

    monkeypatch.setattr(flow.asyncio, "sleep", nap)
    monkeypatch.setattr(flow.time, "monotonic", lambda: now[0])
    return taken


def test_what_comes_soon_after_a_commit_goes_into_one_with_its_company(naps: list[float]) -> None:
    written: list[Sequence[str]] = []

    async def main() -> None:
        committer = flow.Committer(durable(written.append), lambda: 0.25)
        await committer.put("first")
        assert naps == []  # nobody to wait for
        await asyncio.gather(*map(committer.put, ["second", "third", "fourth"]))
        assert naps == [0.25]
        await flow.asyncio.sleep(0.5)
        await committer.put("after a pause")
        assert naps == [0.25, 0.5]

    asyncio.run(main())
    assert written == [["first"], ["second", "third", "fourth"], ["after a pause"]]


def test_a_failed_commit_is_told_to_all_in_it_and_the_next_goes_on(naps: list[float]) -> None:
    written: list[Sequence[int]] = []

    def write(batch: Sequence[int]) -> None:
        if 2 in batch:
            raise OSError("no room")
        written.append(batch)

    async def main() -> None:
        committer = flow.Committer(durable(write), lambda: 1.0)
        await committer.put(1)
        ends = await asyncio.gather(committer.put(2), committer.put(3), return_exceptions=True)
        assert [str(end) for end in ends] == ["no room", "no room"]
        await committer.put(4)

    asyncio.run(main())
    assert written == [[1], [4]]
    assert len(naps) == 2


def test_who_could_not_be_written_hears_of_it_and_the_others_do_not(naps: list[float]) -> None:
    async def main() -> None:
        committer = flow.Committer[str](lambda batch: lambda: {batch.index("bad"): OSError("no room")})
        ends = await asyncio.gather(*map(committer.put, ["good", "bad", "better"]), return_exceptions=True)
        assert [str(end) for end in ends] == ["None", "no room", "None"]

    asyncio.run(main())


def test_it_begins_in_the_loop_and_waits_for_the_disk_elsewhere(naps: list[float]) -> None:
    threads: list[threading.Thread] = []

    def begin(_: Sequence[int]) -> Callable[[], flow.Failures]:
        threads.append(threading.current_thread())

        def rest() -> flow.Failures:
            threads.append(threading.current_thread())
            return {}

        return rest

    asyncio.run(flow.Committer(begin).put(1))
    assert threads[0] is threading.current_thread() and threads[1] is not threads[0]


def test_what_is_begun_is_ended_even_where_no_thread_can_be_had(naps: list[float]) -> None:
    """While the interpreter ends, executors refuse: a reply that came by then is paid for all the same."""
    written: list[Sequence[str]] = []

    async def main() -> None:
        loop, refused = asyncio.get_running_loop(), RuntimeError("cannot schedule new futures after shutdown")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "run_in_executor", Raises(refused))
            await flow.Committer(durable(written.append)).put("reply")

    asyncio.run(main())
    assert written == [["reply"]]


class Raises:
    """A function that raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, *_: object) -> None:
        raise self._error


def test_calls_wait_for_company_a_fiftieth_of_their_time_and_never_long() -> None:
    company = Company()
    assert company.wait() == 0.0
    for _ in range(100):
        company.took(0.001)
    assert company.wait() == pytest.approx(SHARE * 0.001, rel=0.01)
    for _ in range(100):
        company.took(30.0)
    assert company.wait() == LINGER


def test_a_commit_ends_although_all_threads_of_the_loop_wait_for_it() -> None:
    """Seen with a wrong key: calls that were taken back waited for a transaction whose end had no thread to run in."""
    ended = threading.Event()

    async def main() -> None:
        waiting = [asyncio.create_task(asyncio.to_thread(ended.wait, 20)) for _ in range(64)]  # no loop has as many
        await asyncio.sleep(0.1)
        committer = flow.Committer(durable(lambda _: ended.set()))
        await asyncio.wait_for(committer.put("reply"), 10)
        assert all(await asyncio.gather(*waiting))

    asyncio.run(main())
