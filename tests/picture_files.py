"""Small picture files of every awkward kind, made on the spot."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

from PIL import Image as Pillow


def encoded(picture: Pillow.Image, form: str, **options: object) -> bytes:
    """A picture as the bytes of a file."""
    target = io.BytesIO()
    picture.save(target, form, **options)
    return target.getvalue()


def pixels(data: bytes) -> Pillow.Image:
    """The picture in a file's bytes, as RGB."""
    return Pillow.open(io.BytesIO(data)).convert("RGB")


def gradient(width: int = 48, height: int = 32, mode: str = "RGB") -> Pillow.Image:
    """A picture that is dark on the left, bright on the right, and red in its upper left corner."""
    picture = Pillow.linear_gradient("L").rotate(90).resize((width, height)).convert("RGB")
    picture.paste((255, 0, 0), (0, 0, width // 4, height // 4))
    return picture.convert(mode)


def rotated_jpeg(orientation: int, width: int = 48, height: int = 32) -> bytes:
    """A JPEG whose EXIF tag asks for a turn."""
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    return encoded(gradient(width, height), "JPEG", quality=95, exif=exif)


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG of some size, without any pixel."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    data = b"IDAT" + zlib.compress(b"\0" * 64)
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))


def animated(form: str) -> bytes:
    """Two frames: the gradient, then plain blue."""
    second = Pillow.new("RGB", (48, 32), (0, 0, 255))
    return encoded(gradient(), form, save_all=True, append_images=[second], duration=100)


def archive(path: Path, members: dict[str, bytes]) -> Path:
    """A ZIP file with these members, names as given."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return path
