"""DPO for judges that err: a known share of the pairs is taken to be the wrong way round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlfeedback.train._pairs import pair_ratios, positive, share
from vlfeedback.train._preferences import LossInput, PairLosses, Preferences

if TYPE_CHECKING:
    from torch import Tensor

# Margin 3 at beta 0.1, 0.3: 0.9 · log(1 + e^-0.3) + 0.1 · log(1 + e^0.3) = 0.9 · 0.554355 + 0.1 · 0.854355 = 0.584355
# With policy equal to reference both terms are log 2; without wrong labels it is the sigmoid objective.
EXAMPLES = (
    (LossInput((), (-10.0, -9.0), (-12.0, -8.0), (3, 3), ((0, 1),), (1.0,), 0), (0.5843552444685271,)),
    (LossInput((), (-5.0, -7.0), (-5.0, -7.0), (2, 2), ((1, 0),), (2.0,), 1), (1.3862943611198906,)),
    (
        LossInput((("wrong", 0.0),), (-10.0, -9.0), (-12.0, -8.0), (3, 3), ((0, 1),), (1.0,), 0),
        (0.554355244468527,),
    ),
)


@dataclass(frozen=True, slots=True)
class Conservative:
    """Cross-entropy against labels of which the share `wrong` is turned round."""

    beta: float
    wrong: float
    per: Literal["pair", "token"] = "pair"

    def __call__(self, policy: Tensor, reference: Tensor, lengths: Tensor, preferences: Preferences) -> PairLosses:
        """See `Objective`."""
        from torch.nn.functional import logsigmoid

        ratios = pair_ratios(policy, reference, preferences.pairs)
        margin = self.beta * ratios.margin
        losses = -(1 - self.wrong) * logsigmoid(margin) - self.wrong * logsigmoid(-margin)
        return ratios.report(preferences.weights * losses, self.beta)


def load(*, beta: float = 0.1, wrong: float = 0.1) -> Conservative:
    """Conservative DPO (cDPO).

    Args:
        beta: Strength of the pull to the reference, > 0.
        wrong: Share of pairs taken to be the wrong way round, in [0, 0.5).
    Source:
        Mitchell 2023, a note on DPO and noisy preferences (cDPO).
    """
    return Conservative(positive("beta", beta), share("wrong", wrong))
