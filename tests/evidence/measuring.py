"""What pages of evidence share: items, checks, a fresh clone, the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import page

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class Found:
    """What one item gave."""

    number: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to show."""

    name: str
    command: str
    target: str
    check: Callable[[Path, str], Found]


def sh(command: str, folder: Path, limit: float = 7200) -> subprocess.CompletedProcess[str]:
    """Run a shell command in the clone."""
    environment = {**os.environ, "COLUMNS": "120", "VLFEEDBACK_CACHE": str(folder / ".cache"), "MAKEFLAGS": ""}
    environment.pop("MAKELEVEL", None)  # a make below make says where it enters and leaves
    return subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit
    )


def seconds_at_most(limit: float) -> Callable[[Path, str], Found]:
    """The command ends well within so many seconds."""

    def check(folder: Path, command: str) -> Found:
        began = time.monotonic()
        done = sh(command, folder)
        took = time.monotonic() - began
        return Found(f"{took:.0f} s, exit {done.returncode}", done.returncode == 0 and took <= limit)

    return check


def ends_well(folder: Path, command: str) -> Found:
    """The command ends with 0; the number is its last line."""
    done = sh(command, folder)
    last = (done.stdout.strip().splitlines() or ["no output"])[-1]
    return Found(last[:90], done.returncode == 0)


def tests_pass(folder: Path, command: str) -> Found:
    """pytest ends with 0 and ran something; a skipped test is a miss."""
    done = sh(command, folder)
    last = (done.stdout.strip().splitlines() or ["no output"])[-1]
    ran = re.search(r"(\d+) passed", last)
    return Found(last[:90], done.returncode == 0 and ran is not None and "skipped" not in last)


def no_calls(folder: Path, command: str) -> Found:
    """A JSON object on stdout with calls_made = 0."""
    done = sh(command, folder)
    made = json.loads(done.stdout)["calls_made"] if done.returncode == 0 else -1
    return Found(f"{made} calls made", made == 0)


def python(arguments: str) -> str:
    return f".venv/bin/python -m pytest -q {arguments}"


def clone(folder: Path) -> Path:
    """A fresh clone of the last commit."""
    place = folder / "vlfeedback"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(place)], check=True)
    return place


def machine() -> str:
    """What it was measured on."""
    return f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}, {platform.system()}"


def revision(place: Path) -> str:
    """The commit that was cloned; work may have gone on in the checkout meanwhile."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=True).stdout.strip()


def mutants_of(*rooms: str) -> str:
    """The command that breaks these rooms and modules, below src/vlfeedback."""
    return f".venv/bin/python tests/mutants.py --in {' '.join(rooms)}"


def main(name: str, title: str, items: Sequence[Item], arguments: list[str]) -> int:
    """Run items in a fresh clone and write what they gave into docs/evidence/NAME.md.

    Args:
        name: Of the page, as in `make evidence-NAME`.
        title: What the page is evidence of.
        items: What is to be shown.
        arguments: `--only WORD` runs the items whose name has the word; the lines of the others stay as they are.
    Returns:
        0 where all that were run have passed.
    """
    parser = argparse.ArgumentParser(description=f"Show that {title}, and write docs/evidence/{name}.md.")
    parser.add_argument(
        "--only", metavar="WORD", action="append", help="items whose name has the word; the other lines stay"
    )
    words: list[str] | None = parser.parse_args(arguments).only
    chosen = [item for item in items if words is None or any(word in item.name for word in words)]
    path = ROOT / "docs" / "evidence" / f"{name}.md"
    said = f"Measured by `make evidence-{name}` on {machine()}, each line at the commit that it names."
    passed = True
    with tempfile.TemporaryDirectory(prefix="evidence-") as folder:
        place = clone(Path(folder))
        if words or name != "house":  # making the environment is the house's first item
            subprocess.run(shlex.split("make .venv/.ready"), cwd=place, check=True)
        for item in chosen:
            line = measured(item, place)
            bring_back(place, ROOT)
            passed &= line.passed
            # Read and written each time: a run that is cut off leaves what it has shown, and two may share a page.
            before = page.read(path) | {item.name: line}
            page.write(path, title, said, [page.kept(before, one.name, one.command, one.target) for one in items])
            mark = "pass" if line.passed else "MISS"
            print(f"{mark}  {item.name:32} {line.number:40} target {item.target:22} {item.command}", flush=True)
        shutil.rmtree(place / ".venv", ignore_errors=True)
    return 0 if passed else 1


def bring_back(place: Path, root: Path) -> None:
    """Take over what benchmarks wrote of the raw numbers, so that they are those of the page."""
    command = ["git", "status", "--porcelain", "--untracked-files=all", "--", "benchmarks/results"]
    told = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True).stdout
    for name in (line[3:] for line in told.splitlines()):
        if (place / name).is_file():
            shutil.copyfile(place / name, root / name)


def measured(item: Item, place: Path) -> page.Line:
    """Run one item; its line names no place of this machine."""
    try:
        found = item.check(place, item.command)
    except (subprocess.TimeoutExpired, json.JSONDecodeError, KeyError) as error:
        found = Found(type(error).__name__, False)
    number = found.number.replace(str(place), ".")
    return page.Line(item.name, item.command, number, item.target, found.passed, revision(place))
