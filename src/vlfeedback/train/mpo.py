"""Mixed preference optimisation: which is better, whether each is good, and how to say the good one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlfeedback.train._pairs import not_negative, pair_ratios, positive
from vlfeedback.train._preferences import LossInput, PairLosses, Preferences

if TYPE_CHECKING:
    from torch import Tensor

# Log-ratios 2 and -1 at beta 0.1: 0.8 · 0.554355 + 0.2 · (log(1 + e^-0.2) + log(1 + e^-0.1)) + 10/4
# A baseline of 3 nats asks for more than 0.3: the second term is log(1 + e^0.1) + log(1 + e^-0.4).
EXAMPLES = (
    (LossInput((), (-10.0, -9.0), (-12.0, -8.0), (4, 3), ((0, 1),), (1.0,), 0), (3.1919913014658543,)),
    (
        LossInput((("sft", 0.0),), (-10.0, -9.0), (-12.0, -8.0), (4, 3), ((0, 1),), (1.0,), 0, baseline=3.0),
        (0.6949665780695264,),
    ),
    (
        LossInput((("quality", 0.0), ("sft", 0.0), ("preference", 1.0)), (-5.0, -7.0), (-5.0, -7.0), (2, 2), ((1, 0),),
                  (2.0,), 1),
        (1.3862943611198906,),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mpo:
    """`preference` · sigmoid DPO + `quality` · paired BCO + `sft` · negative log-likelihood per chosen token.

    The BCO term asks of each side alone whether its reward is above or below the mean reward so far, which the trainer
    keeps (`Preferences.baseline`) and saves with its state.
    """

    beta: float
    preference: float
    quality: float
    sft: float
    per: Literal["pair", "token"] = "pair"

    def __call__(self, policy: Tensor, reference: Tensor, lengths: Tensor, preferences: Preferences) -> PairLosses:
        """See `Objective`."""
        from torch.nn.functional import logsigmoid

        ratios = pair_ratios(policy, reference, preferences.pairs)
        better = -logsigmoid(self.beta * ratios.margin)
        level = self.beta * preferences.baseline
        good = -logsigmoid(self.beta * ratios.chosen - level) - logsigmoid(level - self.beta * ratios.rejected)
        chosen = preferences.pairs[:, 0]
        said = -policy[chosen] / lengths[chosen]
        losses = self.preference * better + self.quality * good + self.sft * said
        return ratios.report(preferences.weights * losses, self.beta)


def load(*, beta: float = 0.1, preference: float = 0.8, quality: float = 0.2, sft: float = 1.0) -> Mpo:
    """Mixed preference optimisation (MPO).

    Args:
        beta: Strength of the pull to the reference, > 0.
        preference: Factor of the DPO term, ≥ 0.
        quality: Factor of the BCO term, ≥ 0.
        sft: Factor of the likelihood term, ≥ 0.
    Source:
        Wang et al. 2024 (arXiv:2411.10442), weights as published; BCO after Jung et al. 2024
        (arXiv:2404.04656).
    """
    return Mpo(
        positive("beta", beta), not_negative("preference", preference), not_negative("quality", quality),
        not_negative("sft", sft),
    )  # fmt: skip
