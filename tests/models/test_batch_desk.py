"""The provider's pages for batches in its bad minutes: what is asked again, and what is never made twice."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import openai
import pytest
from batch_server import BatchServer, serve_batches

from vlfeedback.images import Roots
from vlfeedback.models import openai as backend
from vlfeedback.models._batch_desk import Desk

T = TypeVar("T")
LINE = '{"custom_id": "a", "body": {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}}\n'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlfeedback.models._batch_desk.FIRST_WAIT", 0.02)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.jsonl"
    path.write_text(LINE)
    return path


def at(server: BatchServer, roots: Roots, use: Callable[[Desk], Awaitable[T]]) -> T:
    """What comes of using a desk of that server."""
    model = backend.load(model="m", roots=roots, base_url=server.url)

    async def run() -> T:
        async with model.connect() as client:
            return await use(Desk(lambda: client))

    return asyncio.run(run())


def names(server: BatchServer) -> list[str]:
    return [batch["metadata"]["vlfeedback"] for batch in server.batches.values()]


def test_a_bad_minute_is_waited_for_and_no_batch_is_made_twice(tmp_path: Path, roots: Roots, lines: Path) -> None:
    bad = {"files": [429, 500], "batches": [429, 503, 429], "content": [500, 429]}
    with serve_batches(tmp_path / "log", bad=bad, looks=0) as server:

        async def use(desk: Desk) -> str:
            batch = await desk.look(await desk.send(lines, "one"))
            return await desk.text(batch.output_file_id)

        assert '"custom_id": "a"' in at(server, roots, use)
        assert names(server) == ["one"], "the batch that was made with an answer of 503 is the one"
        assert server.bad == {"files": [], "batches": [429], "content": []}


def test_a_batch_whose_answer_was_lost_is_found_by_its_name(tmp_path: Path, roots: Roots, lines: Path) -> None:
    with serve_batches(tmp_path / "log", lose_answer=1) as server:
        assert at(server, roots, lambda desk: desk.send(lines, "one")) == "batch_1"
        assert names(server) == ["one"]


def test_what_is_refused_for_good_is_not_asked_again(tmp_path: Path, roots: Roots, lines: Path) -> None:
    with serve_batches(tmp_path / "log", bad={"files": [403] * 5}) as server:
        with pytest.raises(openai.PermissionDeniedError):
            at(server, roots, lambda desk: desk.send(lines, "one"))
        assert len(server.bad["files"]) == 4


def test_two_files_are_uploaded_at_a_time(tmp_path: Path, roots: Roots, lines: Path) -> None:
    with serve_batches(tmp_path / "log") as server:

        async def use(desk: Desk) -> list[str]:
            return await asyncio.gather(*(desk.send(lines, str(number)) for number in range(6)))

        assert len(set(at(server, roots, use))) == 6
        assert server.uploads == 2


def test_a_file_is_not_read_whole_before_it_goes_out(lines: Path) -> None:
    seen: list[Any] = []

    async def upload(*, file: tuple[str, Any], purpose: str) -> Any:
        assert purpose == "batch" and not file[1].closed
        seen.append(file[1])
        return SimpleNamespace(id="f")

    async def make(**_: Any) -> Any:
        return SimpleNamespace(id="b")

    client: Any = SimpleNamespace(files=SimpleNamespace(create=upload), batches=SimpleNamespace(create=make))
    assert asyncio.run(Desk(lambda: client).send(lines, "one")) == "b"
    assert isinstance(seen[0], io.BufferedReader) and seen[0].closed
