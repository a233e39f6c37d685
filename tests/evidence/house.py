"""Evidence that the house stands: `make evidence-house`. A line per item: item, command, number, target, pass or miss.

A skip is a miss. Everything is measured in this run, in a fresh clone in an empty folder; the table is written to
docs/evidence/house.md with the machine it was measured on. `--only WORD` runs the items whose name has the word.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "evidence" / "house.md"


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


def sh(command: str, folder: Path, limit: float = 1800) -> subprocess.CompletedProcess[str]:
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


def demo_targets(folder: Path, command: str) -> Found:
    """The demo's figures are there, with intervals, for perception and cognition."""
    done = sh(command, folder)
    rows = {row["metric"]: row for row in json.loads(done.stdout)["rows"]} if done.returncode == 0 else {}
    closed = {
        name: (row["aligned"] - row["base"]) / (row["upper"] - row["base"])
        for name, row in rows.items()
        if name in {"perception", "cognition"} and row["upper"]
    }
    words = ", ".join(f"{name} {share:.0%} of the gap" for name, share in closed.items())
    return Found(words or f"exit {done.returncode}", len(closed) == 2 and min(closed.values()) >= 0.5)


def python(arguments: str) -> str:
    return f".venv/bin/python -m pytest -q {arguments}"


CLI = ".venv/bin/vlfeedback"
SECOND = f"{CLI} demo --out runs/second"
"""In a new folder: cached pocket models, everything else from nothing."""

ITEMS = (
    Item("make demo on a fresh clone", "make demo", "≤ 540 s", seconds_at_most(540)),
    Item("the demo again", f"{CLI} demo --out runs/demo --json", "0 calls", no_calls),
    Item("the demo a second time, all computed again", SECOND, "≤ 180 s", seconds_at_most(180)),
    Item("five seeds", ".venv/bin/python benchmarks/seeds.py --check", "all targets", ends_well),
    Item("the demo's gap", f"{CLI} demo --out runs/demo --json", "≥ 50 % of both gaps", demo_targets),
    Item("demo --quick", f"{CLI} demo --quick --out runs/quick", "≤ 90 s", seconds_at_most(90)),
    Item("make test on a fresh clone", "make test", "≤ 480 s", seconds_at_most(480)),
    Item("make check", "make check", "exit 0", ends_well),
    Item("kill -9, twenty times", python("-m slow tests/integration -k twenty_kills"), "equal digest", tests_pass),
    Item(
        "edits that cost nothing",
        python("tests/integration/test_collect.py -k 'call or buys or shared'"),
        "pass",
        tests_pass,
    ),
    Item("bad input", python("tests/integration/test_bad_input.py"), "all named", tests_pass),
    Item("laws of the house", python("tests/laws"), "all hold", tests_pass),
    Item("mutants", "make mutants", "all caught", ends_well),
    Item("released data goes in", python("tests/exchange"), "pass", tests_pass),
    Item("80,258 instructions", ".venv/bin/python benchmarks/import_80k.py", "≤ 60 s, ≤ 3 GB", ends_well),
    Item("plan offline", f"{CLI} plan configs/silkie.toml", "exit 0", ends_well),
    Item("report in a browser", python("-m browser tests/report"), "pass", tests_pass),
    Item("README's commands", python("tests/test_readme.py"), "pass", tests_pass),
)


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


def write(rows: list[tuple[Item, Found]], commit: str) -> None:
    """The table as a page."""
    lines = [
        "# Evidence: the house stands",
        "",
        f"Measured by `make evidence-house` at commit {commit} on {machine()}.",
        "",
        "| item | command | number | target | result |",
        "|---|---|---|---|---|",
    ]
    for item, found in rows:
        result = "pass" if found.passed else "**miss**"
        lines.append(f"| {item.name} | `{item.command}` | {found.number} | {item.target} | {result} |")
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Run the items and write the page."""
    word = arguments[1] if len(arguments) == 2 and arguments[0] == "--only" else ""
    chosen = [item for item in ITEMS if word in item.name]
    rows: list[tuple[Item, Found]] = []
    with tempfile.TemporaryDirectory(prefix="evidence-") as folder:
        place = clone(Path(folder))
        commit = revision(place)
        if word:
            subprocess.run(shlex.split("make .venv/.ready"), cwd=place, check=True)
        for item in chosen:
            try:
                found = item.check(place, item.command)
            except (subprocess.TimeoutExpired, json.JSONDecodeError, KeyError) as error:
                found = Found(type(error).__name__, False)
            rows.append((item, found))
            mark = "pass" if found.passed else "MISS"
            print(f"{mark}  {item.name:32} {found.number:40} target {item.target:22} {item.command}", flush=True)
        shutil.rmtree(place / ".venv", ignore_errors=True)
    if not word:
        write(rows, commit)
    return 0 if all(found.passed for _, found in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
