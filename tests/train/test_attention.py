"""Attention in tiles against a dense mask: values, gradients, and when the dense mask is kept."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toy_llava
from families import FAMILIES, Family
from hypothesis import given, settings, strategies as st
from test_families import Bench, check, measured, sizes
from test_logps import encode
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from vlfeedback.train import _attention
from vlfeedback.train._attention import register, tiles_of, with_tiles
from vlfeedback.train._layouts import layouts
from vlfeedback.train._logps import grouped_logps
from vlfeedback.train._shared import PADDING, visible

QUICK = ("LLaVA-1.5", "Qwen2.5-VL", "Gemma 3", "PaliGemma")
"""One of each kind of mask; the others are slow."""

Rows = Sequence[tuple[int, Sequence[int]]]
OPAQUE = ("PaliGemma", "PaliGemma 2", "Qwen3.5")
"""Families whose masks are always shaped by more than prompt and responses, or that share none."""

BY_PICTURES = ("Gemma 3",)
"""Families whose masks are shaped by pictures: rows of words alone are in tiles."""


@pytest.fixture(autouse=True)
def tiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tiles for the short rows of tests too, prompts in several; the number of tiles of each attention is noted."""
    noted: list[int] = []
    whole: Any = _attention._Tiled.apply

    def apply(query: Any, key: Any, value: Any, tiles: Any, scale: float) -> Any:
        noted.append(len(tiles.listed))
        return whole(query, key, value, tiles, scale)

    register()
    monkeypatch.setattr(_attention, "LEAST", 1)
    monkeypatch.setattr(_attention, "PROMPT", 4)
    monkeypatch.setattr(_attention._Tiled, "apply", apply)
    return noted


def mask_of(rows: Rows, width: int) -> torch.Tensor:
    """The dense mask, made from who sees whom."""
    segments = np.full((len(rows), width), PADDING)
    places = np.zeros((len(rows), width), np.int64)
    for row, (first, (prompt, *responses)) in enumerate(rows):
        segments[row, first : first + prompt], places[row, first : first + prompt] = 0, np.arange(prompt)
        start = first + prompt
        for number, length in enumerate(responses, 1):
            segments[row, start : start + length] = number
            places[row, start : start + length] = prompt + np.arange(length)
            start += length
    return torch.from_numpy(visible(segments, places)[:, None])


def drawn(rows: int, heads: int, width: int, *, groups: int = 1, dtype: Any = torch.float32) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(rows + width)
    shapes = [(rows, heads, width, 8), *[(rows, heads // groups, width, 8)] * 2]
    return [torch.randn(shape, generator=random).to(dtype).requires_grad_() for shape in shapes]


def attended(layer: Any, inputs: Sequence[torch.Tensor], mask: torch.Tensor, **options: Any) -> list[torch.Tensor]:
    """What attention gives, and the gradients of its inputs."""
    for one in inputs:
        one.grad = None
    out = ALL_ATTENTION_FUNCTIONS["sdpa"](layer, *inputs, mask, **options)[0]
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape).sin()
    (out * weights).sum().backward()
    return [out.detach(), *(one.grad.clone() for one in inputs if one.grad is not None)]


@st.composite
def batches(draw: st.DrawFn) -> tuple[Rows, int]:
    sizes = st.tuples(st.integers(1, 13), st.lists(st.integers(0, 6), min_size=1, max_size=5))
    shapes = draw(st.lists(sizes, min_size=1, max_size=3))
    width = max(prompt + sum(said) for prompt, said in shapes) + draw(st.integers(0, 2))
    left = draw(st.booleans())
    return [(width - p - sum(said) if left else 0, [p, *said]) for p, said in shapes], width


@settings(deadline=None, max_examples=60)
@given(batch=batches(), groups=st.sampled_from([1, 2]), scaling=st.sampled_from([None, 0.2]))
def test_tiles_give_values_and_gradients_of_the_dense_mask(
    batch: tuple[Rows, int], groups: int, scaling: float | None
) -> None:
    """Prompts of several tiles, empty responses, padding on either side, keys shared by heads."""
    rows, width = batch
    layer = SimpleNamespace(num_key_value_groups=groups)
    inputs = drawn(len(rows), 2 * groups, width, groups=groups)
    dense = attended(layer, inputs, mask_of(rows, width), scaling=scaling)
    found = attended(layer, inputs, with_tiles(mask_of(rows, width), tiles_of(rows, width)), scaling=scaling)
    assert len(found) == 4
    for one, other in zip(found, dense, strict=True):
        assert float((one - other).abs().max()) < 1e-5 * max(1.0, float(other.abs().max()))


def test_a_dense_mask_does_what_tiles_do_not(tiled: list[int]) -> None:
    rows = [(0, [6, 3, 2])]
    tiles, layer = tiles_of(rows, 11), SimpleNamespace()
    mask = with_tiles(mask_of(rows, 11), tiles)
    attended(layer, drawn(1, 2, 11), mask)
    assert tiled == [len(tiles.listed)], "the plain case is in tiles"
    tiled.clear()
    attended(layer, drawn(1, 2, 11, dtype=torch.bfloat16), mask)  # not measured
    attended(layer, drawn(1, 2, 11), mask, dropout=0.5)
    attended(layer, drawn(1, 2, 11), mask.clone())  # as after a move to another device
    bias = torch.zeros(1, 2, 11, 11)
    attended(layer, drawn(1, 2, 11), mask, position_bias=bias)
    assert not tiled


@pytest.mark.parametrize(
    "family",
    [pytest.param(one, id=one.name, marks=[] if one.name in QUICK else pytest.mark.slow) for one in FAMILIES],
)
def test_a_family_gives_the_numbers_of_plain_forwards_in_tiles(family: Family, tiled: list[int]) -> None:
    """With adapters, with and without gradient checkpointing, padding on either side, two and eight responses."""
    check(family, measured(family))
    assert bool(tiled) == (family.name not in OPAQUE)
    assert not tiled or max(tiled) > 10, "prompts of several tiles"
    tiled.clear()
    bench = Bench(family)
    bench.off(sizes(bench, 2))
    assert bool(tiled) == (family.name not in (*OPAQUE, *BY_PICTURES)), "rows with a picture"


def test_short_rows_keep_the_dense_mask(
    model: Any, processor: Any, colours: toy_llava.Colours, tiled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = layouts(model, processor)[0].layout
    for least, used in ((10_000, False), (1, True)):
        monkeypatch.setattr(_attention, "LEAST", least)
        tiled.clear()
        with torch.no_grad():
            grouped_logps(model, encode(toy_llava.groups(colours, 2), processor, colours, layout)[1].rows)
        assert bool(tiled) == used
