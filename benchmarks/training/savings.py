"""What each saving is worth, each switched off in turn, and how near a step comes to the arithmetic it needs."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from ours import Prepared
from torch.utils._python_dispatch import TorchDispatchMode

from vlfeedback.train._collate import Batch, Encoded
from vlfeedback.train._logps import unwrapped
from vlfeedback.train._weights import device_here, vision_tower

EPOCHS = 3


Way = tuple[Callable[[Encoded], list[Encoded]], str, bool, float]


def by_pair(group: Encoded) -> list[Encoded]:
    """Every pair as a group of its own, as pair trainers see it."""
    return [
        replace(
            group, responses=(group.responses[a], group.responses[b]), pairs=((0, 1),), weights=(1.0,), best=0,
            response_ids=(group.response_ids[a], group.response_ids[b]), pair_ids=(),
        )
        for a, b in group.pairs
    ]  # fmt: skip


def everywhere(batch: Batch) -> Batch:
    """The same batch with logits at every token."""
    rows = batch.rows
    count, width = rows.inputs["input_ids"].shape
    keep = rows.inputs["logits_to_keep"]
    if keep.dim() == 2:
        flat = torch.nonzero(keep.flatten())[:, 0]
        where = flat if rows.where is None else flat[rows.where]
    else:
        assert rows.where is not None
        where = rows.where // len(keep) * width + keep[rows.where % len(keep)]
    inputs = {**rows.inputs, "logits_to_keep": torch.arange(width)}
    assert count * width > int(where.max())
    return replace(batch, rows=replace(rows, inputs=inputs, where=where, direct=False))


def ways() -> dict[str, Way]:
    """How groups are cut, their layout, whether logits exist everywhere, and reference forwards per step."""
    third = 1 / EPOCHS

    def whole(group: Encoded) -> list[Encoded]:
        return [group]

    return {
        "all savings": (whole, "shared", False, third),
        "prompt read for each response": (whole, "features once", False, third),
        "picture and prompt read for each response": (whole, "plain", False, third),
        "reference at every step": (whole, "shared", False, 1.0),
        "logits everywhere": (whole, "shared", True, third),
        "each pair on its own, prompts shared": (by_pair, "shared", False, third),
        "none of them": (by_pair, "plain", True, 1.0),
    }


def batch_of(made: Prepared, group: Encoded, way: Way) -> Batch:
    """One instruction as a way has it."""
    cut, layout, full, _ = way
    batch = made.batch(cut(group), made.layouts[layout])
    return everywhere(batch) if full else batch


def once(made: Prepared, batch: Batch, share: float) -> float:
    """Seconds of forward, backward and the step's share of the reference for one instruction."""
    made.model.zero_grad()
    began = now()
    reference = made.frozen(batch)
    referred = now()
    made.step(batch, reference).backward()
    return now() - referred + share * (referred - began)


class Kernels(TorchDispatchMode):
    """Adds up the seconds of matrix products and attention: what is left of a step if all else took no time."""

    NAMES = ("mm.default", "bmm.default", "attention", "convolution")

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not any(name in str(func) for name in self.NAMES):
            return func(*args, **(kwargs or {}))
        began = now()
        found = func(*args, **(kwargs or {}))
        self.seconds += now() - began
        return found


def kernels(made: Prepared, batch: Batch, share: float) -> float:
    """Seconds of the products and the attention alone in what `once` measures."""
    made.model.zero_grad()
    with Kernels() as forward:
        reference = made.frozen(batch)
    with Kernels() as both:
        made.step(batch, reference).backward()
    return both.seconds + share * forward.seconds


def now() -> float:
    """Seconds of a clock, when all that was begun is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def operations(made: Prepared, group: Encoded) -> dict[str, float]:
    """Multiplications and additions of one step with all savings; the formula stands in docs/rooms/train.md."""
    inner = unwrapped(made.model)
    language, text = inner.get_decoder(), inner.config.get_text_config()
    linear = sum(
        one.weight.numel()
        for name, one in language.named_modules()
        if isinstance(one, torch.nn.Linear) and "lora" not in name
    )
    adapters = sum(one.numel() for one in made.model.parameters() if one.requires_grad)
    tower = sum(one.weight.numel() for one in vision_tower(inner).modules() if isinstance(one, torch.nn.Linear))
    tokens = len(group.prompt) + sum(len(response) - 1 for response in group.responses)
    predicted = sum(map(len, group.responses))
    head = text.hidden_size * text.vocab_size
    attention = 4 * seen(group) * text.hidden_size * text.num_hidden_layers
    forward = 2 * (linear + adapters) * tokens + attention + 2 * head * predicted + 2 * tower * group.image_tokens
    # Backward: gradients of activations everywhere, of weights only in the adapters; the tower has none.
    backward = 2 * linear * tokens + 4 * adapters * tokens + 2 * attention + 2 * head * predicted
    reference = (forward - 2 * adapters * tokens) / EPOCHS
    return {"forward": forward, "backward": backward, "reference": reference}


def seen(group: Encoded) -> int:
    """Pairs of tokens of which one sees the other: the prompt itself, each response the prompt and itself."""
    prompt = len(group.prompt)
    return prompt * (prompt + 1) // 2 + sum(
        said * prompt + said * (said + 1) // 2 for said in (len(response) - 1 for response in group.responses)
    )


def peak_rate(
    shape: Sequence[tuple[int, int, int]] = ((526, 512, 1376), (526, 1376, 512), (2048, 2048, 2048)),
) -> float:
    """The best measured rate of matrix products in the precision of the step, operations per second."""
    best = 0.0
    kind = {"device": device_here(), "dtype": torch.bfloat16 if torch.cuda.is_available() else torch.float32}
    for n, k, m in [*shape, *([(8192, 8192, 8192)] if torch.cuda.is_available() else [])]:
        a, b = torch.randn(n, k, **kind), torch.randn(k, m, **kind)
        for _ in range(12):
            began = now()
            for _ in range(4):
                a @ b
            best = max(best, 4 * 2 * n * k * m / (now() - began))
    return best


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("world", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    made = Prepared(given.world, instructions=1)
    group = made.groups[0]
    listed = ways()
    batches = {name: batch_of(made, group, way) for name, way in listed.items()}
    rounds: dict[str, list[float]] = {name: [] for name in listed}
    alone: list[float] = []
    for _ in range(given.repeats + 1):  # in turn, so that a slow moment of the machine meets all of them
        for name, way in listed.items():
            rounds[name].append(once(made, batches[name], way[3]))
        alone.append(kernels(made, batches["all savings"], 1 / EPOCHS))
    taken = {name: statistics.median(found[1:]) for name, found in rounds.items()}
    counted = operations(made, group)
    rate = peak_rate()
    bound = sum(counted.values()) / rate
    print(
        json.dumps({
            "seconds": taken,
            "times_slower": {name: value / taken["all savings"] for name, value in taken.items()},
            "operations": counted,
            "peak_rate": rate,
            "bound_seconds": bound,
            "share_of_bound": bound / taken["all savings"],
            "kernels_seconds": statistics.median(alone[1:]),
            "share_of_bound_of_kernels_alone": bound / statistics.median(alone[1:]),
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
