"""From hidden states to log-probabilities: equal to a plain softmax, in one piece and in slices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import toy_llava
from test_logps import encode
from torch.nn import functional

from vlfeedback.train import _head
from vlfeedback.train._head import ends_with_head, head_logps
from vlfeedback.train._layouts import layouts
from vlfeedback.train._logps import grouped_logps


def drawn(tokens: int, words: int, width: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, width, generator=random, requires_grad=True) for n in (tokens, words))
    bias = torch.randn(words, generator=random, requires_grad=True)
    return hidden, weight, bias, torch.randint(0, words, (tokens,), generator=random)


@pytest.mark.parametrize("kept", [2**28, 4 * 50 * 4 * 3])
@pytest.mark.parametrize("at_once", [2**20, 100])
def test_values_and_gradients_of_a_plain_softmax(kept: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that is trained: one piece, and slices."""
    monkeypatch.setattr(_head, "KEPT_BYTES", kept)
    monkeypatch.setattr(_head, "_AT_ONCE", at_once)
    found: list[tuple[torch.Tensor, ...]] = []
    for way in ("plain", "head"):
        hidden, weight, bias, targets = drawn(23, 50)
        if way == "plain":
            scores = functional.linear(hidden, weight, bias).double().log_softmax(-1)
            logps = scores.gather(1, targets[:, None])[:, 0]
        else:
            logps = head_logps(hidden, weight, bias, targets)
            assert logps.dtype == torch.float32
        (logps * torch.linspace(-1, 2, 23)).sum().backward()
        assert hidden.grad is not None and weight.grad is not None and bias.grad is not None
        found.append((logps.detach(), hidden.grad, weight.grad, bias.grad))
    for plain, ours in zip(*found, strict=True):
        assert float((plain - ours).abs().max()) < 1e-5


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("tokens", "words", "slices"), [(23, 50, 1024), (23, 2500, 7), (1, 1025, 1024), (5, 4100, 2)])
def test_a_frozen_head_gives_values_and_gradients_of_a_plain_softmax(
    biased: bool, tokens: int, words: int, slices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several blocks of words, the last one cut off; several slices of tokens; scores far above and below."""
    monkeypatch.setattr(_head, "_TOKENS", slices)
    monkeypatch.setattr(_head, "_AT_ONCE", 1)
    hidden, weight, bias, targets = drawn(tokens, words)
    weight, bias = weight.detach() * 30, bias.detach() if biased else None
    exact = functional.linear(hidden.double(), weight.double(), None if bias is None else bias.double())
    logps = exact.log_softmax(-1).gather(1, targets[:, None])[:, 0]
    weights = torch.linspace(-1, 2, tokens)
    (truth,) = torch.autograd.grad((logps * weights.double()).sum(), hidden)
    found = head_logps(hidden, weight, bias, targets)
    assert found.dtype == torch.float32 and float((found - logps).detach().abs().max()) < 1e-4
    (gradient,) = torch.autograd.grad((found * weights).sum(), hidden)
    assert float((gradient - truth).norm() / truth.norm()) < 1e-5
    with torch.no_grad():
        assert torch.equal(head_logps(hidden, weight, bias, targets), found.detach())


def test_a_frozen_head_keeps_a_row_per_token_and_no_scores() -> None:
    sizes: list[int] = []

    def pack(one: torch.Tensor) -> torch.Tensor:
        sizes.append(one.numel())
        return one

    hidden, weight, _, targets = drawn(64, 5000)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
        head_logps(hidden, weight.detach(), None, targets)
    assert sizes == [hidden.numel()]


def test_no_logits_are_kept_where_they_would_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What autograd keeps of 64 tokens × 1,000 words: all of it in one piece, next to nothing in slices."""

    def kept_bytes() -> int:
        sizes: dict[int, int] = {}

        def pack(one: torch.Tensor) -> torch.Tensor:
            sizes[one.data_ptr()] = one.numel() * one.element_size()
            return one

        hidden, weight, bias, targets = drawn(64, 1000)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
            head_logps(hidden, weight, bias, targets)
        return sum(sizes.values()) - 4 * weight.numel()

    whole = 4 * 64 * 1000
    assert kept_bytes() >= whole
    monkeypatch.setattr(_head, "KEPT_BYTES", whole // 8)
    assert kept_bytes() < whole / 8


def test_the_graph_is_used_once() -> None:
    hidden, weight, bias, targets = drawn(5, 20)
    loss = head_logps(hidden, weight, bias, targets).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_bf16_scores_are_summed_in_fp32() -> None:
    hidden, weight, _, targets = drawn(40, 60)
    hidden, weight = hidden.detach().bfloat16().requires_grad_(), weight.detach().bfloat16()
    exact = functional.linear(hidden.detach(), weight).double().log_softmax(-1).gather(1, targets[:, None])[:, 0]
    found = head_logps(hidden, weight, None, targets)
    assert float((found.detach().double() - exact).abs().max()) < 1e-5
    found.sum().backward()
    assert hidden.grad is not None and hidden.grad.dtype == torch.bfloat16


def test_the_head_of_a_model_computes_no_token_of_its_own(
    model: Any, processor: Any, colours: toy_llava.Colours
) -> None:
    groups = toy_llava.groups(colours, 3)
    best = layouts(model, processor)[0].layout
    _, batch = encode(groups, processor, colours, best)
    assert batch.rows.direct
    shapes: list[tuple[int, ...]] = []
    handle = model.lm_head.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[:-1])))
    direct = grouped_logps(model, batch.rows).total
    handle.remove()
    assert [torch.Size(shape).numel() for shape in shapes] == [0]
    assert not model.lm_head._forward_pre_hooks, "nothing stays on the model"
    plain = layouts(model, processor)[-1].layout
    assert torch.allclose(direct, grouped_logps(model, encode(groups, processor, colours, plain)[1].rows).total)


def test_a_model_that_scales_its_logits_keeps_its_own(model: Any, processor: Any) -> None:
    assert ends_with_head(model, 3)
    assert not ends_with_head(model, 0), "the padding's state is nothing, and half of it as well"
    inner = model.forward

    def scaled(*args: Any, **given: Any) -> Any:
        out = inner(*args, **given)
        out.logits = out.logits * 0.5
        return out

    model.forward = scaled
    assert not ends_with_head(model, 3)
    assert not any(getattr(one.layout, "direct", False) for one in layouts(model, processor))
