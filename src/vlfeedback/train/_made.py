"""What a training makes, as it is told beside its weights: the model card, and the result in `train.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlfeedback.records import Dropped
from vlfeedback.train._model_card import write_card

if TYPE_CHECKING:
    from vlfeedback.train import Recipe, TrainResult
    from vlfeedback.train._preferences import Objective


@dataclass(frozen=True, slots=True)
class Made:
    """A training as it is known before its first step.

    Attributes:
        out: The checkpoint's folder.
        key: Names the training.
        recipe: How it is trained: as asked for, but for an adapter that it goes on from, which has settings of its own.
        objective: What is minimised.
        sources: Instructions of the training side by source.
        groups, trained: Groups that are trained on, and their pairs.
        dropped: The other pairs.
        steps: Optimiser steps.
        warnings: What was noticed until then.
    """

    out: Path
    key: str
    recipe: Recipe
    objective: Objective
    sources: Mapping[str, int]
    groups: int
    trained: int
    dropped: tuple[Dropped, ...]
    steps: int
    warnings: tuple[str, ...]

    def card(self, folder: Path) -> None:
        """Write the model card beside weights."""
        write_card(
            folder, self.recipe, self.objective, groups=self.groups, pairs=self.trained, steps=self.steps,
            sources=self.sources,
        )  # fmt: skip

    def is_at(self, folder: Path) -> bool:
        """Whether a folder is the training's own, which has its note."""
        return folder.resolve() == self.out.resolve()

    def result(
        self, history: Sequence[Mapping[str, Any]], warned: Sequence[str], resumed_from: int, seconds: float
    ) -> TrainResult:
        """The result once the last step is done.

        Args:
            history: Logged steps.
            warned: What was noticed in training.
            resumed_from: Step that this call went on from.
            seconds: Of this call.
        """
        from vlfeedback.train import TrainResult

        return TrainResult(
            self.out, self.trained + len(self.dropped), self.trained, self.dropped, self.groups, self.steps,
            resumed_from, _last(history), (*self.warnings, *warned), seconds,
        )  # fmt: skip


def _last(history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The last value of every metric."""
    merged: dict[str, float] = {}
    for row in history:
        merged |= {name: float(value) for name, value in row.items() if isinstance(value, int | float)}
    return merged
