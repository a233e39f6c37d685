"""A source is read again when its files change, and only then: an option that is text names no file."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import command
from picture_files import encoded, gradient

from vlfeedback import config, sourcing, tables
from vlfeedback.records import Instruction

TOML = """
[images]
r = "pics"
[[source]]
use = "folder"
path = "pics"
images = "r"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Settings for a folder of one picture."""
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "a.png").write_bytes(encoded(gradient(), "PNG"))
    return tmp_path


def settings(home: Path, more: str) -> Path:
    path = home / "run.toml"
    path.write_text(TOML + more, encoding="utf-8")
    return path


def state(toml: Path) -> str:
    return sourcing.instructions_from(config.load(toml))


def read(monkeypatch: pytest.MonkeyPatch, toml: Path) -> list[str]:
    """The prompts of a run up to its first room."""
    out = toml.parent / "out"
    assert command(monkeypatch, "run", toml, "--out", out, "--to", "source") == 0
    return [one.prompt for one in tables.read(out / "instructions.parquet", Instruction)]


def test_a_long_prompt_is_no_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = "Describe it. " * 40
    assert read(monkeypatch, settings(home, f"prompt = '{prompt}'\n")) == [prompt.strip()]


def test_a_prompt_that_is_a_path_is_not_walked(home: Path) -> None:
    (home / "big").mkdir()
    toml = settings(home, f"prompt = '{home / 'big'}'\n")
    before = state(toml)
    (home / "big" / "note.txt").write_text("1")
    assert state(toml) == before


def test_a_folder_that_is_called_like_an_option_is_not_looked_at(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml = settings(home, 'prompt = "photo"\n')
    before = state(toml)
    (home / "photo").mkdir()
    (home / "photo" / "note.txt").write_text("1")
    monkeypatch.chdir(home)
    assert state(toml) == before


def test_prompts_outside_the_folder_are_read_again_when_they_change(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "q.txt").write_text("Old?\n")
    toml = settings(home, 'prompts = "../q.txt"\n')
    assert read(monkeypatch, toml) == ["Old?"]
    (home / "q.txt").write_text("Newer?\n")
    assert read(monkeypatch, toml) == ["Newer?"]


def test_what_a_run_has_made_is_no_source_of_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    red_team = '[[source]]\nuse = "red_team"\npath = "."\nimages = "r"\ncount = 4\nfamilies = ["typographic"]\n'
    toml = home / "run.toml"
    toml.write_text(TOML.replace('"pics"', '"."') + red_team, encoding="utf-8")
    first = read(monkeypatch, toml)
    before = state(toml)
    assert len(list((home / "out" / "images").rglob("*.jpg"))) == 4
    assert state(toml) == before
    (home / "out" / "instructions.parquet").unlink()
    assert sorted(read(monkeypatch, toml)) == sorted(first)


def test_pictures_of_a_run_can_be_named(home: Path) -> None:
    from vlfeedback.source import folder

    inside = home / "other" / "images" / "ab"
    inside.mkdir(parents=True)
    (home / "other" / "run.toml").write_text("")
    (home / "other" / ".lock").write_text("")
    (inside / "c.png").write_bytes(b"")
    assert [one.record_id for one in folder.load(home)()] == ["pics/a.png"]
    assert [one.record_id for one in folder.load(home / "other")()] == []
    assert [one.record_id for one in folder.load(home / "other" / "images")()] == ["ab/c.png"]
