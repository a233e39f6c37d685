"""The batches of a run as the trainer asks for them: this process's share of the plan, and held-out ones."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from vlfeedback.train._collate import Batch, Encoded
from vlfeedback.train._plan import Plan
from vlfeedback.train._preferences import Objective
from vlfeedback.train._world import World


def items_of(group: Encoded, objective: Objective) -> int:
    """What a group adds to the count that the objective's losses are averaged over."""
    if objective.per == "pair":
        return len(group.pairs)
    return len(group.responses[group.best]) if group.best is not None else 0


class PlannedBatches(Dataset[Batch]):
    """This process's batches of a run in order, each knowing the item count of its whole step.

    Args:
        plan: Which groups are in which batch.
        groups: The groups of the run.
        objective: Says what is counted.
        arrange: Lays groups out as a batch whose losses are divided by the given count.
        here: The processes that share the batches of a step, by turns.
        blank: Picture fields for batches without a picture, in steps that have one: all batches of a step, in whatever
            process, call the same layers. None in steps without any, which train nothing of tower and connector.
    """

    def __init__(
        self,
        plan: Plan,
        groups: Sequence[Encoded],
        objective: Objective,
        arrange: Callable[[Sequence[Encoded], float], Batch],
        here: World,
        blank: Mapping[str, torch.Tensor],
    ) -> None:
        self._plan, self._groups, self._arrange, self._here, self._blank = plan, groups, arrange, here, blank
        self._totals = [sum(items_of(groups[i], objective) for i in plan.step(n)) for n in range(plan.steps)]

    @property
    def steps(self) -> int:
        """Optimiser steps of the run."""
        return self._plan.steps

    def __len__(self) -> int:
        return len(self._plan.batches) // self._here.size

    def __getitem__(self, index: int) -> Batch:
        number, turn = divmod(index, self._plan.accumulation // self._here.size)
        place = number * self._plan.accumulation + turn * self._here.size + self._here.rank
        members = [self._groups[i] for i in self._plan.batches[place]]
        if not members:
            members = [self._groups[self._plan.step(number)[0]].without_pairs()]
        batch = self._arrange(members, float(self._totals[number]))
        shown = any(self._groups[i].images for i in self._plan.step(number))
        return batch.with_blank(self._blank) if shown else batch


class HeldOut(Sequence[Batch]):
    """Batches to evaluate on, laid out one at a time.

    Args:
        members: Groups of each batch.
        counts: Items of each batch.
        arrange: Lays groups out as a batch whose losses are divided by the given count.
    """

    def __init__(
        self,
        members: Sequence[Sequence[Encoded]],
        counts: Sequence[float],
        arrange: Callable[[Sequence[Encoded], float], Batch],
    ) -> None:
        self._members, self._counts, self._arrange = members, counts, arrange

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: Any) -> Any:
        return self._arrange(self._members[index], self._counts[index])
