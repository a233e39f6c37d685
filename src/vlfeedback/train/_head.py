"""From hidden states to log-probabilities of known tokens, without keeping the whole of vocabulary × tokens.

A model's last layer makes one number per word of the vocabulary for every token, of which one is wanted together with
the logarithm of the sum over all. A frozen layer, as adapters leave it, is gone through block of words by block of
words: log p of a token has a gradient of one row, which is made in the same pass, and no score is kept. Where the layer
itself is trained, the scores of a batch are kept if they fit, else made slice by slice and once more for the gradient.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

KEPT_BYTES = 2**28
"""Up to this size the scores of a batch are kept for the gradient; above it they are made again, a quarter at a time.
"""

_AT_ONCE = 2**18
"""Scores that are worked on at a time: small buffers are used again and again."""

_TOKENS = 1024
"""Tokens that go through the blocks of a frozen layer together."""


class _TokenLogps(torch.autograd.Function):
    """Score of the target minus the logarithm of the sum, fp32.

    The gradient is written over the scores, which nobody else has: fresh memory of that size costs as much time as the
    arithmetic. A second backward pass through the same graph is refused by autograd.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, targets: Tensor) -> Tensor:
        rows = max(1, _AT_ONCE // scores.shape[1])
        total = torch.cat([part.float().logsumexp(1) for part in scores.split(rows)])
        ctx.save_for_backward(scores, targets, total)
        return scores.gather(1, targets[:, None])[:, 0].float() - total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        scores, targets, total = ctx.saved_tensors
        rows = max(1, _AT_ONCE // scores.shape[1])
        for part, above, some, wanted in zip(*(x.split(rows) for x in (scores, total, grad, targets)), strict=True):
            shares = torch.sub(part, above[:, None]).exp_().mul_(-some[:, None])
            part.copy_(shares.scatter_add_(1, wanted[:, None], some[:, None]))
        return scores, None


class _FrozenLogps(torch.autograd.Function):
    """Log p of each target under a layer that is not trained, fp32.

    d log p / d state = row of the target - mean row under the softmax, which is summed up block by block like the
    softmax's own sum, with the largest score so far taken out.

    Source: Milakov and Gimelshein 2018 (arXiv:1805.02867) for the running sum.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        parts = [
            _gone_through(states, weight, bias, some, mean=wanted)
            for states, some in zip(hidden.split(_TOKENS), targets.split(_TOKENS), strict=True)
        ]
        if wanted:
            ctx.save_for_backward(torch.cat([slope for _, slope in parts]))
        return torch.cat([logps for logps, _ in parts])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (slope,) = ctx.saved_tensors
        return (grad[:, None] * slope).to(slope.dtype), None, None, None


def _gone_through(
    states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *, mean: bool
) -> tuple[Tensor, Tensor]:
    """Log p of the targets, shape (N,), and where `mean` its gradient by the states, shape (N, D)."""
    words = max(1024, _AT_ONCE // max(1, len(states)))
    top = states.new_full((len(states), 1), float("-inf"), dtype=torch.float32)
    total, said = torch.zeros_like(top), torch.zeros_like(top)
    sums = states.new_zeros(states.shape if mean else (0,), dtype=torch.float32)
    for first in range(0, len(weight), words):
        block = weight[first : first + words]
        scores = functional.linear(states, block, None if bias is None else bias[first : first + words]).float()
        place = targets[:, None] - first
        inside = (place >= 0) & (place < len(block))
        said = torch.where(inside, scores.gather(1, place.clamp(0, len(block) - 1)), said)
        above = torch.maximum(top, scores.amax(1, keepdim=True))
        shares, kept = scores.sub_(above).exp_(), (top - above).exp_()
        total = total.mul_(kept).add_(shares.sum(1, keepdim=True))
        if mean:
            sums.mul_(kept).add_(shares.to(block.dtype) @ block)
        top = above
    slope = (weight[targets] - sums.div_(total)).to(states.dtype) if mean else sums
    return (said - top - total.log())[:, 0], slope


def head_logps(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Log p of each target token.

    Args:
        hidden: States from which the tokens are predicted, shape (N, D).
        weight: Of the last layer, shape (V, D).
        bias: Of the last layer, shape (V,), or None.
        targets: Token ids, shape (N,).
    Returns:
        fp32, shape (N,).
    """

    def some(states: Tensor, wanted: Tensor) -> Tensor:
        return cast("Tensor", _TokenLogps.apply(functional.linear(states, weight, bias), wanted))

    if not weight.requires_grad and (bias is None or not bias.requires_grad):
        return cast("Tensor", _FrozenLogps.apply(hidden, weight, bias, targets))
    row = 4 * weight.shape[0]
    if len(targets) * row <= KEPT_BYTES:
        return some(hidden, targets)
    size = max(1, KEPT_BYTES // 4 // row)
    parts = zip(hidden.split(size), targets.split(size), strict=True)
    return torch.cat([cast("Tensor", checkpoint(some, *part, use_reentrant=False)) for part in parts])


def ends_with_head(model: Any, token: int) -> bool:
    """Whether a model's logits are what its last linear layer gives, with nothing done to them (a scale, a soft cap).

    Args:
        model: In its first state, on any device.
        token: Id of a token that is no picture and no padding, whose state is nothing.
    """
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear:
        return False
    made: list[Tensor] = []
    handle = head.register_forward_hook(lambda _, __, out: made.append(cast("Tensor", out)))
    ids = torch.full((1, 4), token, device=head.weight.device)
    try:
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    finally:
        handle.remove()
    return len(made) == 1 and torch.equal(logits, made[0]) and bool(logits.any())
