"""A margin to be reached, and no loss beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlfeedback.train._pairs import pair_ratios, positive
from vlfeedback.train._preferences import LossInput, PairLosses, Preferences

if TYPE_CHECKING:
    from torch import Tensor

# Margin 3 at beta 0.1: 1 - 0.3 = 0.7; at beta 1 it is beyond the hinge; equal models cost 1.
EXAMPLES = (
    (LossInput((), (-10.0, -9.0), (-12.0, -8.0), (3, 3), ((0, 1),), (1.0,), 0), (0.7,)),
    (LossInput((("beta", 1.0),), (-10.0, -9.0), (-12.0, -8.0), (3, 3), ((0, 1),), (1.0,), 0), (0.0,)),
    (LossInput((), (-5.0, -7.0), (-5.0, -7.0), (2, 2), ((1, 0),), (2.0,), 1), (2.0,)),
)


@dataclass(frozen=True, slots=True)
class Hinge:
    """max(0, 1 - beta · margin)."""

    beta: float
    per: Literal["pair", "token"] = "pair"

    def __call__(self, policy: Tensor, reference: Tensor, lengths: Tensor, preferences: Preferences) -> PairLosses:
        """See `Objective`."""
        ratios = pair_ratios(policy, reference, preferences.pairs)
        losses = (1 - self.beta * ratios.margin).clamp(min=0)
        return ratios.report(preferences.weights * losses, self.beta)


def load(*, beta: float = 0.1) -> Hinge:
    """Hinge loss on the log-ratios.

    Args:
        beta: One over the margin to be reached (nats), > 0.
    Source:
        Zhao et al. 2023, SLiC-HF (arXiv:2305.10425), with log-ratios to the reference as in RSO, Liu et al. 2024
        (arXiv:2309.06657).
    """
    return Hinge(positive("beta", beta))
