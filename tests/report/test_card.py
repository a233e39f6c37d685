from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from report.made_run import Made

from vlfeedback import report, tables
from vlfeedback.records import Dropped, Instruction, PreferencePair, Response


def cells(card: str, heading: str) -> dict[str, list[str]]:
    """Rows of the first table below a heading, by first cell."""
    part = card.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]
    return {row[0].replace("\\", ""): row[1:] for row in rows}


def test_the_front_matter_is_what_hubs_read(card: str) -> None:
    front = card.split("---\n")[1]
    lines = dict(re.findall(r"^(\w+): (.+)$", front, flags=re.M))
    assert lines == {"pretty_name": '"Pocket world"', "license": "other"}
    assert "- config_name: pairs\n  data_files: pairs.parquet" in front
    assert '- "n<1K"' in front


def test_the_card_counts_sources_pool_pairs_and_drops(made: Made, card: str) -> None:
    sources = Counter(one.source for one in tables.read(made.path / "instructions.parquet", Instruction))
    assert {name: row[0] for name, row in cells(card, "Sources").items()} == {n: str(c) for n, c in sources.items()}
    assert "CC BY-NC 4.0" in cells(card, "Sources")["llava"][3]
    pool = Counter(one.model for one in tables.read(made.path / "responses.parquet", Response))
    assert {name: row[0] for name, row in cells(card, "Pool").items()} == {n: str(c) for n, c in pool.items()}
    kept = sum(1 for _ in tables.read(made.path / "pairs.parquet", PreferencePair))
    assert cells(card, "Pairs")["kept"][0] == str(kept)
    ties = sum(one.reason == "tie" for one in tables.read(made.path / "dropped" / "pair.parquet", Dropped))
    assert cells(card, "Pairs")["tied"][0] == str(ties)
    assert f"| pair | tie | {ties} |" in card
    assert "Rubric: vlfeedback/1" in card and "Judge: gpt-4o-2024-11-20" in card
    assert "Strategy: all\\_pairs" in card
    assert "figures/base_against_aligned.svg" in card and "vlfeedback report DIR" in card


def test_a_card_of_nothing(bare: Path) -> None:
    report.write(bare)
    card = (bare / "README.md").read_text(encoding="utf-8")
    assert 'pretty_name: "bare"' in card and "Nothing has been collected yet" in card
    assert "figures/" not in card.split("## How to make it again")[0]
