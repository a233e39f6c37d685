"""Pictures are prepared for sending the same way every time."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, strategies as st
from picture_files import animated, encoded, gradient, pixels, rotated_jpeg
from PIL import Image as Pillow

from vlfeedback.errors import ConfigError
from vlfeedback.images import fingerprint, prepare

JPEG = encoded(gradient(), "JPEG", quality=90)
PNG = encoded(gradient(), "PNG")


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (JPEG, "image/jpeg"),
        (PNG, "image/png"),
        (encoded(gradient(mode="L"), "PNG"), "image/png"),
        (encoded(gradient(), "WEBP"), "image/webp"),
        (encoded(gradient().quantize(8), "GIF"), "image/gif"),
    ],
    ids=["jpeg", "png", "gray", "webp", "gif"],
)
def test_original_leaves_what_endpoints_take_untouched(data: bytes, media_type: str) -> None:
    assert prepare(data) == (data, media_type, 48, 32)


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (encoded(gradient(mode="CMYK"), "JPEG", quality=95), "image/jpeg"),
        (rotated_jpeg(6), "image/jpeg"),
        (encoded(gradient(), "BMP"), "image/png"),
        (encoded(gradient(), "TIFF"), "image/png"),
        (encoded(gradient(mode="CMYK"), "TIFF"), "image/png"),
        (encoded(gradient(mode="1"), "PNG"), "image/png"),
        (animated("GIF"), "image/png"),
        (animated("PNG"), "image/png"),
        (animated("WEBP"), "image/png"),
        (encoded(gradient(mode="RGBA"), "PNG"), "image/png"),
    ],
    ids=["cmyk", "turned", "bmp", "tiff", "cmyk-tiff", "bits", "gif", "apng", "webp", "alpha"],
)
def test_anything_else_becomes_its_upright_first_frame(data: bytes, media_type: str) -> None:
    first = prepare(data)
    assert first == prepare(data) and first.bytes != data
    assert first.media_type == media_type
    again = prepare(first.bytes)
    assert again.bytes == first.bytes  # endpoints take the result as it is
    left, right = (pixels(first.bytes).convert("L").getpixel((x, first.height - 4)) for x in (2, first.width - 3))
    assert first.width == 32 or abs(left - right) > 100  # the gradient, not the blue second frame


def test_transparency_is_laid_on_white() -> None:
    picture = Pillow.new("RGBA", (4, 4), (255, 0, 0, 0))
    palette = Pillow.new("P", (4, 4), 0)
    palette.putpalette([255, 0, 0])
    for data in (encoded(picture, "PNG"), encoded(palette, "PNG", transparency=0)):
        assert pixels(prepare(data).bytes).getpixel((1, 1)) == (255, 255, 255)


def test_sixteen_bit_gray_keeps_its_upper_byte() -> None:
    picture = Pillow.new("I;16", (4, 2))
    for x, value in enumerate((0, 0x4000, 0x8000, 0xFFFF)):
        picture.putpixel((x, 0), value)
    prepared = Pillow.open(io.BytesIO(prepare(encoded(picture, "PNG")).bytes))
    assert prepared.mode == "L"
    assert [prepared.getpixel((x, 0)) for x in range(4)] == [0, 0x40, 0x80, 0xFF]


def test_what_is_reencoded_leaves_private_metadata_behind() -> None:
    exif = Pillow.Exif()
    exif[0x010F] = "a camera of somebody"
    exif[0x0112] = 3
    data = encoded(gradient(), "JPEG", exif=exif)
    assert b"somebody" in data
    assert b"somebody" not in prepare(data).bytes
    assert b"somebody" not in prepare(data, "fit-16-jpeg90").bytes


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 70), st.booleans())
def test_fitting_shrinks_to_the_longer_side_and_never_enlarges(w: int, h: int, limit: int, png: bool) -> None:
    data = encoded(Pillow.new("RGB", (w, h), (9, 99, 199)), "PNG")
    recipe = f"fit-{limit}-png" if png else f"fit-{limit}-jpeg90"
    prepared = prepare(data, recipe)
    assert prepared == prepare(data, recipe)
    assert prepared.media_type == ("image/png" if png else "image/jpeg")
    assert pixels(prepared.bytes).size == (prepared.width, prepared.height)
    assert max(prepared.width, prepared.height) == min(limit, max(w, h))
    if max(w, h) <= limit:
        assert (prepared.width, prepared.height) == (w, h)


@pytest.mark.parametrize("recipe", ["", "fit", "fit-0-png", "fit-9-jpeg0", "fit-9-jpeg101", "fit-9-webp"])
def test_unknown_recipes_are_refused(recipe: str) -> None:
    with pytest.raises(ConfigError, match="fit-1024-jpeg90"):
        prepare(PNG, recipe)


def test_fingerprints_of_near_duplicates_are_close() -> None:
    large, small = gradient(240, 160), gradient(240, 160).resize((120, 80))
    other = Pillow.radial_gradient("L").resize((240, 160))
    one, same, different = (fingerprint(encoded(picture, "JPEG")) for picture in (large, small, other))
    assert 0 <= one < 2**64
    assert (one ^ same).bit_count() <= 4
    assert (one ^ different).bit_count() >= 12
