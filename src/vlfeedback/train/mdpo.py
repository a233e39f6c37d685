"""mDPO: the good answer must depend on the picture, and may not become less likely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlfeedback.train._pairs import not_negative, pair_ratios, positive
from vlfeedback.train._preferences import LossInput, PairLosses, Preferences

if TYPE_CHECKING:
    from torch import Tensor

# Responses 0 (best) and 1, and response 2: the best one to a damaged picture. Log-ratios 2, -1 and -1 at beta 0.1:
# log(1 + e^-0.3) for the pair, log(1 + e^-0.3) for the picture, log(1 + e^-0.2) for the anchor.
# A group without a picture has no term for it; without the anchor the picture's term may count twice.
_POLICY, _REFERENCE = (-10.0, -9.0, -13.0), (-12.0, -8.0, -12.0)
EXAMPLES = (
    (LossInput((), _POLICY, _REFERENCE, (4, 3, 4), ((0, 1),), (1.0,), 0, damaged=(2,)), (1.706849358318646,)),
    (LossInput((), _POLICY, _REFERENCE, (4, 3, 4), ((0, 1),), (1.0,), 0, damaged=(-1,)), (1.152494113850119,)),
    (
        LossInput(
            (("anchor", 0.0), ("picture", 2.0)), _POLICY, _REFERENCE, (4, 3, 4), ((0, 1),), (1.0,), 0, damaged=(2,)
        ),
        (1.6630657334055814,),
    ),
)


@dataclass(frozen=True, slots=True)
class Mdpo:
    """Sigmoid DPO, plus DPO of the best response to the picture against the same to a damaged one, plus an anchor.

    The anchor is -log sigmoid(beta · log-ratio) of the best response. Both terms stand beside every pair of their
    group, so that one count (pairs) normalises all.
    """

    beta: float
    picture: float
    anchor: float
    per: Literal["pair", "token"] = "pair"
    damages: bool = True

    def __call__(self, policy: Tensor, reference: Tensor, lengths: Tensor, preferences: Preferences) -> PairLosses:
        """See `Objective`."""
        from torch.nn.functional import logsigmoid

        ratios = pair_ratios(policy, reference, preferences.pairs)
        ratio = policy - reference.detach()
        best = ratio[preferences.best_of_pair]
        losses = -logsigmoid(self.beta * ratios.margin) - self.anchor * logsigmoid(self.beta * best)
        twins = preferences.damaged_of_pair
        if twins is not None:  # None: no group of the batch has a picture
            seen = -logsigmoid(self.beta * (best - ratio[twins.clamp(min=0)]))
            losses = losses + self.picture * (twins >= 0) * seen
        return ratios.report(preferences.weights * losses, self.beta)


def load(*, beta: float = 0.1, picture: float = 1.0, anchor: float = 1.0) -> Mdpo:
    """Multi-modal DPO (mDPO): a fifth of every picture, enlarged, is shown to the best response once more.

    Args:
        beta: Strength of the pull to the reference, > 0.
        picture: Factor of the image-conditional term, ≥ 0.
        anchor: Factor of the reward anchor, ≥ 0.
    Source:
        Wang et al. 2024, conditional and anchored terms (arXiv:2406.11839), on the best response of the group.
    """
    return Mdpo(positive("beta", beta), not_negative("picture", picture), not_negative("anchor", anchor))
