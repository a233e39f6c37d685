"""Drawings of pairs: what became of them, and how long the chosen ones are."""

from __future__ import annotations

from typing import Any

from vlfeedback.report._canvas import BLUE, GREY, INK, ORANGE, QUIET, Figure, panel
from vlfeedback.report._figures_scores import finish, whisker
from vlfeedback.report._numbers import count, percent, plain
from vlfeedback.report._pairs import WORDS, Lengths, Pairs
from vlfeedback.report._ratings import Mean

BINS = 24


def pairs_kept(found: Pairs) -> Figure | None:
    """Pairs kept, tied, incomplete, identical, filtered."""
    if not found.possible:
        return None
    rows = [
        (reason, number)
        for reason, number in found.outcomes.items()
        if number or reason in ("kept", "tie", "incomplete")
    ]
    says = "; ".join(f"{WORDS.get(reason, reason)} {count(number)}" for reason, number in rows)
    drawn = panel(
        "pairs-kept", "Of all pairs that could be formed", says, lambda ax: _draw_outcomes(ax, rows, found.possible),
        height=58 + 30 * len(rows),
    )  # fmt: skip
    return Figure("pairs_kept", "Pairs kept, tied and incomplete", (drawn,))


def lengths(found: Lengths) -> Figure:
    """Words of chosen against rejected responses, and how often the longer one wins."""
    says = f"mean {plain(found.chosen.value, 1)} words chosen, {plain(found.rejected.value, 1)} rejected"
    panels = [panel("length-words", "Words per response", says, lambda ax: _draw_lengths(ax, found))]
    wins = found.longer_wins
    if wins is not None:
        title = "How often the longer response wins"
        panels.append(panel("length-wins", title, percent(wins.value), lambda ax: _draw_wins(ax, wins), height=120))
    return Figure("chosen_against_rejected_length", "Length of chosen against rejected", tuple(panels))


def _draw_outcomes(axes: Any, rows: list[tuple[str, int]], possible: int) -> None:
    top = max(number for _, number in rows) or 1
    for place, (reason, number) in enumerate(rows):
        axes.barh(place, number, height=0.6, color=BLUE.light if reason == "kept" else GREY.light)
        axes.text(number + 0.02 * top, place, f"{count(number)} ({percent(number / possible)})", va="center")
    axes.set_xlim(0, 1.55 * top)
    finish(axes, [WORDS.get(reason, reason) for reason, _ in rows], "pairs")
    axes.locator_params(axis="x", nbins=4)


def _draw_lengths(axes: Any, found: Lengths) -> None:
    import numpy as np

    both = np.array(found.chosen_words + found.rejected_words)
    # One very long response must not press all others into the first bar.
    top = max(float(np.percentile(both, 99)), float(both.min()) + 1)
    edges = np.linspace(0, top, min(BINS, int(top) + 1) + 1)
    for words, colour, label in (
        (found.chosen_words, BLUE, f"chosen, mean {plain(found.chosen.value, 1)}"),
        (found.rejected_words, ORANGE, f"rejected, mean {plain(found.rejected.value, 1)}"),
    ):
        counts, _ = np.histogram(np.minimum(words, top), edges)
        axes.stairs(100 * counts / len(words), edges, color=colour.light, linewidth=1.8, label=label)
    axes.set_xlim(0, top)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)
    axes.set_xlabel("words (longest 1 % in the last bar)")
    axes.set_ylabel("% of pairs")
    axes.legend(loc="upper right", borderaxespad=0.1, handlelength=1.2, labelspacing=0.3)


def _draw_wins(axes: Any, wins: Mean) -> None:
    axes.axvline(50, color=QUIET.light, linewidth=1, linestyle=(0, (4, 3)), zorder=2)
    low, high = (None if end is None else 100 * end for end in (wins.low, wins.high))
    whisker(axes, 0, low, high, INK.light, width=1.8)
    axes.plot([100 * wins.value], [0], marker="o", markersize=7, color=BLUE.light, zorder=5)
    axes.set_xlim(0, 100)
    finish(axes, [percent(wins.value)], "% of pairs of unequal length")
