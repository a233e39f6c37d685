"""Which groups make up which optimiser step and which batch: fixed for the whole run before it starts.

The plan covers all epochs as one list of batches, so that resuming is skipping, and it gives every step the same number
of batches, which is what gradient accumulation and several processes need.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole run as batches.

    Attributes:
        batches: Indices of the groups in each batch, in order; an empty one stands for "nothing counted".
        accumulation: Batches per optimiser step, the same in every step.
        steps_of_epoch: Optimiser steps of each epoch.
    """

    batches: tuple[tuple[int, ...], ...]
    accumulation: int
    steps_of_epoch: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Optimiser steps of the run."""
        return len(self.batches) // self.accumulation

    def step(self, number: int) -> tuple[int, ...]:
        """Indices of all groups of a step, counted from 0."""
        start = number * self.accumulation
        return tuple(i for batch in self.batches[start : start + self.accumulation] for i in batch)

    def epoch_ends(self) -> tuple[int, ...]:
        """The step, counted from 1, with which each epoch ends."""
        return tuple(int(end) for end in np.cumsum(self.steps_of_epoch))


def plan_run(
    weights: Sequence[int],
    rows: Sequence[int],
    widths: Sequence[int],
    *,
    per_step: int,
    budget: int,
    epochs: int,
    seed: int,
    processes: int = 1,
    wholes: Sequence[int] | None = None,
) -> Plan:
    """Shuffle groups into steps of about equal weight and split each step into batches within a token budget.

    Args:
        weights: Pairs of each group (1 for a group without).
        rows: Responses of each group.
        widths: Tokens of each group's longest row.
        per_step: Wanted pairs per optimiser step.
        budget: Most padded tokens (rows · longest row) per batch; a single group may exceed it.
        epochs: Passes over the groups, each in an order of its own.
        seed: Decides the orders.
        processes: That share the batches of every step: their number is a multiple of it.
        wholes: Number of the group that each of them is a part of, from 0 without a gap: parts of one are in one step,
            so that a budget decides nothing but batches. None where none was cut.
    """
    parts: dict[int, list[int]] = {}
    for i, whole in enumerate(range(len(weights)) if wholes is None else wholes):
        parts.setdefault(whole, []).append(i)
    steps_of_epoch: list[int] = []
    steps: list[list[list[int]]] = []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(parts))
        shares = np.asarray([sum(weights[i] for i in parts[whole]) for whole in order])
        total = int(shares.sum())
        count = min(max(1, round(total / per_step)), len(order))
        # A group belongs to the step in which its middle pair falls.
        step_of_group = (2 * shares.cumsum() - shares) * count // (2 * total)
        chunks = [
            sorted((i for whole in order[step_of_group == k] for i in parts[whole]), key=lambda i: (widths[i], i))
            for k in range(count)
        ]
        chunks = [chunk for chunk in chunks if chunk]
        steps_of_epoch.append(len(chunks))
        steps += [pack(chunk, rows, widths, budget) for chunk in chunks]
    accumulation = -(-max(len(batches) for batches in steps) // processes) * processes
    even = [_split_to(batches, rows, widths, accumulation) for batches in steps]
    return Plan(tuple(tuple(batch) for batches in even for batch in batches), accumulation, tuple(steps_of_epoch))


def pack(groups: Sequence[int], rows: Sequence[int], widths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut a list of groups, shortest rows first, into batches within a token budget.

    Args:
        groups: Indices, by rising width.
        rows: Responses of every group.
        widths: Tokens of the longest row of every group.
        budget: Most padded tokens per batch; a single group may exceed it.
    """
    batches: list[list[int]] = []
    used = 0
    for i in groups:
        if batches and (used + rows[i]) * widths[i] <= budget:
            batches[-1].append(i)
            used += rows[i]
        else:
            batches.append([i])
            used = rows[i]
    return batches


def _split_to(batches: list[list[int]], rows: Sequence[int], widths: Sequence[int], count: int) -> list[list[int]]:
    """Halve the costliest batches until there are `count`; empty ones fill up where single groups are left."""
    parts = [list(batch) for batch in batches]
    while len(parts) < count:
        divisible = [k for k, part in enumerate(parts) if len(part) > 1]
        if not divisible:
            parts.append([])
            continue
        k = max(divisible, key=lambda k: sum(rows[i] for i in parts[k]) * widths[parts[k][-1]])
        half = len(parts[k]) // 2
        parts[k : k + 1] = [parts[k][:half], parts[k][half:]]
    return parts
