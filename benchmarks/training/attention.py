"""Which attention is fastest for rows that share their prompt, on this device: forward and backward of one layer.

    python benchmarks/training/attention.py [--prompt 290] [--reply 60] [--heads 16] [--width 128]

A dense mask with every backend of PyTorch's attention that takes one, `flex_attention` with the same mask as a rule
(compiled, so not on processors), and, on processors, the tiles of `train/_attention.py`. Prints JSON: milliseconds, or
why a kernel does not run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from vlfeedback.train._attention import _Tiled, tiles_of  # pyright: ignore[reportPrivateUsage]

BACKENDS = {
    "dense mask, math": SDPBackend.MATH,
    "dense mask, memory efficient": SDPBackend.EFFICIENT_ATTENTION,
    "dense mask, cuDNN": SDPBackend.CUDNN_ATTENTION,
    "dense mask, flash": SDPBackend.FLASH_ATTENTION,
}
REPEATS = 20

Heads = tuple[Tensor, Tensor, Tensor]


def parts(prompt: int, reply: int, replies: int, device: torch.device) -> Tensor:
    """For each token which reply it belongs to; 0 for the prompt."""
    return torch.repeat_interleave(
        torch.arange(replies + 1, device=device), torch.tensor([prompt, *[reply] * replies], device=device)
    )


def dense(part: Tensor) -> Tensor:
    """Which token sees which, shape (1, 1, T, T)."""
    at = torch.arange(len(part), device=part.device)
    return ((at[:, None] >= at) & ((part[:, None] == part) | (part == 0)))[None, None]


def flexible(part: Tensor) -> Callable[[Heads], Tensor]:
    """The same mask as a rule, whose empty blocks are left out."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & ((part[query] == part[key]) | (part[key] == 0))

    mask = create_block_mask(sees, None, None, len(part), len(part), device=part.device.type)
    compiled = torch.compile(flex_attention)
    return lambda heads: compiled(*heads, block_mask=mask)  # pyright: ignore[reportReturnType]


def timed(attend: Callable[[Heads], Tensor], heads: Heads) -> float:
    """Milliseconds of forward and backward, the median."""
    taken: list[float] = []
    for _ in range(REPEATS + 3):
        _wait()
        began = time.perf_counter()
        attend(heads).sum().backward()
        _wait()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[3:]) * 1000


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def backend(which: SDPBackend, mask: Tensor) -> Callable[[Heads], Tensor]:
    """PyTorch's attention with a dense mask, by one kernel and no other."""

    def attend(heads: Heads) -> Tensor:
        with sdpa_kernel(which):
            return scaled_dot_product_attention(*heads, attn_mask=mask)

    return attend


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, usual in {"prompt": 290, "reply": 60, "replies": 4, "groups": 1, "heads": 16, "width": 128}.items():
        parser.add_argument(f"--{name}", type=int, default=usual)
    given = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    part = parts(given.prompt, given.reply, given.replies, device)
    size = (given.groups, given.heads, len(part), given.width)
    kind = torch.bfloat16 if on_gpu else torch.float32
    query, key, value = (torch.randn(size, device=device, dtype=kind, requires_grad=True) for _ in range(3))
    mask = dense(part)
    ways: dict[str, Callable[[], Callable[[Heads], Tensor]]] = {
        name: (lambda which=which: backend(which, mask)) for name, which in BACKENDS.items()
    }
    if on_gpu:
        ways["flex_attention"] = lambda: flexible(part)
    else:
        tiles = tiles_of([(0, [given.prompt, *[given.reply] * given.replies])] * given.groups, len(part))
        ways["tiles"] = lambda: lambda heads: _Tiled.apply(*heads, tiles, given.width**-0.5)
    found: dict[str, float | str] = {}
    for name, make in ways.items():
        try:
            found[name] = round(timed(make(), (query, key, value)), 3)
        except RuntimeError as error:
            found[name] = str(error).splitlines()[0]
    print(json.dumps({"device": torch.cuda.get_device_name() if on_gpu else "processor", "milliseconds": found}))


if __name__ == "__main__":
    main()
