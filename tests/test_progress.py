"""Progress where stderr is no terminal: plain lines, and no time left that is a guess."""

from __future__ import annotations

import pytest

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
