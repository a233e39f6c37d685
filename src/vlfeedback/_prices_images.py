"""How many tokens a picture is: the counting rules of model families, from its pixels."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ImageRule(BaseModel):
    """How many tokens a picture is.

    Attributes:
        kind: `tiles` after scaling; `patches` of `side` pixels after rounding both sides; `grid` of patches that cover
            the picture; `area`, so many pixels a token; `crops`, whose size follows the shorter side; or a `fixed`
            number.
        base: Tokens of any picture, and all of one at low detail (tiles); of a small picture (crops).
        tile: Tokens per tile or crop.
        box: Pixels of the longer side after shrinking (tiles, area).
        short: Pixels of the shorter side after shrinking (tiles).
        side: Pixels of a tile's or patch's side (patches, grid); pixels per token (area).
        least: Fewest tokens of a picture (patches): smaller ones are enlarged.
        most: Most tokens of a picture before `factor`: larger ones are shrunk.
        factor: Tokens per patch (grid).
        tokens: The fixed number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["tiles", "patches", "grid", "area", "crops", "fixed"]
    base: int = Field(default=0, ge=0)
    tile: int = Field(default=0, ge=0)
    box: int = Field(default=2048, ge=1)
    short: int = Field(default=768, ge=1)
    side: int = Field(default=28, ge=1)
    least: int = Field(default=1, ge=1)
    most: int = Field(default=16_384, ge=1)
    factor: float = Field(default=1.0, gt=0)
    tokens: int = Field(default=0, ge=0)


TILE = 512
SMALL = 384
"""Pixels of both sides up to which a picture is one crop."""

CROP = (256, 768)
"""Fewest and most pixels of a crop's side."""


def image_tokens(rule: ImageRule, width: int, height: int, *, detail: str = "high") -> int:
    """Tokens that a picture costs.

    Args:
        rule: Of the model.
        width: Pixels as sent; 0 if unknown, which gives the most that the rule can.
        height: Pixels as sent.
        detail: `low`, or anything else for the full resolution.
    Source:
        Tiles, grid: OpenAI's vision guide. Patches: the resizing of Qwen2-VL's image processor. Area: Anthropic's
        vision guide. Crops: Google's guide to Gemini's image understanding.
    """
    unknown = width < 1 or height < 1
    if rule.kind == "fixed":
        return rule.tokens
    if rule.kind == "tiles":
        return rule.base if detail == "low" else rule.base + rule.tile * _tiles(rule, width, height)
    if rule.kind == "patches":
        return rule.most if unknown else _patches(rule, width, height)
    if rule.kind == "grid":
        return math.ceil(rule.factor * (rule.most if unknown else _grid(rule, width, height)))
    if rule.kind == "area":
        return rule.most if unknown else _area(rule, width, height)
    return rule.most if unknown else _crops(rule, width, height)


def _tiles(rule: ImageRule, width: int, height: int) -> int:
    if width < 1 or height < 1:
        width, height = rule.box, rule.short  # the most there is
    scale = min(1.0, rule.box / max(width, height))
    scale *= min(1.0, rule.short / (min(width, height) * scale))
    # rounding before the ceiling: 1024 × 768 must not become 1024.0000001 and a third column
    return math.ceil(round(width * scale, 6) / TILE) * math.ceil(round(height * scale, 6) / TILE)


def _patches(rule: ImageRule, width: int, height: int) -> int:
    side = rule.side
    least, most = rule.least * side * side, rule.most * side * side
    rows, columns = (round(pixels / side) for pixels in (height, width))  # 0 for a sliver: it is enlarged below
    area = rows * columns * side * side
    if area > most:
        shrink = math.sqrt(width * height / most)
        rows, columns = (max(1, math.floor(pixels / shrink / side)) for pixels in (height, width))
    elif area < least:
        enlarge = math.sqrt(least / (width * height))
        rows, columns = (math.ceil(pixels * enlarge / side) for pixels in (height, width))
    return rows * columns


def _grid(rule: ImageRule, width: int, height: int) -> int:
    side, most = rule.side, rule.most
    columns, rows = (math.ceil(pixels / side) for pixels in (width, height))
    if columns * rows <= most:
        return columns * rows
    shrink = math.sqrt(side * side * most / (width * height))
    wide, high = width * shrink / side, height * shrink / side
    shrink *= min(max(1, math.floor(wide)) / wide, max(1, math.floor(high)) / high)
    columns, rows = (math.ceil(round(pixels * shrink / side, 6)) for pixels in (width, height))
    return min(most, columns * rows)


def _area(rule: ImageRule, width: int, height: int) -> int:
    scale = min(1.0, rule.box / max(width, height))
    return min(rule.most, math.ceil(round(width * scale * height * scale / rule.side, 6)))


def _crops(rule: ImageRule, width: int, height: int) -> int:
    if max(width, height) <= SMALL:
        return rule.base
    side = min(max(math.floor(min(width, height) / 1.5), CROP[0]), CROP[1])
    return min(rule.most, rule.tile * math.ceil(width / side) * math.ceil(height / side))
