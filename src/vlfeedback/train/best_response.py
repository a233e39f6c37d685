"""Supervised fine-tuning on the best response of each group: the rival that every preference objective has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlfeedback.train._preferences import LossInput, PairLosses, Preferences

if TYPE_CHECKING:
    from torch import Tensor

# The loss of a group is the negative summed log-likelihood of its best response; the trainer divides by tokens.
EXAMPLES = (
    (LossInput((), (-10.0, -9.0), (-12.0, -8.0), (4, 3), ((0, 1),), (1.0,), 0), (10.0,)),
    # an all-tied group has no pair and still a best response
    (LossInput((), (-6.0, -7.5), (-6.0, -7.5), (3, 3), (), (), 1), (7.5,)),
    (LossInput((), (-6.0, -7.5), (-6.0, -7.5), (3, 3), ((0, 1),), (1.0,), None), ()),
)


@dataclass(frozen=True, slots=True)
class BestResponse:
    """Negative log-likelihood of the best responses, averaged over their tokens in the whole step."""

    beta: float
    per: Literal["pair", "token"] = "token"

    def __call__(self, policy: Tensor, reference: Tensor, lengths: Tensor, preferences: Preferences) -> PairLosses:
        """See `Objective`."""
        ratio = (policy - reference).detach()
        return PairLosses(
            losses=-policy[preferences.best],
            chosen_rewards=self.beta * ratio[preferences.pairs[:, 0]],
            rejected_rewards=self.beta * ratio[preferences.pairs[:, 1]],
        )


def load(*, beta: float = 0.1) -> BestResponse:
    """Supervised fine-tuning on the best response of each group, all-tied groups included.

    Args:
        beta: Scale of the reported rewards only, so that they read like those of the other objectives.
    """
    return BestResponse(beta)
