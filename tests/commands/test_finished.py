"""What a command says last where calls have no answer, and what it exits with."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from in_process import command

from vlfeedback import pipeline
from vlfeedback.commands import demo
from vlfeedback.commands.finished import left
from vlfeedback.config import Settings
from vlfeedback.pipeline import Finished, Unanswered
from vlfeedback.run_folder import RunFolder

FAILED = (
    Unanswered("openai:a", "timeout", 5),
    Unanswered("openai:b", "server", 2),
    Unanswered("openai:a", "server", 1),
)

RESTS = {"d": 20.0, "e": 7_200.0}


def test_the_last_line_says_how_many_of_whom_and_why() -> None:
    assert left(FAILED) == (
        "8 calls have no answer (openai:a: 5 timeout, 1 server; openai:b: 2 server). The same command asks for them "
        "again, and for nothing else."
    )
    assert left(FAILED[1:2]).startswith("2 calls have")
    assert left((Unanswered("m", "server", 1),)).startswith("1 call has no answer (m: 1 server)")
    assert left(()) == ""


def test_pictures_that_are_gone_are_named_and_many_are_counted() -> None:
    gone = tuple(f"own:{number}.png: No such file or directory" for number in range(9))
    failed = (Unanswered("openai:a", pipeline.UNREAD, 9),)
    assert left(failed, 0, gone[:2]) == (
        "9 calls have no answer (openai:a: 9 unreadable_picture). 2 pictures cannot be read any more "
        f"({gone[0]}; {gone[1]}). Put them back. The same command asks for them again, and for nothing else."
    )
    assert f"9 pictures cannot be read any more ({'; '.join(gone[:6])}; and 3 more)." in left(failed, 0, gone)


def test_the_latest_time_that_an_endpoint_asked_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    over = Unanswered("openai:c", "rate_limited", 1, 999_999.0)
    short, long = (Unanswered(f"openai:{name}", "rate_limited", 3, 1_000_000.0 + wait) for name, wait in RESTS.items())
    then = time.strftime("%d %b %H:%M", time.localtime(1_007_220.0))  # the end of the minute of the 7,200th second
    words = left((*FAILED, over, long, short))
    assert words.endswith(f" and for nothing else. Run it after {then}: openai:e asks to wait until then.")
    assert "openai:e: 3 rate_limited" in words
    assert left((*FAILED, over)).endswith("and for nothing else.")


def test_instructions_that_wait_are_told() -> None:
    words = left(FAILED, 3)
    assert (
        words.startswith("8 calls have no answer (") and ") and 3 instructions wait for the missing responses." in words
    )
    assert left((), 1) == (
        "1 instruction waits for missing responses: decode has calls without an answer, and `vlfeedback run DIR` asks "
        "for them again."
    )


def test_many_models_are_counted_and_not_listed() -> None:
    words = left(tuple(Unanswered(f"m{number}", "timeout", 2) for number in range(9)))
    assert words.startswith("18 calls have no answer (m0: 2 timeout; ") and "3 more models: 6)" in words


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("failed", "code"), [((), 0), (FAILED, 1)])
def test_a_room_with_unanswered_calls_exits_with_one(
    failed: tuple[Unanswered, ...],
    code: int,
    as_json: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    RunFolder.create(tmp_path / "run", Settings())
    done = Finished((), 20, 0, sum(one.calls for one in failed), 0.0, False, failed)
    monkeypatch.setattr(pipeline, "run_rooms", lambda *_, **__: done)
    assert command(monkeypatch, "annotate", tmp_path / "run", *(["--json"] if as_json else [])) == code
    said = capsys.readouterr()
    assert (said.err.strip().splitlines() or [""])[-1] == left(failed)
    if as_json:
        assert json.loads(said.out)["unanswered"] == [one._asdict() for one in failed]


@pytest.mark.parametrize(("failed", "code"), [((), 0), (FAILED, 1)])
def test_the_demo_exits_with_one_too(
    failed: tuple[Unanswered, ...],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = demo.DemoResult(tmp_path, tmp_path / "report.html", (), (), 1.0, 20, 0, True, False, failed)
    monkeypatch.setattr(demo, "demo", lambda *_, **__: done)
    assert command(monkeypatch, "demo", "--out", tmp_path) == code
    assert (capsys.readouterr().err.strip().splitlines() or [""])[-1] == left(failed)
