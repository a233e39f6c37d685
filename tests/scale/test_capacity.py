"""The table of docs/scale.md is what its script prints, and the script's arithmetic is right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "benchmarks" / "capacity.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="a copy of the sources without benchmarks")
def test_the_page_shows_what_the_script_prints() -> None:
    said = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=True).stdout
    assert said.strip() in (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.mark.skipif(not SCRIPT.exists(), reason="a copy of the sources without benchmarks")
def test_a_table_by_hand() -> None:
    given = {"k": 2, "picture": 90, "instruction": 10, "response": 50, "rubric": 100, "judge_out": 200}
    given |= {"pool_in_rate": 100, "pool_out_rate": 50, "judge_in_rate": 100, "judge_out_rate": 100, "gpu_hour": 2}
    given |= {"api_in": 10, "api_out": 20}
    changes = [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
    command = [sys.executable, str(SCRIPT), *changes, "--head-ms", "3.6"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = {cells[1].strip(): cells[2].strip() for cells in (row.split("|") for row in said.splitlines())}
    assert rows["calls"] == "240,000"
    assert rows["tokens in / out, millions"] == "40 / 24"  # 160k × 100 + 80k × 300; 160k × 50 + 80k × 200
    assert rows["GPU hours of the pool"] == "89"  # 160k × (1 + 1) s
    assert rows["GPU hours of the judge"] == "89"  # 80k × (200 / 100 + 200 / 100) s
    assert rows["dollars, all on GPUs"] == "356"
    assert rows["dollars, the judge behind an API"] == "738"  # 177.8 + 80k × (300 × 10 + 200 × 20) / 1e6
    assert rows["on 8 GPUs"] == "22.2 h, 3 calls/s"
    assert rows["at least, for the head at 3.6 ms per call"] == "0.2 h"
