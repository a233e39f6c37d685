"""DPO whose best response may not become less likely than under the reference: the anchor of mDPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlfeedback.train._pairs import not_negative, positive
from vlfeedback.train._preferences import LossInput, PairLosses, Preferences
from vlfeedback.train.sigmoid import dpo_loss

if TYPE_CHECKING:
    from torch import Tensor

# Margin 3 at beta 0.1: 0.554355; the best response's log-ratio is 2: log(1 + e^-0.2) = 0.598139.
# Weight 0 is the sigmoid objective. The best of the group need not be the chosen side: its log-ratio of 0 costs log 2.
EXAMPLES = (
    (LossInput((), (-10.0, -9.0), (-12.0, -8.0), (4, 3), ((0, 1),), (1.0,), 0), (1.152494113850119,)),
    (LossInput((("weight", 0.0),), (-10.0, -9.0), (-12.0, -8.0), (4, 3), ((0, 1),), (1.0,), 0), (0.5543552444685271,)),
    (
        LossInput((("weight", 2.0),), (-5.0, -7.0, -6.0), (-5.0, -7.0, -6.0), (2, 2, 3), ((0, 1),), (1.0,), 2),
        (2.0794415416798357,),
    ),
)


@dataclass(frozen=True, slots=True)
class RewardAnchored:
    """Sigmoid DPO plus `weight` times -log sigmoid(beta · log-ratio) of the best response of the pair's group."""

    beta: float
    weight: float
    per: Literal["pair", "token"] = "pair"

    def __call__(self, policy: Tensor, reference: Tensor, lengths: Tensor, preferences: Preferences) -> PairLosses:
        """See `Objective`."""
        from torch.nn.functional import logsigmoid

        out = dpo_loss(policy, reference, preferences.pairs, self.beta)
        best = preferences.best_of_pair
        anchor = -logsigmoid(self.beta * (policy - reference.detach())[best])
        losses = preferences.weights * (out.losses + self.weight * anchor)
        return PairLosses(losses, out.chosen_rewards, out.rejected_rewards)


def load(*, beta: float = 0.1, weight: float = 1.0) -> RewardAnchored:
    """Direct preference optimisation with mDPO's reward anchor.

    Args:
        beta: Strength of the pull to the reference, > 0.
        weight: Factor of the anchor, ≥ 0.
    Source:
        Wang et al. 2024, the anchored term (arXiv:2406.11839), with a margin of 0.
    """
    return RewardAnchored(positive("beta", beta), not_negative("weight", weight))
