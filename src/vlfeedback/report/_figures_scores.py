"""Drawings of benchmark results: base against aligned, and every variant's distance from the base."""

from __future__ import annotations

from typing import Any, NamedTuple

from vlfeedback.report._canvas import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, QUIET, Figure, Panel, panel
from vlfeedback.report._numbers import axis_names, plain, shortened, signed
from vlfeedback.report._scores import MetricResult, Results

BASE_AGAINST_ALIGNED = "base_against_aligned"
CONTROLS = "controls"


class Bar(NamedTuple):
    """One bar with its interval, in printed units."""

    label: str
    value: float
    low: float | None
    high: float | None
    colour: str


def base_against_aligned(found: Results) -> Figure | None:
    """Bars of base, aligned and the strongest other model, with 95 % intervals; a panel per metric."""
    panels: list[Panel] = []
    for one in found.leading:
        bars = _bars(found, one)
        if bars:
            says = "; ".join(f"{bar.label} {plain(bar.value, one.digits)}" for bar in bars)
            name = f"{BASE_AGAINST_ALIGNED}-{one.benchmark}-{one.name}-{len(panels)}"
            height = 62 + 34 * len(bars)
            panels.append(panel(name, _title(one), says, lambda ax, b=bars, o=one: _draw_bars(ax, b, o), height=height))
    return Figure(BASE_AGAINST_ALIGNED, "Base against aligned", tuple(panels)) if panels else None


def controls(found: Results) -> Figure | None:
    """Difference of every trained variant to the base, with paired 95 % intervals; a panel per metric."""
    cast = found.cast
    variants = [model for model in (cast.aligned, *cast.controls) if model is not None]
    panels: list[Panel] = []
    for one in found.leading:
        rows = [model for model in variants if model in one.differences]
        if not rows:
            continue
        bars = [_difference(found, one, model) for model in rows]
        says = "; ".join(f"{bar.label} {signed(bar.value, one.digits)}" for bar in bars)
        name = f"{CONTROLS}-{one.benchmark}-{one.name}-{len(panels)}"
        height = 62 + 26 * len(bars)
        panels.append(panel(name, _title(one), says, lambda ax, b=bars, o=one: _draw_forest(ax, b, o), height=height))
    return Figure(CONTROLS, "Difference to the base", tuple(panels)) if panels else None


def _title(one: MetricResult) -> str:
    arrow = {"higher": " ↑", "lower": " ↓", "neither": ""}[one.metric.better]
    return f"{shortened(one.metric.label, 46)}{arrow}"


def _bars(found: Results, one: MetricResult) -> list[Bar]:
    cast, factor = found.cast, one.metric.factor
    strongest = next((model for model in cast.others if model in one.scores), None)
    chosen = [(cast.base, GREY), (cast.aligned, BLUE), (strongest, GREEN)]
    bars: list[Bar] = []
    for model, colour in chosen:
        if model is not None and model in one.scores:
            score = one.scores[model]
            low, high = (None if end is None else factor * end for end in (score.ci_low, score.ci_high))
            bars.append(Bar(axis_names([cast.word(model)], 20)[0], factor * score.value, low, high, colour.light))
    return bars


def _difference(found: Results, one: MetricResult, model: str) -> Bar:
    row, factor = one.differences[model], one.metric.factor
    low, high = (None if end is None else factor * end for end in (row.low, row.high))
    word = found.cast.word(model)
    colour = BLUE if model == found.cast.aligned else PURPLE if "SFT" in word else ORANGE
    return Bar(shortened(word, 24), factor * row.difference, low, high, colour.light)


def whisker(axes: Any, at: float, low: float | None, high: float | None, colour: str, *, width: float = 1.4) -> None:
    """A horizontal 95 % interval with short ends; nothing where there is none."""
    if low is None or high is None:
        return
    axes.plot([low, high], [at, at], color=colour, linewidth=width, solid_capstyle="butt", zorder=4)
    axes.plot([low, high], [at, at], color=colour, linestyle="none", marker="|", markersize=7, zorder=4)


def _draw_bars(axes: Any, bars: list[Bar], one: MetricResult) -> None:
    ends = [end for bar in bars for end in (bar.value, bar.low, bar.high, 0.0) if end is not None]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0
    for place, bar in enumerate(bars):
        axes.barh(place, bar.value, height=0.62, color=bar.colour)
        whisker(axes, place, bar.low, bar.high, INK.light)
        end = max(bar.value, bar.high if bar.high is not None else bar.value, 0.0)
        axes.text(
            end + 0.025 * span, place, plain(bar.value, one.digits), va="center", fontweight="bold", clip_on=False
        )
    axes.set_xlim(low - (0.06 * span if low < 0 else 0), high + 0.24 * span)
    finish(axes, [bar.label for bar in bars], "%" if one.metric.share else one.metric.unit)


def _draw_forest(axes: Any, bars: list[Bar], one: MetricResult) -> None:
    ends = [end for bar in bars for end in (bar.value, bar.low, bar.high, 0.0) if end is not None]
    span = (max(ends) - min(ends)) or 1.0
    axes.axvline(0, color=QUIET.light, linewidth=1, zorder=2)
    for place, bar in enumerate(bars):
        whisker(axes, place, bar.low, bar.high, bar.colour, width=1.8)
        axes.plot([bar.value], [place], marker="o", markersize=6, color=bar.colour, linestyle="none", zorder=5)
    axes.set_xlim(min(ends) - 0.08 * span, max(ends) + 0.08 * span)
    finish(axes, [bar.label for bar in bars], f"difference, {one.metric.change_unit}")


def finish(axes: Any, labels: list[str], unit: str) -> None:
    """Rows from top to bottom with their names, the unit below, a grid along the values only."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(unit, loc="right")  # a centred label is wider than narrow axes and would be cut off
