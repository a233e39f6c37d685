"""The key of a call is made once: a judge that has made it tells it with its reply."""

from __future__ import annotations

from pathlib import Path

import pytest
from annotate.judging import ScriptedJudge, four

from vlfeedback.annotate import Judge, _reply, annotations, vlfeedback
from vlfeedback.ids import call_key
from vlfeedback.ledger import Ledger
from vlfeedback.models._ledgered import LedgerBook, Ledgered
from vlfeedback.records import Annotation, Generation


def test_a_key_that_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*_: object) -> str:
        raise AssertionError("it was there already")

    monkeypatch.setattr(_reply, "call_key", again)
    judge = ScriptedJudge(lambda request: Generation("I cannot say.", "stop"))
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        kept = Ledgered(judge, LedgerBook(ledger), price=lambda usage: 0.0, reserve=lambda request: 0.0)
        (record,) = annotations([four()], [Judge(kept)], vlfeedback.load())
        assert isinstance(record, Annotation)
        assert record.call_key == call_key(judge.identity, judge.asked[0])
        assert [call.key for call in ledger.calls()] == [record.call_key]
