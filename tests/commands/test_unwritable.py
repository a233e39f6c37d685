"""A folder that cannot be made: every command that would make one says so in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from exchange import released as r
from exchange.test_lmms_eval_scores import mmmu, samples
from in_process import command

SYSTEM = Path("/proc/nope/out" if Path("/proc").is_dir() else "/dev/null/out")
TOML = '[images]\nown = "."\n\n[[source]]\nuse = "jsonl"\npath = "x.jsonl"\n'

COMMANDS = {
    "run": ("run", "{toml}"),
    "plan": ("plan", "{toml}", "--pilot", "1"),
    "evaluate": ("evaluate", "{toml}", "--model", "m", "--base-url", "http://localhost:1/v1"),
    "evaluate a run": ("evaluate", "{toml}", "--base-only"),
    "train": ("train", "--data", "{pairs}", "--model", "{model}"),
    "import": ("import", "trl", "{pairs}"),
    "import scores": ("import", "lmms_eval", "{scores}"),
    "export": ("export", "trl", "{run}"),
    "demo": ("demo", "--quick"),
}


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A run.toml, a preference file, a run folder of it, and scores of another engine."""
    rows = [{"prompt": "q", "chosen": "a", "rejected": "b"}]
    pairs = r.write(tmp_path / "pairs.jsonl", rows)
    (tmp_path / "run.toml").write_text(TOML)
    assert command(monkeypatch, "import", "trl", pairs, "--out", tmp_path / "run") == 0
    scores = samples(tmp_path / "m", "mmmu_val", [mmmu(0, right=True)])
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")  # no more of it is looked at before the folder is made
    return {
        "toml": tmp_path / "run.toml",
        "pairs": pairs,
        "model": tmp_path / "model",
        "run": tmp_path / "run",
        "scores": scores,
    }


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another user's: the system refuses even to say what is there, which a superuser would not see for himself."""
    room = tmp_path / "room"
    for name in ("stat", "mkdir"):
        plain: Any = getattr(Path, name)

        def refusing(self: Path, *given: Any, plain: Any = plain, **more: Any) -> Any:
            if self.is_relative_to(room):
                raise PermissionError(13, "Permission denied", str(self))
            return plain(self, *given, **more)

        monkeypatch.setattr(Path, name, refusing)
    return room


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("place", ["below a file", "where the system makes none", "in another's room"])
def test_an_out_that_cannot_be_made_is_said(
    given: dict[str, Path], room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    name: str, place: str,
) -> None:  # fmt: skip
    (room.parent / "file").write_text("")
    out = {"below a file": room.parent / "file" / "out", "in another's room": room / "out"}.get(place, SYSTEM)
    words = [word.format(**given) for word in COMMANDS[name]]
    capsys.readouterr()
    assert command(monkeypatch, *words, "--out", out) == 1
    told = capsys.readouterr().err
    assert f"error: {out} cannot be written (" in told and "Choose another --out" in told


def test_a_run_folder_that_may_not_be_looked_at_is_said(
    room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "status", room / "run") == 1
    assert f"error: {room / 'run'} cannot be read (" in capsys.readouterr().err


LONG = "n" * 300


@pytest.mark.parametrize("name", COMMANDS)
def test_an_out_whose_name_is_too_long_is_the_callers_mistake(
    given: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:  # fmt: skip
    words = [word.format(**given) for word in COMMANDS[name]]
    capsys.readouterr()
    assert command(monkeypatch, *words, "--out", tmp_path / LONG) == 2
    told = capsys.readouterr().err
    assert "a part of this name is too long for a file" in told and LONG not in told


@pytest.mark.parametrize(
    "words",
    [
        ("import", "trl", LONG, "--out", "{out}"),
        ("import", "trl", "{pairs}", "--images", LONG, "--out", "{out}"),
        ("import", "lmms_eval", LONG, "--out", "{out}"),
        ("export", "trl", LONG, "--out", "{out}"),
        ("train", "--data", LONG, "--model", "m", "--out", "{out}"),
        ("compare", LONG, "{run}"),
        ("status", LONG),
    ],
    ids=lambda words: " ".join(words).replace(LONG, "LONG"),
)
def test_so_is_any_other_name(
    given: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
) -> None:  # fmt: skip
    capsys.readouterr()
    assert command(monkeypatch, *(word.format(**given, out=tmp_path / "out") for word in words)) == 2
    assert "a part of this name is too long for a file" in capsys.readouterr().err


def test_a_name_that_just_fits_is_taken(
    given: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / ("n" * 255)
    assert command(monkeypatch, "export", "trl", given["run"], "--out", out) == 0
    assert any(out.iterdir())
    assert command(monkeypatch, "import", "trl", given["pairs"], "--out", out.with_name("i" * 255)) == 0
