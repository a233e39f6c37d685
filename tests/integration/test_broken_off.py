"""A run that ends by a mishap of its own (a closed pipe, a table that cannot be written) keeps every call in flight."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import world
from servers import serve

from vlfeedback import pipeline, progress
from vlfeedback.commands.run import open_run
from vlfeedback.errors import DataError
from vlfeedback.run_folder import Sink


def break_bar(patch: pytest.MonkeyPatch, room: str) -> None:
    """The third step of a bar cannot be told: whoever read stderr is gone."""
    usual = progress.bar

    @contextmanager
    def bar(label: str, *arguments: Any) -> Generator[Callable[..., None]]:
        steps = 0

        def advance(*_: Any, **__: Any) -> None:
            nonlocal steps
            steps += 1
            if label == room and steps == 3:
                raise BrokenPipeError

        with usual(label, *arguments):
            yield advance

    patch.setattr(progress, "bar", bar)


def break_sink(patch: pytest.MonkeyPatch, room: str) -> None:
    """The third instruction of a table cannot be written."""
    usual, settled = Sink.settle, 0

    def settle(sink: Sink[Any], *arguments: Any, **more: Any) -> None:
        nonlocal settled
        settled += sink.room == room
        if sink.room == room and settled == 3:
            raise DataError("no room for it")
        usual(sink, *arguments, **more)

    patch.setattr(Sink, "settle", settle)


def run(folder: Path, last: str) -> None:
    pipeline.run_rooms(open_run(folder / "run.toml", folder / "run", {}).run, "source", last)


@pytest.mark.parametrize(("room", "last"), [("decode", "decode"), ("decode", "annotate"), ("annotate", "annotate")])
@pytest.mark.parametrize("mishap", [break_bar, break_sink])
def test_what_is_in_flight_at_a_mishap_is_kept(
    mishap: Callable[[pytest.MonkeyPatch, str], None],
    room: str,
    last: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world.draw(tmp_path, 30)
    with serve(tmp_path / "served.jsonl", delay=0.2) as server:
        world.settings(tmp_path, server.url)
        with monkeypatch.context() as patch:
            mishap(patch, room)
            with pytest.raises((BrokenPipeError, DataError)):
                run(tmp_path, last)
        with sqlite3.connect(tmp_path / "run" / "ledger.sqlite") as ledger:
            states = dict(ledger.execute("SELECT state, COUNT(*) FROM calls GROUP BY state").fetchall())
        assert states == {"done": len(server.served())}
        run(tmp_path, "annotate")
        assert max(server.good().values()) == 1
