"""No reference: the likelihood per token of one response against the other, and a margin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlfeedback.train._pairs import not_negative, pair_ratios, positive
from vlfeedback.train._preferences import LossInput, PairLosses, Preferences

if TYPE_CHECKING:
    from torch import Tensor

# Per token -1 and -2: -log sigmoid(2 · 1 - 1) = log(1 + e^-1) = 0.313262, whatever the reference says.
# beta 1, margin 0, equal likelihoods per token: log 2, weight 2.
EXAMPLES = (
    (LossInput((), (-4.0, -6.0), (-12.0, -8.0), (4, 3), ((0, 1),), (1.0,), 0), (0.31326168751822286,)),
    (LossInput((), (-4.0, -6.0), (-4.0, -6.0), (4, 3), ((0, 1),), (1.0,), 0), (0.31326168751822286,)),
    (
        LossInput((("beta", 1.0), ("margin", 0.0)), (-4.0, -6.0), (0.0, 0.0), (2, 3), ((0, 1),), (2.0,), 0),
        (1.3862943611198906,),
    ),
)


@dataclass(frozen=True, slots=True)
class SimPO:
    """-log sigmoid(beta · (log p of the chosen per token - that of the rejected) - margin)."""

    beta: float
    margin: float
    per: Literal["pair", "token"] = "pair"

    def __call__(self, policy: Tensor, reference: Tensor, lengths: Tensor, preferences: Preferences) -> PairLosses:
        """See `Objective`."""
        from torch.nn.functional import logsigmoid

        likelihood = policy / lengths
        ratios = pair_ratios(likelihood, likelihood.new_zeros(likelihood.shape), preferences.pairs)
        losses = -logsigmoid(self.beta * ratios.margin - self.margin)
        return ratios.report(preferences.weights * losses, self.beta)


def load(*, beta: float = 2.0, margin: float = 1.0) -> SimPO:
    """Simple preference optimisation (SimPO); the reported rewards are beta · log p per token.

    Args:
        beta: Scale of the likelihood per token, > 0; the paper uses 2.0 to 2.5.
        margin: What the chosen response must be ahead by, ≥ 0; the paper's gamma, 0.5 to 1.5.
    Raises:
        ConfigError: an option is out of its range.
    Source:
        Meng, Xia and Chen 2024, eq. 6 (arXiv:2405.14734).
    """
    return SimPO(positive("beta", beta), not_negative("margin", margin))
