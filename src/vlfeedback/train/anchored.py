"""DPO held by its best response: keeps chosen answers likely where plain DPO lets both sides fall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlfeedback.train._pairs import not_negative, positive
from vlfeedback.train._preferences import LossInput, PairLosses, Preferences
from vlfeedback.train.sigmoid import dpo_loss

if TYPE_CHECKING:
    from torch import Tensor

# log(1 + e^-0.3) + 0.5 · 10/4 = 0.554355 + 1.25; with weight 0 it is the sigmoid objective.
EXAMPLES = (
    (LossInput((), (-10.0, -9.0), (-12.0, -8.0), (4, 3), ((0, 1),), (1.0,), 0), (1.804355244468527,)),
    (LossInput((("weight", 0.0),), (-10.0, -9.0), (-12.0, -8.0), (4, 3), ((0, 1),), (1.0,), 0), (0.554355244468527,)),
    # the anchor is the group's best (index 2, 6 nats over 3 tokens), not the chosen side of the pair: log 2 + 1.0 · 2
    (
        LossInput((("weight", 1.0),), (-5.0, -7.0, -6.0), (-5.0, -7.0, -6.0), (2, 2, 3), ((0, 1),), (1.0,), 2),
        (2.6931471805599454,),
    ),
)


@dataclass(frozen=True, slots=True)
class Anchored:
    """Sigmoid DPO plus `weight` times the negative log-likelihood per token of the best response of the pair's group.

    The anchor stands beside every pair, so that one count (pairs) normalises both terms and a group's share of the
    anchor is its share of the pairs.
    """

    beta: float
    weight: float
    per: Literal["pair", "token"] = "pair"

    def __call__(self, policy: Tensor, reference: Tensor, lengths: Tensor, preferences: Preferences) -> PairLosses:
        """See `Objective`."""
        out = dpo_loss(policy, reference, preferences.pairs, self.beta)
        best = preferences.best_of_pair
        anchor = -policy[best] / lengths[best]
        losses = preferences.weights * (out.losses + self.weight * anchor)
        return PairLosses(losses, out.chosen_rewards, out.rejected_rewards)


def load(*, beta: float = 0.1, weight: float = 0.5) -> Anchored:
    """Direct preference optimisation with an anchor on the best response.

    Args:
        beta: Strength of the pull to the reference, > 0.
        weight: Factor of the best response's negative log-likelihood per token, ≥ 0.
    Source:
        The likelihood term of RPO, Pang et al. 2024, eq. 1 (arXiv:2404.19733), on the best response of the group.
    """
    return Anchored(positive("beta", beta), not_negative("weight", weight))
