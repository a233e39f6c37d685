"""Attention of rows that share their prompt, on a processor: only the tiles of the mask that have something in them.

A dense mask of four dimensions is right on every device and computes all T² products, of which a row of a prompt and
four responses needs less than half. Here the prompt looks at itself, all responses look at the prompt, and each looks
at itself, by the kernel that PyTorch has for processors; what a token found in several tiles is joined by the logs
of the sums below its softmax. A mask carries its tiles with it (`with_tiles`). Where they got lost, or anything else is
asked of attention, the dense mask does the same.

Source: Dao et al. 2022 (arXiv:2205.14135), section 3.1, for joining parts and for a gradient from the joined sums.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

LEAST = 256
"""Tokens of the widest row from which tiles are used. They are faster below as well, by too little to matter."""

PROMPT = 128
"""A longer prompt is cut into tiles of so many queries: the kernel computes the upper half of a tile in vain."""

_NAME = "_vlfeedback_tiles"


class Tile(NamedTuple):
    """Queries and keys of one row, as ranges of columns.

    Causal tiles look at themselves, and each key is in exactly one of them; it comes before all others with that key.
    `fresh` tiles are the first with their queries; what others find is joined to what is known.
    """

    row: int
    asking: slice
    asked: slice
    causal: bool
    fresh: bool


class Tiles(NamedTuple):
    """A whole mask: its tiles, the ranges of columns by row that see only themselves, its width."""

    listed: tuple[Tile, ...]
    padding: tuple[tuple[int, slice], ...]
    width: int


def tiles_of(rows: Sequence[tuple[int, Sequence[int]]], width: int) -> Tiles:
    """The tiles of rows that each hold one group.

    Args:
        rows: For each row its first column, and the tokens of its prompt and of each response.
        width: Columns.
    """
    listed: list[Tile] = []
    padding: list[tuple[int, slice]] = []
    for row, (first, (prompt, *responses)) in enumerate(rows):
        end = first + prompt
        for start in range(first, end, PROMPT):
            some = slice(start, min(start + PROMPT, end))
            listed.append(Tile(row, some, some, True, True))
            if start > first:
                listed.append(Tile(row, some, slice(first, start), False, False))
        if sum(responses):
            listed.append(Tile(row, slice(end, end + sum(responses)), slice(first, end), False, True))
        for length in responses:
            if length:
                some = slice(end, end + length)
                listed.append(Tile(row, some, some, True, False))
            end += length
        padding += [(row, part) for part in (slice(0, first), slice(end, width)) if part.start < part.stop]
    return Tiles(tuple(listed), tuple(padding), width)


def with_tiles(mask: Tensor, tiles: Tiles) -> Tensor:
    """The same mask, which says how it can be computed; a copy on another device says so no more."""
    setattr(mask, _NAME, tiles)
    return mask


def register() -> None:
    """Put the choice between tiles and a dense mask in the place of transformers' SDPA; a second call does nothing."""
    if ALL_ATTENTION_FUNCTIONS["sdpa"] is sdpa_attention_forward:
        ALL_ATTENTION_FUNCTIONS.register("sdpa", _attend)


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, *given: Any, **options: Any
) -> tuple[Tensor, Any]:
    """Transformers' signature of an attention function."""
    tiles = getattr(attention_mask, _NAME, None)
    if tiles is None or given or not _plain(query, key, value, tiles, options):
        return sdpa_attention_forward(module, query, key, value, attention_mask, *given, **options)
    groups = getattr(module, "num_key_value_groups", 1)
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    found: Any = _Tiled.apply(query, repeat_kv(key, groups), repeat_kv(value, groups), tiles, scale)
    return found.transpose(1, 2).contiguous(), None


def _plain(query: Tensor, key: Tensor, value: Tensor, tiles: Tiles, options: Mapping[str, Any]) -> bool:
    """Whether nothing is asked that tiles do not do."""
    return (
        query.device.type == "cpu"
        and query.dtype == key.dtype == value.dtype == torch.float32
        and query.shape[2] == key.shape[2] == tiles.width
        and query.shape[-1] == value.shape[-1]
        and not options.get("dropout")
        and all(options.get(name) is None for name in ("softcap", "position_bias", "cache"))
    )


class _Tiled(torch.autograd.Function):
    """Attention over tiles; query, key, value and what it returns have the shape (G, heads, T, width of a head)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, tiles: Tiles, scale: float) -> Tensor:
        out = _like(query)
        sums = query.new_zeros(query.shape[:3])
        for row, alone in tiles.padding:
            out[row, :, alone] = value[row, :, alone]
        for tile in tiles.listed:
            found, total = _FORWARD(
                _cut(query, tile, tile.asking), _cut(key, tile, tile.asked), _cut(value, tile, tile.asked),
                0.0, tile.causal, scale=scale,
            )  # fmt: skip
            before, known = _cut(out, tile, tile.asking), sums[tile.row : tile.row + 1, :, tile.asking]
            if tile.fresh:
                before.copy_(found)
                known.copy_(total)
            else:
                before.lerp_(found, torch.sigmoid(total - known)[..., None])
                torch.logaddexp(known, total, out=known)
        ctx.save_for_backward(query, key, value, out, sums)
        ctx.tiles, ctx.scale = tiles, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, key, value, out, sums = ctx.saved_tensors
        found = _like(query), _like(key), _like(value)
        for row, alone in ctx.tiles.padding:
            for one, left in zip(found, (0.0, 0.0, grad[row, :, alone]), strict=True):
                one[row, :, alone] = left
        for tile in ctx.tiles.listed:
            asking, asked = tile.asking, tile.asked
            # With the sums of all tiles, each tile's gradient is its share of the whole one.
            parts = _BACKWARD(
                _cut(grad, tile, asking), _cut(query, tile, asking), _cut(key, tile, asked), _cut(value, tile, asked),
                _cut(out, tile, asking), sums[tile.row : tile.row + 1, :, asking], 0.0, tile.causal, scale=ctx.scale,
            )  # fmt: skip
            new = (tile.fresh, tile.causal, tile.causal)
            for one, part, where, first in zip(found, parts, (asking, asked, asked), new, strict=True):
                place = _cut(one, tile, where)
                place.copy_(part) if first else place.add_(part)
        return *found, None, None


_FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def _like(one: Tensor) -> Tensor:
    """Room of the same shape, in which the heads of a token lie side by side: as the next layer wants them."""
    rows, heads, tokens, width = one.shape
    return one.new_empty(rows, tokens, heads, width).transpose(1, 2)


def _cut(one: Tensor, tile: Tile, part: slice) -> Tensor:
    return one[tile.row : tile.row + 1, :, part]
