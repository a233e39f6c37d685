"""DPO that listens to how far apart the ratings are: in beta, or as a weight in either direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.train._pairs import not_negative, pair_ratios, positive
from vlfeedback.train._preferences import LossInput, PairLosses, Preferences

if TYPE_CHECKING:
    from torch import Tensor

MODES = ("beta", "up", "down")

# A gap of 2 at rate 0.5 counts f = 1 - e^-1 = 0.632121; margin 3 at beta 0.1.
# beta: log(1 + e^-(0.3 · 1.632121)) = 0.477814. up: 1.632121 · 0.554355. down: 0.554355 / 1.632121.
EXAMPLES = (
    (
        LossInput((), (-10.0, -9.0), (-12.0, -8.0), (3, 3), ((0, 1),), (1.0,), 0, gaps=(2.0,)),
        (0.478002383768694,),
    ),
    (
        LossInput((("mode", "up"),), (-10.0, -9.0), (-12.0, -8.0), (3, 3), ((0, 1),), (1.0,), 0, gaps=(2.0,)),
        (0.9047745913915142,),
    ),
    (
        LossInput((("mode", "down"),), (-10.0, -9.0), (-12.0, -8.0), (3, 3), ((0, 1),), (1.0,), 0, gaps=(2.0,)),
        (0.33965336780415994,),
    ),
)


@dataclass(frozen=True, slots=True)
class GapWeighted:
    """Sigmoid DPO with f = 1 - exp(-rate · gap): beta · (1 + strength · f), or that factor times or under the loss.

    A pair against its ratings (the longest response as the best, labels shuffled as a control) has a gap below 0 and
    counts as one of gap 0, which is DPO: what is preferred is the pair's to say, how clearly is the gap's, and a factor
    below 0 would train towards the rejected response.
    """

    beta: float
    mode: str
    strength: float
    rate: float
    per: Literal["pair", "token"] = "pair"

    @property
    def reads_gaps(self) -> bool:
        """See `Objective`."""
        return True

    @property
    def needs_gaps(self) -> bool:
        """See `Objective`."""
        return True

    def __call__(self, policy: Tensor, reference: Tensor, lengths: Tensor, preferences: Preferences) -> PairLosses:
        """See `Objective`.

        Raises:
            DataError: a pair has no gap.
        """
        import torch
        from torch.nn.functional import logsigmoid

        gaps = preferences.gaps
        if gaps is None or bool(torch.isnan(gaps).any()):
            raise DataError(
                "[train.loss] gap_weighted needs the distance of the ratings of every pair, and some have none: take a "
                "[pair] strategy that states margins, or another objective"
            )
        ratios = pair_ratios(policy, reference, preferences.pairs)
        # A gap too large for its type is infinite here, and f is 1 as it should be.
        factor = 1 + self.strength * (1 - torch.exp(-self.rate * gaps.to(policy.dtype).clamp(min=0)))
        inside = factor if self.mode == "beta" else torch.ones_like(factor)
        losses = -logsigmoid(self.beta * inside * ratios.margin)
        outside = {"up": factor, "down": 1 / factor}.get(self.mode, torch.ones_like(factor))
        return ratios.report(preferences.weights * outside * losses, self.beta)


def load(*, beta: float = 0.1, mode: str = "beta", strength: float = 1.0, rate: float = 0.5) -> GapWeighted:
    """Direct preference optimisation by rating gap; a gap below 0 counts as 0.

    Args:
        beta: Strength of the pull to the reference, > 0.
        mode: `beta` asks clear pairs for larger margins; `up` weights clear pairs more, `down` the close ones.
        strength: Largest share by which the factor rises, ≥ 0.
        rate: How fast it rises, per point of the rating scale, > 0.
    Source:
        `beta` after Zhang et al. 2025, dynamic reward scaling (arXiv:2502.10391), with the rating gap of the judge;
        `down` has the direction of difficulty weighting (arXiv:2601.00623).
    """
    if mode not in MODES:
        raise ConfigError(f"[train.loss] mode must be one of {', '.join(MODES)}, got {mode!r}")
    return GapWeighted(positive("beta", beta), mode, not_negative("strength", strength), positive("rate", rate))
