"""Text drawn into a picture, on a band at its top or bottom."""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator

from PIL import Image as Pillow, ImageDraw, ImageFont

from vlfeedback.errors import ImageError
from vlfeedback.images import prepare

NARROWEST, HIGHEST = 160, 1024
"""Pixels; the recipe holds the larger side to the second."""
RECIPE = f"fit-{HIGHEST}-jpeg95"
QUALITY = 92
SMALLEST = 9
_LOOKED_AT = 32
"""Size at which no letter looks like another by chance."""
_NO_LETTER = "\U0010ffff"
"""No font has it."""


def drawn(data: bytes, order: str, *, top: bool) -> bytes:
    """A picture with an order on a white band; equal arguments give equal bytes under one version of Pillow.

    The font is Pillow's own and has Latin letters without accents; what `undrawable` names becomes boxes.

    Args:
        data: A picture's file.
        order: What to write; broken into lines.
        top: On the upper edge instead of the lower.
    Returns:
        A JPEG, at most 1,024 pixels wide and high, at least 160 wide.
    Raises:
        ImageError: the picture cannot be decoded, is more than 6.4 times as high as wide, or too flat for the order.
    """
    ready = prepare(data, RECIPE)
    with Pillow.open(io.BytesIO(ready.bytes)) as opened:
        picture = opened.convert("RGB")
    if picture.width < NARROWEST:
        picture = _widened(picture)
    size = max(SMALLEST, picture.width // 22)
    while True:
        font = ImageFont.load_default(size)
        lines = _wrapped(order, font, picture.width - 2 * size)
        height = round(1.3 * size) * len(lines) + size
        if height <= picture.height // 2 or size <= SMALLEST:
            break
        size = max(SMALLEST, round(size * 0.85))
    if height > picture.height:  # what is cut off, or not seen at all, is no order
        raise ImageError(
            "bad_image",
            f"the picture is too flat for its order: the smallest letters need {height} pixels of height, and it has "
            f"{picture.height} at a width of {picture.width}",
        )
    upper = 0 if top else picture.height - height
    brush = ImageDraw.Draw(picture)
    brush.rectangle((0, upper, picture.width, upper + height), fill="white")
    for number, line in enumerate(lines):
        brush.text((size, upper + size // 2 + number * round(1.3 * size)), line, fill="black", font=font)
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=QUALITY, subsampling=0)
    return target.getvalue()


def _widened(picture: Pillow.Image) -> Pillow.Image:
    height = max(1, round(picture.height * NARROWEST / picture.width))
    if height > HIGHEST:
        raise ImageError(
            "bad_image",
            f"the picture is too narrow for an order: {picture.width} x {picture.height} pixels are more than "
            f"{HIGHEST / NARROWEST:g} times as high as wide",
        )
    return picture.resize((NARROWEST, height))


def undrawable(text: str) -> str:
    """The letters of a text that the font lacks, each once: all of them would be the same box."""
    font = ImageFont.load_default(_LOOKED_AT)
    box = _shape(font, _NO_LETTER)
    return "".join(one for one in dict.fromkeys(text) if not one.isspace() and _shape(font, one) == box)


def _shape(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, letter: str) -> bytes:
    picture = Pillow.new("L", (3 * _LOOKED_AT, 3 * _LOOKED_AT))
    ImageDraw.Draw(picture).text((_LOOKED_AT, _LOOKED_AT), letter, fill=255, font=font)
    return picture.tobytes()


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    lines = [""]
    for word in (piece for whole in text.split() for piece in _pieces(whole, font, width)):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _pieces(word: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> Iterator[str]:
    """A word as it is, or where it is wider than a line in pieces that are not."""
    most = int(width)  # no letter is narrower than a pixel
    while len(word) > most or font.getlength(word) > width:
        fits = bisect_right(range(1, min(most, len(word))), width, key=lambda end: font.getlength(word[:end]))
        yield word[: max(1, fits)]
        word = word[max(1, fits) :]
    yield word
