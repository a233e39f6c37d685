"""What an objective sees and what it gives back; no torch is loaded to define it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Preferences:
    """Which of the R responses of a batch of groups is preferred to which.

    Attributes:
        pairs: Indices into R, shape (P, 2), chosen first.
        weights: Factor of each pair's loss, shape (P,), ≥ 0.
        best: Index into R of the best response of each group that has one, shape (B,).
        best_of_pair: Index into R of the best response of each pair's group, shape (P,).
        gaps: Distance of the two sides' ratings, points of the scale, shape (P,); not a number where a pair has none.
            None where nothing is known of any.
        baseline: Mean log-ratio to the reference (nats) of both sides of all pairs up to the last optimiser step.
        damaged_of_pair: Index into R of the group's best response to a damaged picture, -1 where it has no picture,
            shape (P,). None where the objective does not ask for it (`damages`) or no group has a picture.
    """

    pairs: Tensor
    weights: Tensor
    best: Tensor
    best_of_pair: Tensor
    gaps: Tensor | None = None
    baseline: float = 0.0
    damaged_of_pair: Tensor | None = None


@dataclass(frozen=True, slots=True)
class PairLosses:
    """What an objective gives for one batch.

    Attributes:
        losses: One loss per item, not yet averaged: shape (P,) where the objective counts pairs, (B,) where it counts
            tokens.
        chosen_rewards: beta · log-ratio of each pair's chosen response, shape (P,), detached.
        rejected_rewards: The same of the rejected response, shape (P,), detached.
    """

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor


class Objective(Protocol):
    """A pure function from log-probabilities to losses; its `repr` names it and all its options.

    Attributes:
        per: What the sum of the losses of one optimiser step is divided by: the step's number of pairs, or of tokens in
            best responses. The count is that of the whole step, over accumulation, never of one micro-batch.
        damages: Where an objective has it and it is true, each group's best response is forwarded once more with a
            damaged picture (`Preferences.damaged_of_pair`).
        together: Where an objective has it, which pairs of a group have to be computed together: `winner`, those of one
            chosen response; `group`, all of them, however large. Without it, in this house, a loss is a sum over pairs,
            and a group that exceeds the token budget is cut (`_cut`). No field either.
        reads_gaps: Where an objective has it and it is true, margins of pairs are data of a training. It is no field:
            `repr` names a training.
        needs_gaps: Where it has it and it is true, a pair without a margin is refused before anything is computed.
    """

    @property
    def per(self) -> Literal["pair", "token"]: ...

    def __call__(self, policy: Tensor, reference: Tensor, lengths: Tensor, preferences: Preferences) -> PairLosses:
        """Losses of one batch.

        Args:
            policy: Summed log p of each response (nats), shape (R,), float64 where the device has it.
            reference: The same from the frozen model, shape (R,); carries no gradient.
            lengths: Tokens of each response, shape (R,), ≥ 1; its end token counts, and one that was cut off has none.
            preferences: Which response is preferred to which.
        """
        ...


@dataclass(frozen=True, slots=True)
class LossInput:
    """The input of a worked case; an objective's EXAMPLES are tuples of (input, expected losses), run by the tests.

    Attributes:
        options: Options given to `load`.
        policy, reference: Summed log p of each response, nats.
        lengths: Tokens of each response.
        pairs: (chosen, rejected) indices.
        weights: One per pair.
        best: Index of the best response of the only group, or None.
        gaps: One per pair, or none.
        baseline: See `Preferences`.
        damaged: One index per pair, or none: `Preferences.damaged_of_pair`.
    """

    options: tuple[tuple[str, float | str], ...]
    policy: tuple[float, ...]
    reference: tuple[float, ...]
    lengths: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    weights: tuple[float, ...]
    best: int | None
    gaps: tuple[float, ...] = ()
    baseline: float = 0.0
    damaged: tuple[int, ...] = ()
