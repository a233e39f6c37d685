"""What pair objectives share: the two log-ratios of every pair, and what is reported of them."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from vlfeedback.errors import ConfigError
from vlfeedback.train._preferences import PairLosses

if TYPE_CHECKING:
    from torch import Tensor


class PairRatios(NamedTuple):
    """Log-ratios of policy to reference of both sides of every pair (nats), each of shape (P,)."""

    chosen: Tensor
    rejected: Tensor

    @property
    def margin(self) -> Tensor:
        """Chosen minus rejected, shape (P,)."""
        return self.chosen - self.rejected

    def report(self, losses: Tensor, beta: float) -> PairLosses:
        """Losses with the rewards beta · log-ratio, detached."""
        return PairLosses(losses, beta * self.chosen.detach(), beta * self.rejected.detach())


def pair_ratios(policy: Tensor, reference: Tensor, pairs: Tensor) -> PairRatios:
    """Log-ratios of both sides of every pair.

    Args:
        policy: Summed log p of each response (nats), shape (R,).
        reference: The same from the frozen model, shape (R,); carries no gradient.
        pairs: Indices into R, shape (P, 2), chosen first.
    Raises:
        ValueError: an index is outside R.
    """
    if pairs.numel() and not (int(pairs.min()) >= 0 and int(pairs.max()) < policy.shape[0]):
        raise ValueError(f"a pair points outside the {policy.shape[0]} responses of its batch")
    ratio = policy - reference.detach()
    return PairRatios(ratio[pairs[:, 0]], ratio[pairs[:, 1]])


def positive(name: str, value: float) -> float:
    """The value of an option that must be a number above 0.

    Raises:
        ConfigError: it is not.
    """
    if not 0 < value < inf:
        raise ConfigError(f"[train.loss] {name} must be positive, got {value}")
    return value


def not_negative(name: str, value: float) -> float:
    """The value of an option that must be a number not below 0.

    Raises:
        ConfigError: it is.
    """
    if not 0 <= value < inf:
        raise ConfigError(f"[train.loss] {name} must be at least 0, got {value}")
    return value


def share(name: str, value: float) -> float:
    """The value of an option that is a share of wrong labels: at least 0, below one half.

    Raises:
        ConfigError: it is not.
    """
    if not 0 <= value < 0.5:
        raise ConfigError(f"[train.loss] {name} must be at least 0 and below 0.5, got {value}")
    return value
