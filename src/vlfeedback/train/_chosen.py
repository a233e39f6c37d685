"""The layout of a run: compared where rounding hides nothing, and once more in the arithmetic that trains."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vlfeedback.train._alone import alone, off, shown_groups, together
from vlfeedback.train._cut import in_pieces
from vlfeedback.train._exact import in_fp32
from vlfeedback.train._layouts import (
    Candidate,
    CheckedLayout,
    cannot_compute,
    checked_layout,
    lacks_memory,
    layouts,
    refuse_foresight,
    why_not,
)
from vlfeedback.train._logps import unwrapped
from vlfeedback.train._reference import TOLERANCE
from vlfeedback.train._weights import device_here
from vlfeedback.train._world import World

if TYPE_CHECKING:
    from vlfeedback.train import Recipe
    from vlfeedback.train._collate import Encoded, Encoder
    from vlfeedback.train._scoring import Scorer


ALONE = World()


def chosen_layout(
    model: Any,
    processor: Any,
    groups: Sequence[Encoded],
    encoder: Encoder,
    score: Scorer,
    recipe: Recipe,
    here: World = ALONE,
) -> CheckedLayout:
    """The fastest layout that gives what one response at a time gives, on some groups of a run.

    Args:
        here: The processes that train together; all call this, and all get one layout.
    Raises:
        ConfigError: no layout does, or the model's responses see their own future.
    """
    candidates = layouts(model, processor)
    groups = [piece for group in groups for piece in in_pieces(group, candidates[-1].layout, recipe.tokens_per_batch)]
    checked = _compared(model, candidates, groups, encoder, score, recipe)
    if recipe.dtype != "fp32" and checked.precision == "fp32":
        checked = _as_run(checked, candidates[-1], groups, encoder, score, recipe)
    return agreed(checked, candidates, here)


def agreed(checked: CheckedLayout, candidates: Sequence[Candidate], here: World) -> CheckedLayout:
    """The slowest layout that one of the processes has chosen: one with less memory may have compared in another way.

    Batches are planned by the layout, so processes with two of them would wait for each other for ever.
    """
    chosen = here.added([float(one.name == checked.name) for one in candidates], device_here())
    slowest = max(place for place, count in enumerate(chosen) if count)
    if candidates[slowest].name == checked.name:
        return checked
    warning = f"another process needs layout {candidates[slowest].name!r}: it is used by all"
    return replace(
        checked, name=candidates[slowest].name, layout=candidates[slowest].layout, warnings=(*checked.warnings, warning)
    )


def _compared(
    model: Any,
    candidates: Sequence[Candidate],
    groups: Sequence[Encoded],
    encoder: Encoder,
    score: Scorer,
    recipe: Recipe,
) -> CheckedLayout:
    """In fp32, or against the run's own rounding where the model does not fit or cannot compute so."""

    def compare(by: Scorer, precision: str) -> CheckedLayout:
        checked = checked_layout(
            candidates, groups, encoder, by.tokens, precision, budget=recipe.tokens_per_batch,
            refused=why_not(unwrapped(model)),
        )  # fmt: skip
        refuse_foresight(checked.layout, groups, encoder, by.tokens, checked.limit)
        return checked

    with in_fp32(model) as exact:
        if exact:
            try:
                return compare(score.in_fp32(), "fp32")
            except RuntimeError as error:  # memory, or kernels that take 16 bits only
                why = str(error).partition("\n")[0]
                print(f"layouts cannot be compared in fp32: {why}", file=sys.stderr, flush=True)
    try:
        return compare(score, recipe.dtype)
    except RuntimeError as error:
        if lacks_memory(error):
            raise
        raise cannot_compute(error) from error


def _as_run(
    checked: CheckedLayout,
    plain: Candidate,
    groups: Sequence[Encoded],
    encoder: Encoder,
    score: Scorer,
    recipe: Recipe,
) -> CheckedLayout:
    """What agrees in fp32 must not be computed by something else in 16 bits; rounding is no reason to refuse."""
    shown = shown_groups(groups, recipe.tokens_per_batch)[:1]
    layout: Any = plain.layout
    truth = alone(shown, layout, encoder, score.tokens)
    differences = off(together(shown, checked.layout, encoder, score.tokens, recipe.tokens_per_batch), truth)
    mean = sum(differences) / max(1, len(differences))
    if mean <= TOLERANCE[recipe.dtype] or checked.name == plain.name:
        return replace(checked, rounded=mean)
    warning = (
        f"layout {checked.name!r} changes log p by {mean:.3g} nats per token in {recipe.dtype}: a slower one is used"
    )
    print(warning, file=sys.stderr, flush=True)
    return replace(checked, name=plain.name, layout=plain.layout, rounded=mean, warnings=(*checked.warnings, warning))


__all__ = ["chosen_layout"]
