"""Questions that a killed process had put aside for a batch were never sent: they cost nothing."""

from __future__ import annotations

from pathlib import Path

from vlfeedback.ids import call_key, request_json
from vlfeedback.ledger import Intent, Ledger, Settled
from vlfeedback.models._batch_journal import notes_of
from vlfeedback.records import Generation, Part, Request, Sampling, Usage
from vlfeedback.run_models import _take_back, journal_of  # pyright: ignore[reportPrivateUsage]

QUESTIONS = [Request("", (Part(text=str(number)),), Sampling()) for number in range(3)]


def test_what_was_never_sent_is_taken_back_and_nothing_else(tmp_path: Path) -> None:
    keys = [call_key("m", one) for one in QUESTIONS]
    spooled, answered, live = keys
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        pairs = zip(keys, QUESTIONS, strict=True)
        ledger.intend([Intent(key, "m", request_json(one), "decode", 1.0) for key, one in pairs])
        ledger.settle([Settled(answered, Generation("fine", "stop", usage=Usage(1, 1)), 0.25)])
        folder = notes_of(journal_of(ledger), "m")
        folder.mkdir(parents=True)
        spool = folder / f"{spooled}.spool"
        lines = [b'{"custom_id":"%s","method":"POST","body":{}}\n' % key.encode() for key in (spooled, answered)]
        spool.write_bytes(b"".join(lines) + b'{"custom_id":"%s' % live.encode()[:9])  # the last one was cut off
        _take_back(ledger)
        assert ledger.spent() == 1.25
        states = [call.state for key in keys if (call := ledger.find(key)) is not None]
        assert states == ["failed", "done", "intent"]
        assert not spool.exists()
        ledger.intend([Intent(spooled, "m", request_json(QUESTIONS[0]), "decode", 1.0)])
        _take_back(ledger)  # and only once
        assert ledger.spent() == 2.25
