"""Training curves, chosen and rejected log-ratios apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from vlfeedback.report._canvas import BLUE, ORANGE, PURPLE, QUIET, Colour, Figure, Panel, panel
from vlfeedback.report._numbers import plain, shortened
from vlfeedback.report._read import TrainLog
from vlfeedback.report._training import Training


class Curve(NamedTuple):
    """One line of a panel: the log's field, its words and its colour."""

    field: str
    label: str
    colour: Colour


class Chart(NamedTuple):
    """One panel of a training: lines that share an axis."""

    title: str
    unit: str
    curves: tuple[Curve, ...]
    level: float | None = None


CHARTS = (
    Chart(
        "Log-ratios",
        "log-ratio, nats",
        (Curve("logratios/chosen", "chosen", BLUE), Curve("logratios/rejected", "rejected", ORANGE)),
        0.0,
    ),
    Chart("Loss", "loss, nats", (Curve("loss", "training", BLUE), Curve("eval_loss", "held out", PURPLE))),
    Chart("Reward margin", "reward margin, nats", (Curve("rewards/margins", "margin", BLUE),), 0.0),
    Chart("Accuracy", "accuracy, % of pairs", (Curve("rewards/accuracies", "training", BLUE),), 50.0),
)


def training_curves(found: Training) -> Figure | None:
    """All charts of the main training, and the log-ratios of every other one."""
    panels = _panels(found.main, CHARTS, "")
    for log in found.others:
        panels += _panels(log, CHARTS[:1], f": {found.word(log)}")
    return Figure("training_curves", "Training curves", tuple(panels)) if panels else None


def _panels(log: TrainLog, charts: Sequence[Chart], suffix: str) -> list[Panel]:
    panels: list[Panel] = []
    for chart in charts:
        lines = [(curve, line) for curve in chart.curves if (line := series(log, curve.field))]
        if lines:
            says = "; ".join(f"{curve.label} ends at {plain(line[-1][1], 3)}" for curve, line in lines)
            title = shortened(chart.title + suffix, 48)
            panels.append(
                panel(
                    f"training-{log.name}-{chart.title}",
                    title,
                    says,
                    lambda ax, c=chart, found=lines: _draw(ax, c, found),
                )
            )
    return panels


def series(log: TrainLog, field: str) -> list[tuple[float, float]]:
    """Steps and values of one logged field."""
    factor = 100.0 if field == "rewards/accuracies" else 1.0
    return [(row.get("step", place), factor * row[field]) for place, row in enumerate(log.rows) if field in row]


def _draw(axes: Any, chart: Chart, lines: list[tuple[Curve, list[tuple[float, float]]]]) -> None:
    from matplotlib.ticker import MaxNLocator

    if chart.level is not None:
        axes.axhline(chart.level, color=QUIET.light, linewidth=1, linestyle=(0, (4, 3)), zorder=2)
    for curve, points in lines:
        steps, values = zip(*points, strict=True)
        few = {"marker": "o", "markersize": 4} if len(points) < 8 else {}
        axes.plot(steps, values, color=curve.colour.light, label=curve.label, zorder=4, **few)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel(chart.unit)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.locator_params(axis="y", nbins=5)
    if len(lines) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, handlelength=1.4, borderaxespad=0)
