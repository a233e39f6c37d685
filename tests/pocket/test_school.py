"""Checkpoints are made once, kept whole, and known by what they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.pocket import pool, school

torch = pytest.importorskip("torch")

from vlfeedback.pocket._drill import Plan  # noqa: E402

SHORT = Plan(steps=2, pictures=2, rate=1e-3, rise=1)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A school of a few steps, without the shipped trunk."""
    monkeypatch.setattr(school, "SHIPPED", school.SHIPPED.with_name("none.safetensors"))
    for name in ("SEE", "FIND", "ANSWER", "MANNERS"):
        monkeypatch.setattr(school, name, SHORT)
    monkeypatch.setattr(school, "HALF", 1)
    plain = school.trunk
    monkeypatch.setattr(school, "trunk", lambda seed: plain(seed, see=SHORT, find=SHORT, answer=SHORT, half=1))


def test_a_pool_of_twelve_from_six_checkpoints() -> None:
    assert len(pool.NAMES) == len(set(pool.IDENTITIES)) == 12
    members = [pool.MEMBERS[name] for name in pool.NAMES]
    assert len(set(members)) == 12
    assert len({member.checkpoint for member in members}) == 6
    assert "policy" not in pool.NAMES and set(pool.CHARACTERS) < set(pool.CHECKPOINTS)


def test_the_pool_errs_to_neither_side() -> None:
    """Else training without pictures learns from the ratings to say "no" more often, and seems to see better."""
    taught = [pool.CHARACTERS.get(pool.MEMBERS[name].checkpoint) for name in pool.NAMES]
    yes, no = (sum(getattr(one, side) for one in taught if one) for side in ("says_yes", "says_no"))
    assert yes == pytest.approx(no)
    assert yes > 1


@pytest.mark.usefixtures("quick")
def test_a_checkpoint_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    enrol: Any = school._enrol
    monkeypatch.setattr(school, "_enrol", lambda *given: (calls.append(given[0]), enrol(*given))[1])
    first = school.checkpoint("pocket/policy", cache=tmp_path)
    assert school.checkpoint("policy", cache=tmp_path) == first
    assert calls == ["policy", "strong"]
    terse, plain = (school.checkpoint(name, cache=tmp_path) for name in ("strong-terse", "strong"))
    assert calls == ["policy", "strong"]
    assert (terse / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()
    assert (terse / "model.safetensors").read_bytes() != (first / "model.safetensors").read_bytes()
    assert not list(tmp_path.rglob(".part-*"))


@pytest.mark.usefixtures("quick")
def test_an_interrupted_school_leaves_nothing_that_looks_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(model: Any, folder: Path, style: str) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(school.tiny, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            school.checkpoint("half", cache=tmp_path)
    assert (school.checkpoint("half", cache=tmp_path) / "model.safetensors").is_file()


def test_identities_name_seed_and_sources() -> None:
    assert school.identity("strong") == school.identity("pocket/strong")
    assert school.identity("strong") != school.identity("strong", seed=1)
    assert school.identity("strong").startswith("pocket/strong@")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="strong-terse"):
        school.checkpoint("gpt")


@pytest.mark.usefixtures("quick")
def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelUnavailable, match="VLFEEDBACK_CACHE"):
        school.checkpoint("half", cache=tmp_path / "file")


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLFEEDBACK_CACHE", str(tmp_path))
    assert school.cache_folder() == tmp_path / "pocket"
