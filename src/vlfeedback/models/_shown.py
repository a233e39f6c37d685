"""What a model's own processor makes of pictures, and which pictures it is never given."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlfeedback.errors import ImageError

if TYPE_CHECKING:
    import torch

REFUSALS = (ValueError, ZeroDivisionError, OverflowError)
"""How processors say that they do not take a picture: too flat, too small, a side of nothing after resizing."""


MAX_ASPECT = 200
"""Most of a picture's longer side in shorter ones. Qwen's processors refuse more; others scale the shorter side up to
theirs: a picture of 60,000 x 1 pixels becomes one of 336 times that width, and ends the process."""


class RefusedPicture(ImageError):
    """A picture that can be read and that the model's processor does not take: asking again changes nothing."""

    def __init__(self, detail: str) -> None:
        super().__init__("bad_image", detail)


@dataclass(frozen=True, slots=True)
class Picture:
    """What a picture becomes: tokens, tracks parallel to them, and tensors (leading axis: pictures or patches)."""

    ids: tuple[int, ...]
    tracks: dict[str, tuple[int, ...]]
    tensors: dict[str, torch.Tensor]

    @property
    def size(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())


def open_picture(data: bytes, uri: str) -> Any:
    """A picture for a processor, in RGB.

    Args:
        data: The file.
        uri: What it is called, for the message.
    Raises:
        RefusedPicture: one side is more than `MAX_ASPECT` times the other.
    """
    import PIL.Image

    with PIL.Image.open(io.BytesIO(data)) as picture:
        short, long = sorted(picture.size)
        if long > MAX_ASPECT * short:
            size = f"{picture.width} x {picture.height} pixels"
            raise RefusedPicture(f"{uri} has {size}: one side is more than {MAX_ASPECT} times the other")
        return picture.convert("RGB")


def read_fields(made: Mapping[str, Any]) -> Picture:
    """The fields of a processor for one text, sorted into ids, tracks and tensors."""
    import torch

    ids = tuple(made["input_ids"][0].tolist())
    tracks: dict[str, tuple[int, ...]] = {}
    tensors: dict[str, torch.Tensor] = {}
    for name, value in made.items():
        if not isinstance(value, torch.Tensor) or name in ("input_ids", "attention_mask"):
            continue
        if tuple(value.shape) == (1, len(ids)) and "token_type" in name:
            tracks[name] = tuple(value[0].tolist())
        else:
            tensors[name] = value
    return Picture(ids, tracks, tensors)


def first_line(problem: BaseException) -> str:
    """The first line of an error that says something, or the error's name."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return (lines[0] if lines else type(problem).__name__)[:300]
