"""DPO whose expected loss under wrong labels is the loss without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlfeedback.train._pairs import pair_ratios, positive, share
from vlfeedback.train._preferences import LossInput, PairLosses, Preferences

if TYPE_CHECKING:
    from torch import Tensor

# Margin 3 at beta 0.1, 0.3: (0.9 · 0.554355 - 0.1 · 0.854355) / 0.8 = 0.516855
# beta 1, margin -1, a quarter wrong: (0.75 · 1.313262 - 0.25 · 0.313262) / 0.5 = 1.813262
EXAMPLES = (
    (LossInput((), (-10.0, -9.0), (-12.0, -8.0), (3, 3), ((0, 1),), (1.0,), 0), (0.5168552444685271,)),
    (
        LossInput((("beta", 1.0), ("wrong", 0.25)), (-2.0, -1.0), (-1.0, -1.0), (1, 1), ((0, 1),), (1.0,), 0),
        (1.8132616875182228,),
    ),
    (LossInput((), (-5.0, -7.0), (-5.0, -7.0), (2, 2), ((1, 0),), (2.0,), 1), (1.3862943611198906,)),
)


@dataclass(frozen=True, slots=True)
class Robust:
    """The sigmoid loss, made unbiased for labels of which the share `wrong` is turned round."""

    beta: float
    wrong: float
    per: Literal["pair", "token"] = "pair"

    def __call__(self, policy: Tensor, reference: Tensor, lengths: Tensor, preferences: Preferences) -> PairLosses:
        """See `Objective`."""
        from torch.nn.functional import logsigmoid

        ratios = pair_ratios(policy, reference, preferences.pairs)
        margin = self.beta * ratios.margin
        losses = self.wrong * logsigmoid(-margin) - (1 - self.wrong) * logsigmoid(margin)
        return ratios.report(preferences.weights * losses / (1 - 2 * self.wrong), self.beta)


def load(*, beta: float = 0.1, wrong: float = 0.1) -> Robust:
    """Robust DPO (rDPO).

    Args:
        beta: Strength of the pull to the reference, > 0.
        wrong: Share of pairs taken to be the wrong way round, in [0, 0.5).
    Source:
        Chowdhury, Kini and Natarajan 2024 (arXiv:2403.00409).
    """
    return Robust(positive("beta", beta), share("wrong", wrong))
