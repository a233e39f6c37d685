"""Local checkpoints: what they are called, and how they are opened without torchvision and without foreign code."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from vlfeedback import progress
from vlfeedback.errors import ModelUnavailable

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

_WHOLE = 64 * 2**20
_SAMPLE = 2**20
_PIECE = 4096
_HEADER = 100_000_000
"""Bytes that a header of safetensors may have."""


def fingerprint(folder: Path, suffixes: Sequence[str] = (".json", ".safetensors", ".jinja", ".model")) -> str:
    """A hash of a checkpoint's settings and weights, or of its files of some kinds; 12 hexadecimal digits.

    Files up to 64 MiB are hashed whole; of larger ones the size, the first, middle and last MiB, and of weights a piece
    of the beginning, the middle and the end of every tensor: an adapter that was folded in has changed some tensors
    alone, and of those all.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix not in suffixes or path.name == "selfcheck.json":
            continue
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as file:
            if size <= _WHOLE:
                digest.update(file.read())
                continue
            for start in (0, size // 2, size - _SAMPLE):
                file.seek(start)
                digest.update(file.read(_SAMPLE))
            if path.suffix == ".safetensors":
                for start, end in _tensors(file):
                    for place in (start, (start + end) // 2, max(start, end - _PIECE)):
                        file.seek(place)
                        digest.update(file.read(min(_PIECE, end - place)))
    return digest.hexdigest()[:12]


def _tensors(file: BinaryIO) -> list[tuple[int, int]]:
    """Where the tensors of a safetensors file begin and end, in bytes; none where the file is damaged."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    try:
        header: dict[str, Any] = json.loads(file.read(length)) if length <= _HEADER else {}
        offsets = (one["data_offsets"] for name, one in header.items() if name != "__metadata__")
        return sorted((8 + length + int(start), 8 + length + int(end)) for start, end in offsets)
    except (ValueError, KeyError, TypeError, AttributeError):
        return []  # loading it says so


def place_of(model: str) -> str:
    """Where to load a checkpoint from: a folder with `~` put in, or a name of the hub.

    Raises:
        ModelUnavailable: it looks like a folder and is none.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return str(folder)
    if model.startswith(("/", "./", "../", "~")):
        raise ModelUnavailable(f"no checkpoint at {model}; give a folder with config.json and *.safetensors")
    return model


def identity_of(model: str, revision: str | None, dtype: str, adapter: str | None, engine: str = "transformers") -> str:
    """The default identity: a local folder by its name and content, so that moving it buys nothing again.

    Of a folder that is not here, which a plan may have to name, it is the name alone.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        name = f"{engine}:{folder.resolve().name}@{fingerprint(folder)}"
    else:
        name = f"{engine}:{model}" + (f"@{revision}" if revision else "")
    if adapter:
        place = Path(adapter).expanduser()
        name += f"+{place.resolve().name}" + (f"@{fingerprint(place)}" if place.is_dir() else "")
    return name + (f";dtype={dtype}" if dtype != "auto" else "")


def pick_device(device: str) -> str:
    """`auto` is the first GPU, else Apple's, else the processor."""
    import torch

    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def open_model(model: str, revision: str | None, dtype: str, device: str) -> Any:
    """Load weights (safetensors only) in evaluation mode.

    Raises:
        ModelUnavailable: there is no such checkpoint, it is not one that `AutoModelForImageTextToText` knows, its
            weights are damaged or not all there, or the device is not there or too small.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText

    settings: dict[str, Any] = {"revision": revision} if revision else {}
    try:
        with progress.quiet_transformers():
            opened: Any = AutoModelForImageTextToText.from_pretrained(
                model, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **settings
            )
    except SafetensorError as problem:
        raise ModelUnavailable(
            f"cannot load {model!r}: {_first_line(problem)}; its *.safetensors are damaged, or were not fetched to the "
            "end: fetch them again"
        ) from problem
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as problem:
        raise ModelUnavailable(
            f"cannot load {model!r}: {_first_line(problem)}; give a folder with config.json and *.safetensors, or "
            "a name from the hub (needs a network the first time)"
        ) from problem
    loaded, told = opened
    require_all(model, loaded, told["missing_keys"])
    try:
        return loaded.to(pick_device(device)).eval()
    except (RuntimeError, AssertionError) as problem:  # out of memory too; torch without CUDA asserts
        raise ModelUnavailable(f"cannot put {model!r} on device {device!r}: {_first_line(problem)}") from problem


def require_all(model: str, loaded: Any, missing: Iterable[str]) -> None:
    """Refuse what the library fills with random numbers: such a model answers, and its nonsense would be kept.

    Args:
        missing: Names of weights that were in no file, as the library tells them.
    Raises:
        ModelUnavailable: there are some.
    """
    if random := sorted(set(missing) & {name for name, _ in loaded.named_parameters()}):
        raise ModelUnavailable(
            f"cannot load {model!r}: {len(random)} of its weights are in none of its files, {random[0]} for one; "
            "config.json and *.safetensors do not belong together, or a file was not fetched"
        )


def open_processor(model: str, revision: str | None) -> Any:
    """The checkpoint's processor; where it insists on torchvision for videos, one made of its tokenizer and pictures.

    Raises:
        ModelUnavailable: neither can be built.
    """
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    settings: dict[str, Any] = {"trust_remote_code": False} | ({"revision": revision} if revision else {})
    try:
        with progress.quiet_transformers():
            try:
                return AutoProcessor.from_pretrained(model, **settings)
            except ImportError as problem:
                log.info("%s: %s; reading pictures without the video processor", model, _first_line(problem))
            tokenizer: Any = AutoTokenizer.from_pretrained(model, **settings)
            return GridProcessor(AutoImageProcessor.from_pretrained(model, **settings), tokenizer)
    except (OSError, ValueError, KeyError, ImportError) as problem:
        raise ModelUnavailable(f"cannot load the processor of {model!r}: {_first_line(problem)}") from problem


class GridProcessor:
    """Stands in for Qwen-VL's processor: image processor and tokenizer, without the videos that need torchvision."""

    image_token = "<|image_pad|>"

    def __init__(self, image_processor: Any, tokenizer: Any) -> None:
        if not hasattr(image_processor, "merge_size") or self.image_token not in tokenizer.get_vocab():
            raise ModelUnavailable("this checkpoint's processor needs torchvision; install torchvision beside torch")
        self.image_processor = image_processor
        self.tokenizer = tokenizer

    def __call__(self, *, text: Sequence[str], images: Any = None, **options: Any) -> dict[str, torch.Tensor]:
        """Ids and tensors of one text, its pictures in a list or in a list of lists."""
        import torch

        flat = [one for some in images or () for one in (some if isinstance(some, list | tuple) else [some])]
        made: dict[str, Any] = dict(self.image_processor(images=flat, return_tensors="pt")) if flat else {}
        counts = [int(grid.prod()) // self.image_processor.merge_size**2 for grid in made.get("image_grid_thw", ())]
        first, *others = text[0].split(self.image_token)
        if len(others) != len(counts):
            raise ValueError(f"{len(others)} places for {len(counts)} pictures")
        spread = first + "".join(self.image_token * n + words for n, words in zip(counts, others, strict=True))
        ids = self.tokenizer([spread], add_special_tokens=options.get("add_special_tokens", True), return_tensors="pt")[
            "input_ids"
        ]
        token: int = self.tokenizer.convert_tokens_to_ids(self.image_token)
        return {"input_ids": ids, "mm_token_type_ids": (ids == token).to(torch.long), **made}


def _first_line(problem: BaseException) -> str:
    lines = [line for line in str(problem).splitlines() if line.strip()]
    return (lines[0] if lines else type(problem).__name__)[:300]
