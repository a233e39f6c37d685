"""Every mutant of mutants.toml still finds the place that it breaks; `make mutants` breaks them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
MUTANTS: list[dict[str, Any]] = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text(encoding="utf-8"))["mutant"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one["name"])
def test_a_mutant_is_not_stale(mutant: dict[str, Any]) -> None:
    text = (ROOT / mutant["file"]).read_text(encoding="utf-8")
    assert text.count(mutant["old"]) >= 1 and mutant["old"] != mutant["new"]
    assert (ROOT / mutant["test"].partition("::")[0]).exists()


def test_their_names_are_their_own() -> None:
    names = [mutant["name"] for mutant in MUTANTS]
    assert len(names) == len(set(names)) >= 40
