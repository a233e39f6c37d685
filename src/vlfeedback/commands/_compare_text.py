"""A comparison on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from vlfeedback.commands._terminal import table
from vlfeedback.evaluate import FORMS, Drift, Row, sentence

if TYPE_CHECKING:
    from vlfeedback.commands.compare import Comparison

WIDE = 110
"""Columns of a terminal in which every interval fits on a line."""


def show(found: Comparison, console: Console) -> None:
    """Print tables, one for every two models, what the headline rows say in words, and how the form drifted."""

    def say(text: str, style: str | None = None) -> None:
        console.print(text, highlight=False, markup=False, style=style)

    pairs: dict[tuple[str, str], list[Row]] = {}
    for one in found.rows:
        pairs.setdefault((one.old_model, one.new_model), []).append(one)
    for (old, new), rows in pairs.items():
        console.print(_table(f"{old}  →  {new}", rows, narrow=console.width < WIDE), markup=False)
        if not found.refused:
            for row in rows:
                if row.headline:
                    say(f"  {sentence(row)}")
        forms = [one for one in found.drift if (one.old_model, one.new_model) == (old, new)]
        if forms:
            say("  Form of the answers:")
        for one in forms:
            say(f"    {_drifted(one)}")
    for model in found.same:
        say(f"{model}: answered every item alike in both.")
    for note in found.notes:
        say(f"note: {note}")
    for reason in found.refused:
        say(f"no headline: {reason}", "bold")
    if found.refused:
        say("Run `vlfeedback evaluate` again: it asks only what has no answer.")


def _table(title: str, rows: list[Row], *, narrow: bool) -> Table:
    """Nine columns, no figure of which is cut off; in a narrow terminal intervals take two lines."""
    seeds = [f"over {rows[0].seeds.n} seeds"] if rows[0].seeds else []
    numbers = ("first", "second", "difference", "95 % interval", "p", "p, Holm", "detectable", "items", *seeds)
    if narrow:
        numbers = tuple(name.replace("% ", "%\n").replace(", ", ",\n").replace("over ", "over\n") for name in numbers)
    found = table(title, "metric", *numbers, numbers=numbers)
    found.padding = (0, 0) if narrow else (0, 1)
    several = len({row.benchmark for row in rows}) > 1
    for row in rows:
        cells = _cells(row)
        label = f"{row.benchmark} {row.metric}" if several else row.metric
        cells = (*cells, *([_interval(row.seeds.low, row.seeds.high)] if row.seeds else []))
        found.add_row(label, *(cell.replace(" to ", " to\n") if narrow else cell for cell in cells))
    return found


def _cells(row: Row) -> tuple[str, ...]:
    difference = row.difference
    too_few = "too few" if difference.note.startswith("too few") else "–"
    return (
        f"{row.old:.4g}",
        f"{row.new:.4g}",
        f"{difference.value:+.4g}",
        too_few if difference.low is None else _interval(difference.low, difference.high),
        f"{difference.p:.2g}",
        "" if row.p_holm is None else f"{row.p_holm:.2g}",
        "–" if difference.mde is None else f"{difference.mde:.3g}",
        f"{difference.n}" + (f" (−{row.unshared})" if row.unshared else ""),
    )


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:+.4g} to {high:+.4g}"


def _drifted(one: Drift) -> str:
    length = one.form == "length"
    values = f"{one.old:.1f} → {one.new:.1f}" if length else f"{one.old:.1%} → {one.new:.1%}"
    return f"{one.benchmark}: {FORMS[one.form]}: {values}" + (", beyond the noise" if one.beyond_noise else "")
