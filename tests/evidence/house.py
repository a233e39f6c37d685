"""Evidence that the house stands: `make evidence-house`. A line per item: item, command, number, target, pass or miss.

A skip is a miss. Everything is measured in this run, in a fresh clone in an empty folder; the table is written to
docs/evidence/house.md with the machine it was measured on. `--only WORD` runs the items whose name has the word.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from measuring import Found, Item, ends_well, main, no_calls, python, seconds_at_most, sh, tests_pass


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


if __name__ == "__main__":
    sys.exit(main("house", "the house stands", ITEMS, sys.argv[1:]))
