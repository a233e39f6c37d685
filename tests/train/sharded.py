"""One process of a training, whose weights may be spread over two processors; run by `launched.py`.

accelerate spreads weights only where it sees GPUs. FSDP2 and DeepSpeed themselves work on processors with gloo, so here
the two places where accelerate looks are told otherwise; everything after that is the code that runs on GPUs.
"""

# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import atexit
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import toy_llava
from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from vlfeedback import flow
from vlfeedback.train import Lora, Recipe, _layouts, _trainer, train
from vlfeedback.train.sigmoid import load


def pretend_gpus() -> None:
    """Let accelerate take two processors for two GPUs."""
    connect, decide = PartialState.__init__, AcceleratorState.__init__

    def connected(self: PartialState, cpu: bool = False, **options: Any) -> None:
        connect(self, cpu=True, **options)
        if type(self) is PartialState:
            self._shared_state["distributed_type"] = DistributedType.MULTI_GPU

    def decided(self: AcceleratorState, mixed_precision: str | None = None, cpu: bool = False, **options: Any) -> None:
        decide(self, mixed_precision, False, **options)

    PartialState.__init__ = connected
    AcceleratorState.__init__ = decided


def ask_second_to_stop(last: int) -> None:
    """Let the signal that asks to stop reach the second of two processes alone, while it makes a step."""
    plain: Any = _trainer._Watch.on_step_end

    def ended(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        if args.process_index == 1 and state.global_step == last:
            flow._interrupted.set()
        plain(self, args, state, control, **more)

    _trainer._Watch.on_step_end = ended


def count_threads(out: Path) -> None:
    """Note how many of gloo's threads there are."""
    names = [file.read_text() for file in Path("/proc/self/task").glob("*/comm")]
    count = sum("gloo" in name for name in names)
    out.with_name(f"{out.name}_threads.{os.environ.get('RANK', 0)}").write_text(str(count))


def trained(out: Path, model: str, kind: str, changes: dict[str, Any]) -> str:
    """Train, and say what was trained; see `launched.trained` for the changes."""
    colours = toy_llava.Colours()
    groups = toy_llava.groups(colours, 9) + toy_llava.groups(colours, 2, split="eval", first=9)
    if changes.pop("mixed", False):
        groups = [toy_llava.told(group) if n % 2 else group for n, group in enumerate(groups)]
    if changes.pop("apart", False):
        _layouts.shared_rows = lambda model, pad: None
    if (last := changes.pop("stopped_after", None)) is not None:
        ask_second_to_stop(last)
    usual: dict[str, Any] = {
        "epochs": 2, "learning_rate": 1e-3, "pairs_per_step": 12, "dtype": "fp32", "tokens_per_batch": 250,
        "weight_decay": 0.0, "lora": Lora(r=4, dropout=0.0) if kind == "lora" else None,
    }  # fmt: skip
    recipe = Recipe(model, **{**usual, **changes})
    try:
        result = train(groups, recipe, roots=colours, out=out, objective=load())
    except KeyboardInterrupt:
        return "trained until it was stopped"
    return f"trained {result.trained} {result.steps} {result.resumed_from}"


def main(out: Path, model: str, kind: str, spread: str, changes: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    if spread == "spread":
        pretend_gpus()
    sys.stdout.write(trained(out, model, kind, changes) + "\n")


if __name__ == "__main__":
    atexit.register(count_threads, Path(sys.argv[1]))  # the first to be registered is the last to be called
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], json.loads(sys.argv[5]))
