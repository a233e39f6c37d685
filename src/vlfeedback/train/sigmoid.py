"""Direct preference optimisation: the papers' objective, over all pairs of every group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlfeedback.train._pairs import pair_ratios, positive
from vlfeedback.train._preferences import LossInput, PairLosses, Preferences

if TYPE_CHECKING:
    from torch import Tensor

# -log sigmoid(0.1 · ((-10 + 12) - (-9 + 8))) = -log sigmoid(0.3) = log(1 + e^-0.3) = 0.554355
# With policy equal to reference every pair costs log 2 = 0.693147; a weight of 2 doubles it.
EXAMPLES = (
    (LossInput((), (-10.0, -9.0), (-12.0, -8.0), (3, 3), ((0, 1),), (1.0,), 0), (0.554355244468527,)),
    (LossInput((), (-5.0, -7.0), (-5.0, -7.0), (2, 2), ((1, 0),), (2.0,), 1), (1.3862943611198906,)),
    # beta 1 and two pairs: log(1 + e^-1) = 0.313262, log(1 + e^1) = 1.313262
    (
        LossInput((("beta", 1.0),), (-1.0, -2.0, -1.0), (-2.0, -2.0, -2.0), (1, 1, 1), ((0, 1), (1, 2)), (1.0, 1.0), 0),
        (0.31326168751822286, 1.3132616875182228),
    ),
)


def dpo_loss(policy: Tensor, reference: Tensor, pairs: Tensor, beta: float) -> PairLosses:
    """Direct preference optimisation over all pairs of a batch of groups.

    Args:
        policy: Summed log p of each response (nats), shape (R,), R responses of all groups in the batch.
        reference: The same from the frozen model, shape (R,); carries no gradient.
        pairs: Indices into R, shape (P, 2), chosen first.
        beta: Strength of the pull to the reference, > 0; the papers use 0.1.
    Returns:
        losses, chosen_rewards, rejected_rewards, each (P,); rewards are detached.
    Raises:
        ValueError: an index is outside R, or beta is not positive.
    Source:
        Rafailov et al. 2023, eq. 7 (arXiv:2305.18290).
    """
    from torch.nn.functional import logsigmoid

    if beta <= 0:
        raise ValueError(f"beta must be positive, got {beta}")
    ratios = pair_ratios(policy, reference, pairs)
    return ratios.report(-logsigmoid(beta * ratios.margin), beta)


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """`dpo_loss`, each pair by its weight; averaged over the pairs of the whole step."""

    beta: float
    per: Literal["pair", "token"] = "pair"

    def __call__(self, policy: Tensor, reference: Tensor, lengths: Tensor, preferences: Preferences) -> PairLosses:
        """See `Objective`."""
        out = dpo_loss(policy, reference, preferences.pairs, self.beta)
        return PairLosses(preferences.weights * out.losses, out.chosen_rewards, out.rejected_rewards)


def load(*, beta: float = 0.1) -> Sigmoid:
    """Direct preference optimisation.

    Args:
        beta: Strength of the pull to the reference, > 0; the papers use 0.1.
    """
    return Sigmoid(positive("beta", beta))
