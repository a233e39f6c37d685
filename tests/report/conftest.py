"""One run folder per session that every test of the report may read, with its report written."""

from __future__ import annotations

from pathlib import Path

import pytest
from report.made_run import Made, make

from vlfeedback import report


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A whole run, and its report."""
    run = make(tmp_path_factory.mktemp("run") / "whole", instructions=24, items=12)
    report.write(run.path)
    return run


@pytest.fixture(scope="session")
def html(made: Made) -> str:
    """Its page."""
    return (made.path / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def card(made: Made) -> str:
    """Its dataset card."""
    return (made.path / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """An empty run folder."""
    (tmp_path / "bare").mkdir()
    return tmp_path / "bare"
