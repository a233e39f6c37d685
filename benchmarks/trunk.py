"""Make the shipped trunk of the pocket world, and print what it can do.

    python benchmarks/trunk.py [--out src/vlfeedback/pocket/trunk.safetensors] [--examine]

About ten minutes on one core. The file holds the weights of seed 0 in half precision, at the end of school and
half-way; other seeds train theirs on first use with the same function, `school.trunk`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from vlfeedback.pocket import exam, school, tiny

RESULTS = Path(__file__).with_name("results") / "trunk.json"


def main() -> None:
    """Train, write, examine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=school.SHIPPED)
    parser.add_argument("--examine", action="store_true", help="examine the trunk that is there instead of making one")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    seconds = 0.0
    if not asked.examine:
        began = time.perf_counter()
        made = school.trunk(0)
        seconds = time.perf_counter() - began
        write(made, asked.out)
        print(f"{asked.out}: {asked.out.stat().st_size / 2**20:.2f} MiB after {seconds:.0f} s")
    report(school.read(asked.out), seconds)


def write(made: school.Trunk, path: Path) -> None:
    """The trunk in half precision, with what its words are."""
    halves = {"strong": made.strong, "half": made.half}
    tensors = {
        f"{half}.{name}": each.half().contiguous() for half, kept in halves.items() for name, each in kept.items()
    }
    save_file(tensors, path, {"words": school.vocabulary_digest()})


def report(made: school.Trunk, seconds: float) -> None:
    """Examine both halves, print the tables, keep the numbers."""
    results: dict[str, object] = {"seconds": round(seconds), "threads": torch.get_num_threads()}
    for name, weights in zip(("strong", "half"), made, strict=True):
        with tempfile.TemporaryDirectory() as folder:
            tiny.save(school.opened(weights), Path(folder), "plain")
            marks = exam.examine(Path(folder))
        print(f"\n{name}\n{marks.table()}")
        results[name] = asdict(marks)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
