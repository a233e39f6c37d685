"""Drawings of what the calls used."""

from __future__ import annotations

from typing import Any

from vlfeedback.report._calls import Calls
from vlfeedback.report._canvas import BLUE, Figure, Panel, panel
from vlfeedback.report._figures_scores import finish
from vlfeedback.report._numbers import count, money


def cost_and_calls(found: Calls) -> Figure | None:
    """Calls, tokens and cost by purpose."""
    if not found.rows:
        return None
    panels = [_bars(found, "calls", "Calls by purpose", "calls")]
    if any(row.output for row in found.rows):
        panels.append(_bars(found, "tokens", "Tokens by purpose, in and out", "tokens"))
    if found.cost:
        panels.append(_bars(found, "cost", "Cost by purpose", "currency of the price table"))
    return Figure("cost_and_calls", "Cost and calls", tuple(panels))


def _bars(found: Calls, what: str, title: str, unit: str) -> Panel:
    totals: dict[str, float] = {}
    for row in found.rows:
        value = {"calls": row.calls, "tokens": row.input + row.output, "cost": row.cost}[what]
        totals[row.purpose] = totals.get(row.purpose, 0.0) + value
    rows = list(totals.items())

    def write(value: float) -> str:
        return money(value) if what == "cost" else count(int(value))

    says = "; ".join(f"{purpose} {write(value)}" for purpose, value in rows)

    top = max(value for _, value in rows) or 1.0

    def tick(value: float, _place: int) -> str:
        return f"{value:,.0f}" if top >= 10 else f"{value:g}"

    def draw(axes: Any) -> None:
        for place, (_, value) in enumerate(rows):
            axes.barh(place, value, height=0.6, color=BLUE.light)
            axes.text(value + 0.02 * top, place, write(value), va="center")
        axes.set_xlim(0, 1.4 * top)
        finish(axes, [purpose for purpose, _ in rows], unit)
        axes.locator_params(axis="x", nbins=3)
        axes.xaxis.set_major_formatter(tick)

    return panel(f"calls-{what}", title, says, draw, height=58 + 28 * len(rows))
