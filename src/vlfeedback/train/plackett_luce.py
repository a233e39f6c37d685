"""Listwise preference: each response against all that it beats at once, ties left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlfeedback.train._pairs import pair_ratios, positive
from vlfeedback.train._preferences import LossInput, PairLosses, Preferences

if TYPE_CHECKING:
    from torch import Tensor

# Two responses are DPO: margin 3 at beta 0.1, log(1 + e^-0.3) = 0.554355.
# beta 1, log-ratios 1, 0, 0 with a tie of the last two: log(1 + 2 e^-1) = 0.551445, half of it for each of two pairs.
# beta 1, log-ratios 2, 1, 0 in order: log(1 + e^-1 + e^-2) = 0.407606 over two pairs, log(1 + e^-1) = 0.313262.
EXAMPLES = (
    (LossInput((), (-10.0, -9.0), (-12.0, -8.0), (3, 3), ((0, 1),), (1.0,), 0), (0.5543552444685270,)),
    (
        LossInput(
            (("beta", 1.0),), (-1.0, -2.0, -2.0), (-2.0, -2.0, -2.0), (1, 1, 1), ((0, 1), (0, 2)), (1.0, 1.0), 0
        ),
        (0.27572235696602554, 0.27572235696602554),
    ),
    (
        LossInput(
            (("beta", 1.0),), (-1.0, -2.0, -3.0), (-3.0, -3.0, -3.0), (1, 1, 1), ((0, 1), (0, 2), (1, 2)),
            (1.0, 1.0, 1.0), 0,
        ),
        (0.2038029822221902, 0.2038029822221902, 0.31326168751822286),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlackettLuce:
    """For each response that beats any: minus the log of its share, in exp(beta · ratio), among itself and those.

    The loss of a response is spread evenly over its pairs, so that it is averaged over pairs like any other objective.
    """

    beta: float
    per: Literal["pair", "token"] = "pair"

    @property
    def together(self) -> Literal["winner"]:
        """A response is compared with all that it beats at once; what exceeds the token budget is dropped."""
        return "winner"

    def __call__(self, policy: Tensor, reference: Tensor, lengths: Tensor, preferences: Preferences) -> PairLosses:
        """See `Objective`."""
        import torch

        ratios = pair_ratios(policy, reference, preferences.pairs)
        winners = preferences.pairs[:, 0]
        beaten = torch.zeros_like(policy).index_add(0, winners, torch.ones_like(ratios.margin))
        # log(1 + sum of exp(-margin)) over the pairs of each winner, from their largest exponent down.
        exponents = -self.beta * ratios.margin
        largest = torch.zeros_like(policy).scatter_reduce(0, winners, exponents.detach(), "amax")
        sums = (-largest).exp().index_add(0, winners, (exponents - largest[winners]).exp())
        losses = (largest + sums.log())[winners] / beaten[winners]
        return ratios.report(preferences.weights * losses, self.beta)


def load(*, beta: float = 0.1) -> PlackettLuce:
    """Plackett-Luce over whole groups, from the pairs of the strategy: a tie is no pair, and no part of the loss.

    Args:
        beta: Strength of the pull to the reference, > 0.
    Source:
        Rafailov et al. 2023, the Plackett-Luce form in the appendix (arXiv:2305.18290), with ties left out of each
        other's denominators.
    """
    return PlackettLuce(positive("beta", beta))
