"""Drawings of ratings: how they spread, who got them, and in which place."""

from __future__ import annotations

from typing import Any

from vlfeedback.report._canvas import BLUE, GREY, INK, ORANGE, Figure, Panel, panel
from vlfeedback.report._figures_scores import finish, whisker
from vlfeedback.report._numbers import axis_names, percent, plain, shortened
from vlfeedback.report._ratings import Mean, Ratings, Spread

MOST_MODELS = 40


def rating_histograms(found: Ratings) -> Figure | None:
    """Share of each rating per aspect, all instructions beside the red-team subset."""
    panels: list[Panel] = []
    top = max((100 * spread.share(score) for spread in found.spreads for score in found.scale), default=100.0)
    for aspect in found.aspects:
        spreads = [spread for spread in found.spreads if spread.aspect == aspect and spread.n]
        if spreads:
            says = "; ".join(
                f"{spread.subset}: " + ", ".join(f"{score} {percent(spread.share(score))}" for score in found.scale)
                for spread in spreads
            )
            name = f"rating-histogram-{len(panels)}"
            panels.append(
                panel(name, shortened(aspect, 48), says, lambda ax, s=spreads: _draw_spread(ax, s, found.scale, top))
            )
    return Figure("rating_histograms", "Ratings per aspect", tuple(panels)) if panels else None


def rating_per_model(found: Ratings) -> Figure | None:
    """Mean rating per model, a panel per aspect, models in the same order in all of them."""
    models = ordered_models(found)[:MOST_MODELS]
    panels: list[Panel] = []
    for aspect in found.aspects:
        rows = [(model, found.models[model, aspect]) for model in models if (model, aspect) in found.models]
        if rows:
            says = "; ".join(f"{model} {plain(mean.value)}" for model, mean in rows)
            height = 58 + 21 * len(rows)
            name = f"rating-per-model-{len(panels)}"
            panels.append(
                panel(
                    name, shortened(aspect, 48), says, lambda ax, r=rows: _draw_means(ax, r, found.scale), height=height
                )
            )
    return Figure("rating_per_model", "Mean rating per model", tuple(panels)) if panels else None


def ordered_models(found: Ratings) -> list[str]:
    """Models by the mean of their aspects' means, best first."""
    values: dict[str, list[float]] = {}
    for (model, _), mean in found.models.items():
        values.setdefault(model, []).append(mean.value)
    return sorted(values, key=lambda model: (-sum(values[model]) / len(values[model]), model))


def rating_by_position(found: Ratings) -> Figure | None:
    """Mean rating by the place in which the judge saw the response, a panel per aspect."""
    panels: list[Panel] = []
    by_aspect = [[mean for (_, name), mean in found.positions.items() if name == aspect] for aspect in found.aspects]
    span = 1.3 * max((_reach(means) for means in by_aspect if means), default=0.0) or 1.0
    for aspect in found.aspects:
        rows = [(place, mean) for (place, name), mean in found.positions.items() if name == aspect]
        if rows:
            says = "; ".join(f"place {place}: {plain(mean.value)}" for place, mean in rows)
            name = f"rating-by-position-{len(panels)}"
            panels.append(
                panel(name, shortened(aspect, 48), says, lambda ax, r=rows: _draw_places(ax, r, span), height=180)
            )
    return Figure("rating_by_position", "Rating by position", tuple(panels)) if panels else None


def _draw_spread(axes: Any, spreads: list[Spread], scale: tuple[int, ...], top: float) -> None:
    width = 0.8 / len(spreads)
    colours = {"all": BLUE, "red-team": ORANGE}
    for index, spread in enumerate(spreads):
        offset = (index - (len(spreads) - 1) / 2) * width
        heights = [100 * spread.share(score) for score in scale]
        label = f"{'all instructions' if spread.subset == 'all' else 'red-team subset'} (n = {spread.n:,})"
        axes.bar(
            [score + offset for score in scale], heights, width * 0.94, color=colours[spread.subset].light, label=label
        )
    axes.set_xticks(scale)
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("rating")
    axes.set_ylabel("% of ratings")
    axes.set_ylim(0, top * (1.16 + 0.13 * len(spreads)))  # the same in every panel, with room for the legend
    axes.set_yticks([tick for tick in range(0, 101, 20 if top > 40 else 10) if tick <= top + 10])
    axes.legend(loc="upper left", borderaxespad=0.1, handlelength=0.9, handleheight=0.9, labelspacing=0.3)


def _draw_means(axes: Any, rows: list[tuple[str, Mean]], scale: tuple[int, ...]) -> None:
    for place, (_, mean) in enumerate(rows):
        axes.plot([scale[0], mean.value], [place, place], color=GREY.light, linewidth=1, zorder=2)
        whisker(axes, place, mean.low, mean.high, INK.light)
        axes.plot([mean.value], [place], marker="o", markersize=5.5, color=BLUE.light, linestyle="none", zorder=5)
    axes.set_xlim(scale[0], scale[-1] + 0.05)
    finish(axes, axis_names([model for model, _ in rows], 24), "mean rating")
    axes.set_xticks(scale)


def _ends(means: list[Mean]) -> list[float]:
    return [end for mean in means for end in (mean.value, mean.low, mean.high) if end is not None]


def _reach(means: list[Mean]) -> float:
    """Distance from the lowest to the highest end of all intervals."""
    return max(_ends(means)) - min(_ends(means))


def _draw_places(axes: Any, rows: list[tuple[int, Mean]], span: float) -> None:
    places = [place for place, _ in rows]
    axes.plot(places, [mean.value for _, mean in rows], color=BLUE.light, marker="o", markersize=5.5, zorder=5)
    for place, mean in rows:
        if mean.low is not None and mean.high is not None:
            axes.plot([place, place], [mean.low, mean.high], color=INK.light, linewidth=1.4, zorder=4)
    axes.set_xlim(min(places) - 0.4, max(places) + 0.4)
    axes.set_xticks(places)
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")
    axes.locator_params(axis="y", nbins=5)
    ends = _ends([mean for _, mean in rows])
    middle = (max(ends) + min(ends)) / 2
    axes.set_ylim(middle - span / 2, middle + span / 2)  # as much of the scale in every panel
    axes.set_xlabel("place in which the judge saw the response")
    axes.set_ylabel("mean rating")
