"""What was given to a ledger is never taken for a question that nobody asked: it would be bought twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from vlfeedback import _ledger_asked
from vlfeedback._ledger_asked import Asked
from vlfeedback.ledger import Intent, Ledger, Settled
from vlfeedback.records import Call, Generation

REPLY = Generation("Kept.", "stop")


@given(st.sets(st.text(max_size=40), max_size=200), st.booleans())
def test_whatever_was_added_is_known(keys: set[str], small: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ledger_asked, "SIZE", 64 if small else 4096)
        patch.setattr(_ledger_asked, "_MASK", 63 if small else 4095)
        asked = Asked()
        for key in keys:
            asked.add(key)
        assert all(key in asked for key in keys)


def test_few_strangers_are_taken_for_known() -> None:
    asked = Asked()
    for number in range(20_000):
        asked.add(f"key {number}")
    strangers = sum(f"stranger {number}" in asked for number in range(20_000))
    assert strangers < 20, "(40,000 marks of 4 million) squared is one in ten thousand"


def intent(key: str) -> Intent:
    return Intent(key, "probe", "{}", "decode", 1.0)


def test_an_answer_is_known_however_its_question_came_in(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert not ledger.answered("intended")
        ledger.intend([intent("intended")])
        rest = ledger.begin([intent("begun")], [])
        assert rest is not None and rest()
        assert not ledger.answered("intended"), "asked is not answered"
        ledger.settle([Settled("intended", REPLY, 0.0), Settled("begun", REPLY, 0.0)])
        ledger.record([Call("recorded", "m", "{}", "decode", REPLY, 0.0, "done", 1, 1.0, 2.0)])
        assert [ledger.answered(key) for key in ("intended", "begun", "recorded", "nobody")] == [
            True,
            True,
            True,
            False,
        ]
    with Ledger.open(tmp_path / "ledger.sqlite") as again:  # an earlier process's keys were never given to this object
        assert [again.answered(key) for key in ("intended", "begun", "recorded", "nobody")] == [True, True, True, False]
    with Ledger.open(tmp_path / "ledger.sqlite", write=False) as reader:
        assert reader.answered("begun") and not reader.answered("nobody")
