"""Pages of evidence: what was measured stays on them, at its own commit, until it is measured anew."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "evidence"))
import page  # noqa: E402
from measuring import Found, Item, bring_back, measured  # noqa: E402

LINE = page.Line("full disk", "pytest -m 'a or b' | tail || x", "2 passed | 1", "≤ 2 %", True, "abc1234")
MISSED = page.Line("mutants", "make mutants", "3 live", "all caught", False, "def5678")


def test_a_page_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "page.md"
    assert page.read(path) == {}
    page.write(path, "nothing is lost", "Measured.", [LINE, MISSED])
    assert page.read(path) == {"full disk": LINE, "mutants": MISSED}
    assert path.read_text(encoding="utf-8").startswith("# Evidence: nothing is lost\n\nMeasured.\n\n| item |")


@pytest.mark.parametrize(("command", "target"), [("another", LINE.target), (LINE.command, "another")])
def test_another_command_or_target_has_shown_nothing(command: str, target: str) -> None:
    before = {LINE.name: LINE}
    assert page.kept(before, LINE.name, LINE.command, LINE.target) == LINE
    line = page.kept(before, LINE.name, command, target)
    assert (line.number, line.passed, line.commit) == ("not run", False, "")


@pytest.mark.parametrize("name", ["house", "collecting", "training", "evaluation"])
def test_the_pages_at_hand_can_be_read(name: str) -> None:
    lines = page.read(ROOT / "docs" / "evidence" / f"{name}.md")
    assert len(lines) > 10
    assert all(bool(line.commit) != (line.number == "not run") for line in lines.values())


def test_an_item_that_breaks_off_is_a_miss(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("measuring.revision", lambda _: "abc1234")

    def check(folder: Path, command: str) -> Found:
        if command == "bad":
            raise KeyError("calls_made")
        return Found(f"seen in {folder}", True)

    good = measured(Item("one", "good", "any", check), tmp_path)
    assert (good.number, good.passed, good.commit) == ("seen in .", True, "abc1234")
    bad = measured(Item("one", "bad", "any", check), tmp_path)
    assert (bad.number, bad.passed) == ("KeyError", False)


def test_raw_numbers_come_back_from_the_clone_and_nothing_else(tmp_path: Path) -> None:
    place, root = tmp_path / "clone", tmp_path / "root"
    for folder in (place, root):
        (folder / "benchmarks" / "results").mkdir(parents=True)
    kept, changed = place / "benchmarks" / "results" / "kept.json", place / "benchmarks" / "results" / "changed.json"
    for path in (kept, changed):
        path.write_text("1")
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -q -m a"):
        subprocess.run(["git", *command.split()], cwd=place, check=True)
    changed.write_text("2")
    (place / "benchmarks" / "results" / "new.md").write_text("3")
    (place / "other.txt").write_text("4")
    bring_back(place, root)
    assert {path.name: path.read_text() for path in root.rglob("*.*")} == {"changed.json": "2", "new.md": "3"}
