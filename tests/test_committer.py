"""Many small things, few commits: who waits for whom, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from vlfeedback import flow
from vlfeedback.ledger import Ledger
from vlfeedback.models._ledgered import LINGER, SHARE, LedgerBook


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
        committer = flow.Committer(written.append, lambda: 0.25)
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
        committer = flow.Committer(write, lambda: 1.0)
        await committer.put(1)
        ends = await asyncio.gather(committer.put(2), committer.put(3), return_exceptions=True)
        assert [str(end) for end in ends] == ["no room", "no room"]
        await committer.put(4)

    asyncio.run(main())
    assert written == [[1], [4]]
    assert len(naps) == 2


def test_calls_wait_for_company_a_fiftieth_of_their_time_and_never_long(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "l.sqlite") as ledger:
        book = LedgerBook(ledger)
        assert book.apart() == 0.0
        for _ in range(100):
            book.took(0.001)
        assert book.apart() == pytest.approx(SHARE * 0.001, rel=0.01)
        for _ in range(100):
            book.took(30.0)
        assert book.apart() == LINGER
