"""A page of evidence: a table whose lines were measured one by one, each at a commit that it names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MISS = "**miss**"
COLUMNS = ("item", "command", "number", "target", "result", "commit")


@dataclass(frozen=True, slots=True)
class Line:
    """One item and what it gave.

    Attributes:
        commit: Where it was measured; empty where it was not run.
    """

    name: str
    command: str
    number: str
    target: str
    passed: bool
    commit: str

    def cells(self) -> tuple[str, ...]:
        result = "pass" if self.passed else MISS
        return (self.name, f"`{self.command}`", self.number, self.target, result, self.commit)


def read(page: Path) -> dict[str, Line]:
    """Lines of a page by the names of their items; none where there is no page."""
    if not page.exists():
        return {}
    rows = [_cells(line) for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    found = (row for row in rows if len(row) == len(COLUMNS) and row[0] != COLUMNS[0])
    return {
        name: Line(name, command.strip("`"), number, target, result == "pass", commit)
        for name, command, number, target, result, commit in found
    }


def kept(before: Mapping[str, Line], name: str, command: str, target: str) -> Line:
    """The line of an item as it stands; another command or target has shown nothing of this one."""
    line = before.get(name)
    if line is not None and (line.command, line.target) == (command, target):
        return line
    return Line(name, command, "not run", target, False, "")


def write(page: Path, title: str, said: str, lines: Sequence[Line]) -> None:
    """Write a page.

    Args:
        said: Below the title: how and on what it was measured.
    """
    head = [f"# Evidence: {title}", "", said, "", _row(COLUMNS), "|" + "---|" * len(COLUMNS)]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join([*head, *(_row(line.cells()) for line in lines)]) + "\n", encoding="utf-8")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _cells(row: str) -> list[str]:
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
