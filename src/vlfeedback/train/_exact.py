"""A model in fp32 for the length of a block, so that rounding does not hide what is wrong."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import os
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

import torch

_NARROW = (torch.bfloat16, torch.float16)
# Beside the weights a forward needs some memory too.
_SPARE = 1.25
_CONTAINER = Path("/sys/fs/cgroup")


@contextmanager
def in_fp32(model: Any) -> Generator[bool]:
    """Hold every weight of a model in fp32; afterwards each one is, bit by bit, what it was.

    Weights packed in 4 or 8 bits stay packed: what is computed from them is fp32 then. fp32 products are made as such,
    not in TF32.

    Yields:
        Whether it is so; False where memory does not suffice, and then nothing has been changed.
    """
    narrow = [one for one in (*model.parameters(), *model.buffers()) if one.dtype in _NARROW]
    packed = [one for one in model.modules() if getattr(one, "compute_dtype", None) in _NARROW]
    if not _room(narrow):
        yield False
        return
    before = [(one, one.dtype) for one in narrow]
    computed = [(one, one.compute_dtype) for one in packed]
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        wide = _widened(narrow)
        if wide:
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = False  # pictures are cut into patches by convolutions
            for one in packed:
                one.compute_dtype = torch.float32
        yield wide
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
        for one, dtype in computed:
            one.compute_dtype = dtype
        for one, dtype in before:
            one.data = one.data.to(dtype)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # others on the card, NCCL for one, cannot use what this process keeps


def _widened(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether there was memory for all of them."""
    try:
        for one in tensors:
            one.data = one.data.float()
    except RuntimeError:  # processors and Apple's devices have no class of their own for it
        return False
    return True


def _room(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether memory holds these tensors once more."""
    more = sum(one.numel() * one.element_size() for one in tensors)
    return not tensors or more * _SPARE <= _free(tensors[0].device)


def _free(device: torch.device) -> float:
    """Bytes that can be taken on a device; infinite where nobody says."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    try:
        told = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return inf
    found = re.search(r"MemAvailable:\s+(\d+) kB", told)
    if found is None or device.type != "cpu":
        return inf
    # All processes of a launch look at the same moment.
    return min(1024.0 * int(found[1]), _left_to_us()) / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _left_to_us() -> float:
    """Bytes that the container still may take; infinite where there is no bound."""
    try:
        most, used = ((_CONTAINER / name).read_text(encoding="utf-8") for name in ("memory.max", "memory.current"))
        return float(int(most) - int(used))
    except (OSError, ValueError):  # no container, or "max"
        return inf


__all__ = ["in_fp32"]
