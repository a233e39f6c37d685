"""Progress where stderr is no terminal: plain lines, and no time left that is a guess."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from rich.console import Console

from vlfeedback import progress


def test_a_time_left_is_told_once_enough_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with progress.bar("decode", 100, "calls") as advance:
        advance()
        advance(9, "note")
    first, second = capsys.readouterr().err.splitlines()
    assert first == "decode: 1/100 calls"
    assert second == "decode: 10/100 calls, 360 s left note"


def test_figures_are_told_beside_the_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with progress.figures(lambda: "USD 1.20 of 3.00"), progress.bar("decode", 100, "calls") as advance:
        advance(50)
    assert capsys.readouterr().err.splitlines() == ["decode: 50/100 calls, 20 s left", "USD 1.20 of 3.00"]


def test_no_figures_are_told_before_there_are_any(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with progress.figures(lambda: ""), progress.bar("school", 100, "steps") as advance:
        advance(50)
    assert capsys.readouterr().err.splitlines() == ["school: 50/100 steps, 20 s left"]


def test_rooms_that_run_at_once_share_one_display(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda **_: Console(file=screen, force_terminal=True, width=150, legacy_windows=False)
    )
    with (
        progress.figures(lambda: "USD 1.20 of 3.00"),
        progress.bar("decode", 4, "instructions") as first,
        progress.bar("annotate", 4, "judgements") as second,
    ):
        first(4)
        second(2)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert "4/4 instructions" in text
    assert "2/4 judgements" in text
    assert "USD 1.20 of 3.00" in text


@pytest.mark.parametrize("width", [40, 60, 80])
def test_counts_are_seen_at_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda **_: Console(file=screen, force_terminal=True, width=width, legacy_windows=False)
    )
    with progress.bar("annotate", 80_000, "judgements") as advance:
        advance(12_345)
    assert "12345/80000" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())


def test_a_terminal_that_cannot_draw_anew_gets_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=io.StringIO(), force_terminal=True))
    with progress.figures(lambda: "USD 1.20"), progress.bar("decode", 100, "calls") as advance:
        advance(50)
    assert capsys.readouterr().err.splitlines() == ["decode: 50/100 calls, 20 s left", "USD 1.20"]


def test_what_is_tracked_ends_where_the_tracking_ends() -> None:
    ended: list[str] = []

    def records() -> Iterator[int]:
        try:
            yield from (1, 2)
        finally:
            ended.append("records")

    with pytest.raises(BrokenPipeError) as kept, pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "bar", lambda *_: nullcontext(broken))
        list(progress.track(records(), "decode"))
    assert kept.value.__traceback__ is not None  # which holds the frames, and all that stands in them
    assert ended == ["records"]


def broken(*_: object) -> None:
    raise BrokenPipeError
