"""What is inside the bytes of a picture: checks, upright size, conversion for sending, fingerprint.

Only the formats of `FORMATS` are tried, so that a file named .jpg never reaches a decoder that starts other programs.
The number of pixels is read from the header and refused before anything is decoded.
"""

from __future__ import annotations

import builtins
import io
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from PIL import Image as Pillow

from vlfeedback._images_room import Room
from vlfeedback.errors import ConfigError, ImageError

MAX_PIXELS = 89_000_000
"""Default limit of width times height; Pillow itself warns a little above it."""

THUMB = 12
"""Side of the thumbnail of an `appearance`, pixels."""
_SMALL = (16 * THUMB, 16 * THUMB)
"""What a JPEG is decoded to at least for its appearance: at a half, a quarter or an eighth."""
_ROOM = Room(32_000_000)
FINE = 64
PALE = 120
"""Below this difference of the brightest and the darkest value of a thumbnail a picture is pale."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO")
_OPENED = tuple(name for name in FORMATS if name != "MPO")
"""What Pillow is told to try: it has no opener of the name MPO, the one of JPEG gives such pictures."""
_MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
_BEGINNINGS = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tiff",
    b"MM\0*": ".tiff",
}
UNKNOWN = ".img"
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
_RECIPE = re.compile(r"fit-(?P<side>[1-9]\d{0,4})-(?:jpeg(?P<quality>[1-9]\d?|100)|png)")
_REENCODED_QUALITY = 95


class Size(NamedTuple):
    """Width and height of an upright picture in pixels."""

    width: int
    height: int


class Prepared(NamedTuple):
    """A picture as it is sent: its bytes, their media type (`image/png`), and its upright size in pixels."""

    bytes: builtins.bytes
    media_type: str
    width: int
    height: int


class Recipe(NamedTuple):
    """A parsed preparation recipe; `side` None keeps the size, `quality` None means PNG."""

    side: int | None
    quality: int | None


def parse_recipe(recipe: str) -> Recipe:
    """Read a recipe string.

    Args:
        recipe: `original`, `fit-<side>-jpeg<quality>` (quality 1 to 100) or `fit-<side>-png`.
    Raises:
        ConfigError: it is none of these.
    """
    if recipe == "original":
        return Recipe(None, None)
    match = _RECIPE.fullmatch(recipe)
    if match is None:
        raise ConfigError(
            f"unknown image recipe {recipe!r}: use 'original', 'fit-<side>-jpeg<quality>' or 'fit-<side>-png', "
            "for example 'fit-1024-jpeg90'"
        )
    quality = match["quality"]
    return Recipe(int(match["side"]), int(quality) if quality else None)


class Appearance(NamedTuple):
    """What a picture looks like.

    Attributes:
        fingerprint: See `fingerprint`.
        thumb: `THUMB` x `THUMB` RGB pixels, to confirm a likeness by.
        fine: `FINE` x `FINE` gray pixels of a pale picture (a page of text), whose thumbnail says little; or empty.
    """

    fingerprint: int
    thumb: builtins.bytes
    fine: builtins.bytes


class Look(NamedTuple):
    """What decoding showed.

    Attributes:
        size: Upright.
        as_is: Media type where `original` leaves the bytes alone, or empty.
        appearance: Where it was asked for and could be taken.
    """

    size: Size
    as_is: str
    appearance: Appearance | None = None


def measure(stream: BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> Size:
    """Decode a picture once to be sure that all of it is there, and give its upright size; see `look`."""
    return look(stream, name, max_pixels).size


def look(stream: BinaryIO, name: str, max_pixels: int = MAX_PIXELS, *, small: bool = False) -> Look:
    """Decode a picture once to be sure that all of it is there.

    Args:
        stream: The file, readable and seekable.
        name: What the file is called in messages.
        max_pixels: Largest width times height that is decoded.
        small: Also take its appearance, from the same decoding.
    Returns:
        Size of the first frame after the EXIF orientation, how it is sent, and the appearance.
    Raises:
        ImageError: `bad_image` or `image_too_large`.
    """
    with _decoding(stream, name, max_pixels) as picture:
        size = picture.size
        as_is = _MEDIA_TYPES[picture.format or ""] if _sendable(picture) else ""
        if picture.format in ("JPEG", "MPO"):
            # An eighth of the resolution still reads every coded byte, so a cut file is noticed at a third of the time.
            picture.draft(None, _SMALL if small else (max(1, size[0] // 8), max(1, size[1] // 8)))
        with _ROOM.take(_weight(picture, size)):
            picture.load()
            if picture.format == "TIFF":
                size = picture.size  # Pillow turns these upright by itself while loading
            seen = _appearance_or_none(picture) if small else None
        width, height = size
        return Look(Size(height, width) if _orientation(picture) >= 5 else Size(width, height), as_is, seen)


def _weight(picture: Pillow.Image, size: tuple[int, int]) -> int:
    """Pixels that decoding keeps in memory: of a progressive JPEG it keeps all, however small it is wanted."""
    width, height = size if picture.info.get("progressive") else picture.size
    return width * height


def glance(stream: BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> Size:
    """Upright size of a picture by its header alone; whether the rest of it is there is not looked at.

    Raises:
        ImageError: `bad_image` or `image_too_large`.
    """
    with _decoding(stream, name, max_pixels) as picture:
        width, height = picture.size
        return Size(height, width) if _orientation(picture) >= 5 else Size(width, height)


def prepare(data: bytes, recipe: str = "original", *, max_pixels: int = MAX_PIXELS, whole: bool = False) -> Prepared:
    """Turn the bytes of a picture into what an endpoint takes; equal bytes and recipe give equal bytes.

    `original` leaves the bytes of an upright, still JPEG, PNG, WebP or GIF in RGB or gray untouched; anything else
    becomes a JPEG (quality 95, from JPEG) or a PNG (from the rest) of its first frame. `fit-<side>-…` also shrinks,
    never enlarges, so that the longer side is at most `side` pixels. Transparent pictures are laid on white; of 16-bit
    gray the upper byte is kept.

    Args:
        data: The file's bytes.
        recipe: `original`, `fit-<side>-jpeg<quality>` or `fit-<side>-png`.
        max_pixels: Largest width times height that is decoded.
        whole: The bytes are known to be a whole picture (their hash is that of one which was measured), so that one
            which goes out as it is need not be decoded again: decoding is four fifths of the cost of a call.
    Raises:
        ConfigError: the recipe is unknown.
        ImageError: `bad_image` or `image_too_large`.
    """
    wanted = parse_recipe(recipe)
    with _decoding(io.BytesIO(data), "the picture", max_pixels) as picture:
        source_format = picture.format or ""
        if wanted.side is None and _sendable(picture):
            if not whole:
                picture.load()
            return Prepared(data, _MEDIA_TYPES[source_format], *picture.size)
        upright = _upright(picture)
        if wanted.side is not None and max(upright.size) > wanted.side:
            scale = wanted.side / max(upright.size)
            fitted = (max(1, round(upright.width * scale)), max(1, round(upright.height * scale)))
            upright = upright.resize(fitted, Pillow.Resampling.LANCZOS)
        quality = wanted.quality
        if wanted.side is None and source_format in ("JPEG", "MPO"):
            quality = _REENCODED_QUALITY
        return _encoded(upright, quality)


def fingerprint(data: bytes, *, max_pixels: int = MAX_PIXELS) -> int:
    """A 64-bit difference hash: near-duplicate pictures differ in few bits.

    Each bit says whether a pixel of the picture shrunk to 9 by 8 gray values is brighter than its left neighbour.

    Raises:
        ImageError: `bad_image` or `image_too_large`.
    """
    with _decoding(io.BytesIO(data), "the picture", max_pixels) as picture:
        return _difference_hash(_upright(picture))


def _difference_hash(upright: Pillow.Image) -> int:
    values = upright.convert("L").resize((9, 8), Pillow.Resampling.BOX).tobytes()
    bits = 0
    for row in range(8):
        for column in range(8):
            bits = bits << 1 | (values[row * 9 + column + 1] > values[row * 9 + column])
    return bits


def appearance(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Appearance:
    """Decode a picture once, small, for finding near-duplicates; JPEGs are read at an eighth where that is enough.

    Raises:
        ImageError: `bad_image` or `image_too_large`.
    """
    with _decoding(io.BytesIO(data), "the picture", max_pixels) as picture:
        if picture.format in ("JPEG", "MPO"):
            picture.draft(None, _SMALL)
        return _appearance(picture)


def _appearance(picture: Pillow.Image) -> Appearance:
    upright = _upright(picture)
    thumb = upright.convert("RGB").resize((THUMB, THUMB), Pillow.Resampling.BOX).tobytes()
    pale = max(thumb) - min(thumb) < PALE
    fine = upright.convert("L").resize((FINE, FINE), Pillow.Resampling.BOX).tobytes() if pale else b""
    return Appearance(_difference_hash(upright), thumb, fine)


def _appearance_or_none(picture: Pillow.Image) -> Appearance | None:
    """Of a loaded picture; one that cannot be converted is whole all the same."""
    try:
        return _appearance(picture)
    except MemoryError:
        raise
    except Exception:  # conversions of odd modes raise nearly every class there is
        return None


def suffix_of(data: bytes) -> str:
    """The usual ending of a file that begins with these bytes, `UNKNOWN` where they are of no known format."""
    for start, suffix in _BEGINNINGS.items():
        if data.startswith(start):
            return suffix
    return ".webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else UNKNOWN


def as_png(picture: Pillow.Image, name: str, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """A picture in memory as the PNG of what is seen: upright, in RGB or gray, as its file's bytes would be read.

    Args:
        picture: Of any mode, loaded or not; it stays as it is.
        name: For messages.
        max_pixels: Largest width times height.
    Raises:
        ImageError: `bad_image` (closed, cut off, empty) or `image_too_large`.
    """
    with _telling(name):
        _check_size(picture, name, max_pixels)
        return _encoded(_upright(picture), None).bytes


@contextmanager
def _decoding(stream: BinaryIO, name: str, max_pixels: int) -> Generator[Pillow.Image]:
    """Open a picture."""
    _lift(max_pixels)
    with _telling(name), Pillow.open(stream, formats=_OPENED) as picture:
        _check_size(picture, name, max_pixels)
        yield picture


def _lift(max_pixels: int) -> None:
    """Let Pillow open what the settings allow: twice its own bound it refuses by itself. It is never lowered."""
    if Pillow.MAX_IMAGE_PIXELS is not None and max_pixels > Pillow.MAX_IMAGE_PIXELS:
        Pillow.MAX_IMAGE_PIXELS = max_pixels


def _check_size(picture: Pillow.Image, name: str, max_pixels: int) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise ImageError("image_too_large", f"{name} has {width} x {height} pixels, more than {max_pixels:,}")
    if width < 1 or height < 1:
        raise ImageError("bad_image", f"{name} has {width} x {height} pixels")


@contextmanager
def _telling(name: str) -> Generator[None]:
    """Whatever a decoder throws at a damaged picture becomes one `ImageError`."""
    try:
        yield
    except (ImageError, ConfigError, MemoryError):
        raise
    except Pillow.DecompressionBombError as error:
        raise ImageError("image_too_large", f"{name}: {error}") from error
    except Pillow.UnidentifiedImageError as error:
        raise ImageError("bad_image", f"{name} is not a picture in one of the formats {', '.join(FORMATS)}") from error
    except Exception as error:  # decoders of damaged files raise nearly every class there is
        raise ImageError("bad_image", f"{name} cannot be decoded: {error}") from error


def _orientation(picture: Pillow.Image) -> int:
    value: object = picture.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _sendable(picture: Pillow.Image) -> bool:
    plain = picture.mode in ("RGB", "L") or (picture.mode == "P" and "transparency" not in picture.info)
    still = not getattr(picture, "is_animated", False)
    return picture.format in _MEDIA_TYPES and plain and still and _orientation(picture) == 1


def _upright(picture: Pillow.Image) -> Pillow.Image:
    """The first frame, upright, in mode RGB or L."""
    picture.load()
    turn = _UPRIGHT.get(_orientation(picture))
    upright = picture if turn is None else picture.transpose(turn)
    if upright.mode in ("RGB", "L"):
        return upright
    if upright.mode == "1":
        return upright.convert("L")
    if upright.mode in ("La", "RGBa"):  # colours times alpha, which Pillow turns into nothing but these two
        upright = upright.convert(upright.mode.upper())
    if upright.mode == "F" or upright.mode.startswith("I"):
        return _eight_bit(upright)
    if upright.has_transparency_data:
        layers = upright.convert("RGBA")
        paper = Pillow.new("RGBA", layers.size, (255, 255, 255, 255))
        return Pillow.alpha_composite(paper, layers).convert("RGB")
    return upright.convert("RGB")


def _eight_bit(picture: Pillow.Image) -> Pillow.Image:
    """Gray with 16 or 32 bits as 8 bits: 16-bit integers keep their upper byte, other ranges are stretched."""
    gray = picture.convert("F")
    extrema = gray.getextrema()
    low, high = (float(value) if isinstance(value, int | float) else 0.0 for value in extrema)
    if picture.mode != "F" and low >= 0 and high <= 65535:
        low, scale = 0.0, 1 / 256
    else:
        scale = 255 / (high - low) if high > low else 0.0
    return gray.point(lambda value: value * scale + (-low * scale)).convert("L")


def _encoded(picture: Pillow.Image, quality: int | None) -> Prepared:
    target = io.BytesIO()
    clean = Pillow.new(picture.mode, picture.size)  # leaves EXIF, colour profile and comments behind
    clean.paste(picture)
    if quality is None:
        clean.save(target, "PNG")
        return Prepared(target.getvalue(), "image/png", *clean.size)
    clean.save(target, "JPEG", quality=quality, subsampling=0)
    return Prepared(target.getvalue(), "image/jpeg", *clean.size)
