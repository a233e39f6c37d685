"""Break the code on purpose and see the named test go red: `make mutants`, or `python tests/mutants.py NAME…`.

`--in ROOM…` runs those whose file is in one of these rooms or modules, below src/vlfeedback.

`mutants.toml` lists (file, old text, new text, test). Each mutant is applied in a copy of the project, one at a time; a
test that stays green is a miss, and so is a text that is no longer in its file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2
LIMIT = 900
"""Seconds for one test: the longest takes a tenth of it."""


class Mutant(NamedTuple):
    """One way to break the code."""

    name: str
    file: str
    old: str
    new: str
    test: str


def read() -> list[Mutant]:
    """All mutants of the list."""
    rows = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text(encoding="utf-8"))["mutant"]
    return [Mutant(**row) for row in rows]


def run(mutant: Mutant) -> str:
    """Apply a mutant in a copy and run its test.

    Returns:
        `caught`, or what went wrong.
    """
    source = (ROOT / mutant.file).read_text(encoding="utf-8")
    if source.count(mutant.old) != 1:
        return f"MISS: the old text is in {mutant.file} {source.count(mutant.old)} times, not once"
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        for name in ("src", "tests", "pyproject.toml", "configs", "README.md", "docs", "Makefile", ".ci"):
            place = ROOT / name
            if place.is_dir():
                shutil.copytree(place, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif place.exists():
                shutil.copy(place, copy / name)
        (copy / mutant.file).write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutant.test]
        environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command, cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT
            )
        except subprocess.TimeoutExpired:
            return f"MISS: {mutant.test} did not end within {LIMIT} s: break the code so that it ends"
    if done.returncode == 1:
        return "caught"
    last = (done.stdout.strip().splitlines() or ["no output"])[-1]
    return f"MISS: {mutant.test} ended with {done.returncode} ({last})"


def within(mutant: Mutant, names: list[str]) -> bool:
    """Whether `--in` names the mutant's room or module."""
    room = Path(mutant.file).relative_to("src/vlfeedback").parts[0]
    return names[0] == "--in" and room in names[1:]


def main(names: list[str]) -> int:
    """Run all mutants, those named, or with `--in` those of some rooms."""
    chosen = [mutant for mutant in read() if not names or mutant.name in names or within(mutant, names)]
    if not chosen:
        print("no such mutant")
        return 2
    missed = 0
    with ThreadPoolExecutor(max_workers=WORKERS) as workers:
        for mutant, result in zip(chosen, workers.map(run, chosen), strict=True):
            missed += result != "caught"
            print(f"{mutant.name:45} {result}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} mutants caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
