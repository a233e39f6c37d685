from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from vlfeedback.commands.doctor import doctor, show


def test_keys_are_named_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    found = doctor()
    states = {finding.name: (finding.value, finding.state) for finding in found.findings}
    assert states["OPENAI_API_KEY"] == ("set", "ok")
    assert states["GEMINI_API_KEY"] == ("not set", "absent")
    assert states["openai"][1] == "ok"
    console = Console(file=io.StringIO(), record=True)
    show(found, console)
    assert "OPENAI_API_KEY" in console.export_text(clear=False)
    assert "sk-very" not in json.dumps(found.to_json()) + console.export_text()


def test_a_model_whose_batches_change_its_replies_is_bad() -> None:
    good = doctor("m", answers=lambda name: (["a", "b"], ["a", "b"]))
    bad = doctor("m", answers=lambda name: (["a", "c"], ["a", "b"]))
    assert good.findings[-1].state == "ok"
    assert (bad.findings[-1].state, bad.ok) == ("bad", False)
    assert "1 of 2" in bad.findings[-1].value
