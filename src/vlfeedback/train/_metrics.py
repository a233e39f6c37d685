"""What is watched during training: means over pairs under the field's names, and the running mean of log-ratios."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from vlfeedback.train._collate import Batch
from vlfeedback.train._preferences import PairLosses

# Sums that are no metrics of their own.
_TERM = "terms/"
GAPS = (("gap_0_1", 0.0, 1.0), ("gap_1_2", 1.0, 2.0), ("gap_2_up", 2.0, math.inf))
"""Ranges of rating distance for which accuracies are told apart: from, to (exclusive), points of the scale."""


def pair_sums(out: PairLosses, policy: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
    """Sums over pairs of what is watched during training, under the field's names, and the number of pairs."""
    chosen, rejected = batch.preferences.pairs.unbind(1)
    ratio = policy - batch.reference
    lengths = batch.rows.lengths
    values = {
        "rewards/chosen": out.chosen_rewards,
        "rewards/rejected": out.rejected_rewards,
        "rewards/margins": out.chosen_rewards - out.rejected_rewards,
        "rewards/accuracies": (out.chosen_rewards > out.rejected_rewards).to(policy.dtype),
        "logps/chosen": policy[chosen],
        "logps/rejected": policy[rejected],
        "logratios/chosen": ratio[chosen],
        "logratios/rejected": ratio[rejected],
        "lengths/chosen": lengths[chosen].to(policy.dtype),
        "lengths/rejected": lengths[rejected].to(policy.dtype),
        "pairs": torch.ones_like(out.chosen_rewards),
    }
    right, margins = values["rewards/accuracies"], values["rewards/margins"]
    values |= correlation_terms(margins, values["lengths/chosen"] - values["lengths/rejected"])
    gaps = batch.preferences.gaps
    if gaps is not None:
        for name, low, high in GAPS:
            within = ((gaps >= low) & (gaps < high)).to(policy.dtype)
            values |= {f"rewards/accuracies/{name}": right * within, f"pairs/{name}": within}
    return {name: value.detach().sum() for name, value in values.items()}


def correlation_terms(rewards: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the correlation of reward margins and length differences is made of, per pair."""
    names = ("m", "d", "mm", "dd", "md")
    terms = (rewards, lengths, rewards * rewards, lengths * lengths, rewards * lengths)
    return {f"{_TERM}{name}": term for name, term in zip(names, terms, strict=True)}


def means_of(sums: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Means over pairs, accuracies by rating distance, correlation of rewards with lengths; empty without pairs."""
    pairs = float(sums["pairs"]) if "pairs" in sums else 0.0
    if not pairs:
        return {}
    means: dict[str, float] = {}
    for name, value in sums.items():
        if name.startswith(("pairs", _TERM)):
            continue
        of = float(sums[f"pairs/{name.rpartition('/')[2]}"]) if "/gap_" in name else pairs
        if of:
            means[name] = float(value) / of
    return {**means, **_correlation(sums, pairs), "pairs": pairs}


def _correlation(sums: Mapping[str, torch.Tensor], pairs: float) -> dict[str, float]:
    """Pearson's correlation over the pairs; nothing where one of the two does not vary beyond rounding."""
    if f"{_TERM}m" not in sums:
        return {}
    m, d, mm, dd, md = (float(sums[_TERM + name]) / pairs for name in ("m", "d", "mm", "dd", "md"))
    of_margins, of_lengths = mm - m * m, dd - d * d
    if min(of_margins, of_lengths) < 1e-10:
        return {}
    return {"rewards/length_correlation": (md - m * d) / math.sqrt(of_margins * of_lengths)}


class RunningMean:
    """Mean log-ratio of all pairs up to the last optimiser step: how a step was cut into batches does not change it.

    Args:
        total: Sum up to the last whole step, nats.
        count: How many log-ratios that were.
        added: Sums over all processes that train together.
    """

    def __init__(
        self, total: float = 0.0, count: float = 0.0, added: Callable[[Sequence[float]], list[float]] = list
    ) -> None:
        self._total, self._count, self._added = total, count, added
        self._open_total, self._open_count, self._step = 0.0, 0.0, -1

    def add(self, total: float, count: float, *, step: int) -> None:
        """Note one batch of a step, counted from 0."""
        self._close(step)
        self._open_total += total
        self._open_count += count

    def mean(self, step: int) -> float:
        """The mean before a step, nats; 0 before the first."""
        self._close(step)
        return self._total / self._count if self._count else 0.0

    def to_json(self, step: int) -> dict[str, float]:
        """What the constructor takes, for the state after so many steps."""
        self._close(step)
        return {"total": self._total, "count": self._count}

    def _close(self, step: int) -> None:
        if step != self._step:
            total, count = self._added([self._open_total, self._open_count])
            self._total, self._count = self._total + total, self._count + count
            self._open_total, self._open_count, self._step = 0.0, 0.0, step
