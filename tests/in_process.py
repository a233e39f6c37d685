"""The command line without a process of its own."""

from __future__ import annotations

import sys

import pytest

from vlfeedback import cli


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """What `vlfeedback ARGUMENTS` exits with."""
    monkeypatch.setattr(sys, "argv", ["vlfeedback", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert isinstance(done.value.code, int)
    return done.value.code
