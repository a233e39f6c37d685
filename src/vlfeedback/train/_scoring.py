"""Log-probabilities without gradient: of the frozen model for all responses of a run, and of single batches."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from vlfeedback import flow
from vlfeedback.progress import bar
from vlfeedback.train._arguments import precision
from vlfeedback.train._collate import Batch, Encoded, Encoder, collate
from vlfeedback.train._cut import in_pieces
from vlfeedback.train._layout import Layout
from vlfeedback.train._logps import forward_logps, grouped_logps
from vlfeedback.train._plan import pack
from vlfeedback.train._reference import ReferenceFile
from vlfeedback.train._still import hold_still
from vlfeedback.train._world import World

if TYPE_CHECKING:
    from vlfeedback.train import Recipe


def reference(
    groups: Sequence[Encoded],
    file: ReferenceFile,
    *,
    layout: Layout,
    encoder: Encoder,
    score: Callable[[Batch], list[float]],
    budget: int,
    here: World,
) -> dict[tuple[str, str], float]:
    """Reference log-probabilities of all responses; what the file has is not computed again.

    Several processes share the missing ones; each writes a file of its own, and the first one joins them.

    Args:
        groups: Everything that will be trained or evaluated on.
        file: What is known already; new numbers are appended batch by batch.
        layout: How responses lie in one forward.
        encoder: Has the pictures.
        score: Log p of a batch under the frozen model.
        budget: Padded tokens per batch.
        here: The processes that train together.
    """
    groups = [piece for group in groups for piece in in_pieces(group, layout, budget)]
    if here.first:
        file.gather()  # what a killed run of several processes left
    here.wait()
    file.reload()
    missing = file.missing(groups)[here.rank :: here.size]
    here.wait()  # all have looked before the first one writes: they share what all of them see missing
    own = file if here.first else file.part(here.rank)
    widths = [layout.cost(group) for group in groups]
    rows = [layout.rows(group) for group in groups]
    order = sorted(missing, key=lambda i: (widths[i], i))
    with bar("reference log-probabilities", len(missing), "groups") as advance:
        for batch in pack(order, rows, widths, budget):
            flow.stop_if_interrupted()
            members = [groups[i] for i in batch]
            own.add(members, score(collate(members, layout=layout, pictures=encoder.pictures)))
            advance(len(batch))
    here.wait()
    if here.first:
        file.gather()
    here.wait()
    file.reload()
    return file.values(groups)


class Scorer:
    """Log p of a batch without gradient, nothing drawn.

    Args:
        model: Frozen model or policy.
        recipe: For precision.
        device: Where the model is.
        training: Compute as a training step does, adapters' dropout aside; else in evaluation mode.
    """

    def __init__(self, model: Any, recipe: Recipe, device: torch.device, *, training: bool = False) -> None:
        self._model, self._recipe, self._device, self._training = model, recipe, device, training

    def __call__(self, batch: Batch) -> list[float]:
        with self._frame():
            return grouped_logps(self._model, batch.rows.to(self._device)).total.tolist()

    def in_fp32(self) -> Scorer:
        """The same without autocast."""
        return Scorer(self._model, replace(self._recipe, dtype="fp32"), self._device)

    def tokens(self, batch: Batch) -> list[float]:
        """The same of every token."""
        with self._frame():
            return forward_logps(self._model, batch.rows.to(self._device)).tolist()

    @contextmanager
    def _frame(self) -> Generator[None]:
        self._model.train(self._training)
        if self._training:
            hold_still(self._model, adapters=False)
        with torch.no_grad(), precision(self._recipe, self._device):
            yield
