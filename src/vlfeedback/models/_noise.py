"""Sampling whose noise is a function of the call and of nothing else.

With a global generator a response depends on what else is in its batch, and a resumed run (other batches) gives other
responses: 224 of 400 changed when measured, none with keyed noise. Here each (call, step, token) has its own number
from an integer hash, computed for a whole batch at once on any device, and the token with the largest noisy score is
taken (the Gumbel-max trick, which samples exactly from the softmax).
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vlfeedback.records import Sampling, TokenLogprobs

if TYPE_CHECKING:
    import torch

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit number
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB

WHOLE = 2**62
"""A step that no reply reaches."""


def seed_of(key: str) -> int:
    """A signed 64-bit seed from a call key (32 hexadecimal digits)."""
    return int(key[:16], 16) - 2**63


def _mixed(x: torch.Tensor) -> torch.Tensor:
    # splitmix64's finaliser; torch shifts signed numbers arithmetically, so the sign bits are masked off
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * _MIX1
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * _MIX2
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def gumbel(seeds: torch.Tensor, step: int, width: int) -> torch.Tensor:
    """Standard Gumbel noise for each call and token of one step.

    Args:
        seeds: One per call, int64, shape (B,).
        step: Position in the reply, from 0.
        width: Size of the vocabulary V.
    Returns:
        float32, shape (B, V); equal seeds and steps give equal rows in any batch.
    """
    import torch

    tokens = torch.arange(width, device=seeds.device, dtype=torch.int64)
    turned = ((step + 1) * _GOLDEN + 2**63) % 2**64 - 2**63  # as 64-bit arithmetic would wrap it
    rows = _mixed(seeds + turned)
    bits = _mixed(rows[:, None] + (tokens + 1)[None, :] * _GOLDEN)
    # 40 bits, so that even a token of probability 1e-10 gets its chance; the tail is where `uniform` is near 0
    uniform = ((bits >> 24) & 0xFFFFFFFFFF).float().add_(0.5).mul_(2.0**-40).clamp_(max=1.0 - 2.0**-24)
    return uniform.neg_().log1p_().neg_().log_().neg_()


def nucleus(scores: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Remove what lies outside the smallest set of tokens whose probability reaches `top_p`.

    Args:
        scores: Logits after the temperature, shape (B, V).
        top_p: Shape (B,), in (0, 1]; 1 keeps all.
    Returns:
        Scores with -inf outside the nucleus; at least one token stays.
    """
    import torch

    ordered, places = scores.sort(dim=-1, descending=True)
    probability = ordered.softmax(dim=-1)
    before = probability.cumsum(dim=-1) - probability
    outside = (before >= top_p[:, None]) & (top_p < 1.0)[:, None]
    outside[:, 0] = False
    return scores.masked_fill(torch.zeros_like(outside).scatter_(1, places, outside), -math.inf)


@dataclass
class KeyedSampler:
    """Chooses the next token of every row; given to `generate` as a logits processor of a greedy search.

    Attributes:
        samplings: One per row.
        seeds: One per row, shape (B,), int64.
        suppressed: Token ids that may never be chosen, shape (N,).
        prompt_length: Columns of the prompt, so that the step is known from the width of `input_ids`.
        top_logprobs: Alternatives per token to remember, 0 for none.
    """

    samplings: Sequence[Sampling]
    seeds: torch.Tensor
    suppressed: torch.Tensor
    prompt_length: int
    top_logprobs: int = 0
    steps: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        import torch

        device = self.seeds.device
        self.broken = torch.full_like(self.seeds, WHOLE)
        """Step of each row from which on its logits are no numbers, shape (B,); `WHOLE` where they always are."""
        temperature = torch.tensor([each.temperature for each in self.samplings], device=device)
        self._noisy = (temperature > 0).float()[:, None]
        self._divisor = torch.where(temperature > 0, temperature, torch.ones_like(temperature))[:, None]
        self._top_p = torch.tensor([each.top_p for each in self.samplings], device=device)
        self._any_noise = any(each.temperature > 0 for each in self.samplings)
        self._any_nucleus = any(each.top_p < 1 and each.temperature > 0 for each in self.samplings)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = input_ids.shape[1] - self.prompt_length
        # One column tells, at no cost: a state that has overflown makes NaN of the logits of every token.
        self.broken = self.broken.masked_fill((self.broken > step) & scores[:, 0].isnan(), step)
        plain = scores if self.top_logprobs else None
        scores = scores.index_fill(1, self.suppressed, -math.inf)
        if self._any_noise:
            scores = scores / self._divisor
            if self._any_nucleus:
                scores = nucleus(scores, self._top_p)
            scores = scores + gumbel(self.seeds, step, scores.shape[1]) * self._noisy
        if plain is not None:
            self._remember(plain, scores.argmax(dim=-1))
        return scores

    def _remember(self, plain: torch.Tensor, chosen: torch.Tensor) -> None:
        logprobs = plain.float().log_softmax(dim=-1)
        top = logprobs.topk(min(self.top_logprobs, logprobs.shape[1]), dim=-1)
        self.steps.append((logprobs.gather(1, chosen[:, None])[:, 0].cpu(), top.values.cpu(), top.indices.cpu()))


def read_logprobs(
    steps: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    row: int,
    words: Sequence[str],
    names: Sequence[Sequence[str]],
) -> tuple[TokenLogprobs, ...]:
    """The remembered log-probabilities of one row.

    Args:
        steps: As remembered by `KeyedSampler`.
        row: Which row.
        words: The row's tokens as text.
        names: For each step, the alternatives as text.
    """
    return tuple(
        TokenLogprobs(word, float(steps[at][0][row]), tuple(zip(names[at], steps[at][1][row].tolist(), strict=False)))
        for at, word in enumerate(words)
    )
