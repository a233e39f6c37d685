"""A fixed margin to be hit: pairs that are won already are not pushed further apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlfeedback.train._pairs import pair_ratios, positive
from vlfeedback.train._preferences import LossInput, PairLosses, Preferences

if TYPE_CHECKING:
    from torch import Tensor

# Log-ratios 2 over 4 tokens and -1 over 2: (0.5 + 0.5 - 1 / 0.2)² = 16; summed at beta 0.5: (3 - 1)² = 4
# Equal models at beta 0.5: (0 - 1)² = 1, weight 2.
EXAMPLES = (
    (LossInput((), (-10.0, -9.0), (-12.0, -8.0), (4, 2), ((0, 1),), (1.0,), 0), (16.0,)),
    (
        LossInput((("beta", 0.5), ("per_token", 0.0)), (-10.0, -9.0), (-12.0, -8.0), (4, 2), ((0, 1),), (1.0,), 0),
        (4.0,),
    ),
    (LossInput((("beta", 0.5),), (-5.0, -7.0), (-5.0, -7.0), (2, 2), ((1, 0),), (2.0,), 1), (2.0,)),
)


@dataclass(frozen=True, slots=True)
class IPO:
    """Squared distance of the margin from 1 / (2 beta)."""

    beta: float
    per_token: bool
    per: Literal["pair", "token"] = "pair"

    def __call__(self, policy: Tensor, reference: Tensor, lengths: Tensor, preferences: Preferences) -> PairLosses:
        """See `Objective`."""
        ratios = pair_ratios(policy, reference, preferences.pairs)
        margin = ratios.margin
        if self.per_token:
            chosen, rejected = (lengths[preferences.pairs[:, side]] for side in (0, 1))
            margin = ratios.chosen / chosen - ratios.rejected / rejected
        losses = (margin - 1 / (2 * self.beta)) ** 2
        return ratios.report(preferences.weights * losses, self.beta)


def load(*, beta: float = 0.1, per_token: bool = True) -> IPO:
    """Identity preference optimisation (IPO).

    Args:
        beta: Half of one over the margin to be hit, > 0.
        per_token: Take log-ratios per token, as the paper's authors advise and TRL does; else summed.
    Source:
        Azar et al. 2023, eq. 17 (arXiv:2310.12036).
    """
    return IPO(positive("beta", beta), bool(per_token))
