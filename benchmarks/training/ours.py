"""This project's side: seconds per instruction of a whole `train` call, or loss and gradient of one instruction."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from vlfeedback import ids
from vlfeedback.images import Roots
from vlfeedback.models._checkpoints import open_processor
from vlfeedback.records import Group, Instruction, PreferencePair, Response
from vlfeedback.train import Lora, Recipe, hinge, ipo, mpo, robust, sigmoid, train
from vlfeedback.train._arguments import precision
from vlfeedback.train._collate import Batch, Encoded, collate
from vlfeedback.train._layouts import layouts
from vlfeedback.train._logps import grouped_logps
from vlfeedback.train._memory import keep_freed
from vlfeedback.train._run import encoder_of
from vlfeedback.train._weights import device_here, load_model, make_trainable
from vlfeedback.train.sigmoid import dpo_loss, load


def groups(world: Path, roots: Roots, *, pairs: str = "all") -> list[Group]:
    """All pairs of every instruction, or the best response against the worst."""
    made: list[Group] = []
    for line in (world / "data.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        image = roots.find("pictures", row["image"])
        name = ids.instruction_id(row["prompt"], (image,))
        said = [
            Response(ids.response_id(name, f"m{n}", None, text), name, f"m{n}", text, "stop")
            for n, text in enumerate(row["replies"])
        ]
        sides = [(said[0], said[-1])] if pairs == "extremes" else list(combinations(said, 2))
        listed = tuple(
            PreferencePair(ids.pair_id(a.id, b.id, "bench"), name, a.id, b.id, 1.0, "bench") for a, b in sides
        )
        made.append(Group(Instruction(name, row["prompt"], (image,), "bench"), tuple(said), (), listed))
    return made


def recipe(world: Path, epochs: int) -> Recipe:
    """LoRA r 64 without gradient checkpointing, an optimiser step for every instruction's worth of pairs."""
    return Recipe(
        model=str(world / "model"), epochs=epochs, learning_rate=1e-5, pairs_per_step=6,
        dtype="bf16" if torch.cuda.is_available() else "fp32",
        lora=Lora(r=64, alpha=16, dropout=0.0), max_length=4096, tokens_per_batch=4096,
    )  # fmt: skip


def timed(world: Path, out: Path, epochs: int) -> dict[str, Any]:
    """A whole call of `train`: loading, reading pictures, checks, reference, epochs, saving."""
    roots = Roots({"pictures": world / "pictures"})
    listed = groups(world, roots)
    began = time.perf_counter()
    result = train(listed, recipe(world, epochs), roots=roots, out=out, objective=load(beta=0.1))
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "instructions": len(listed) * epochs,
        "seconds_per_instruction": seconds / len(listed) / epochs,
        "steps": result.steps,
        "layout": json.loads((out / "selfcheck.json").read_text())["layout"],
        "peak_bytes": peak(),
    }


class Prepared:
    """A model with adapters, its groups as token ids and their pictures, without a trainer around them."""

    def __init__(self, world: Path, *, instructions: int) -> None:
        keep_freed()  # as every run does
        given = recipe(world, 1)
        roots = Roots({"pictures": world / "pictures"})
        self.processor = open_processor(given.model, None)
        model = load_model(given)
        self.encoder = encoder_of(self.processor, model, given, roots)
        listed = groups(world, roots)[:instructions]
        self.groups = [one for group in listed for one in self.encoder.encode(group) if isinstance(one, Encoded)]
        self.layouts = {one.name: one.layout for one in layouts(model, self.processor)}
        self.model = make_trainable(model, given).to(device_here()).train()
        self._recipe = given

    def batch(self, members: Sequence[Encoded], layout: Any, reference: Any = None) -> Batch:
        """Groups in one forward, on the device of the model."""
        made = collate(members, layout=layout, pictures=self.encoder.pictures, reference=reference)
        return made.to(device_here())

    def step(self, batch: Batch, reference: torch.Tensor) -> torch.Tensor:
        """The mean DPO loss of a batch."""
        with precision(self._recipe, device_here()):
            found = grouped_logps(self.model, batch.rows).total
        return dpo_loss(found, reference, batch.preferences.pairs, 0.1).losses.mean()

    def frozen(self, batch: Batch) -> torch.Tensor:
        """Reference log p: the adapters switched off."""
        with torch.no_grad(), self.model.disable_adapter(), precision(self._recipe, device_here()):
            return grouped_logps(self.model, batch.rows).total


def gradient(world: Path, adapter: Path, out: Path) -> dict[str, Any]:
    """Loss and gradient of the first instruction; writes the adapters first if they are not there."""
    made = Prepared(world, instructions=1)
    named = {name: one for name, one in made.model.named_parameters() if one.requires_grad}
    if not adapter.exists():
        torch.manual_seed(3)
        save_file({name: torch.randn_like(one) * 0.02 for name, one in named.items()}, adapter)
    made.model.load_state_dict(load_file(adapter), strict=False)
    batch = made.batch(made.groups, made.layouts["shared"])
    loss = made.step(batch, made.frozen(batch))
    loss.backward()
    save_file({name: one.grad for name, one in named.items() if one.grad is not None}, out / "gradient.safetensors")
    return {"loss": loss.item(), "rows": len(batch.rows.copies), "losses": losses(made, batch)}


def losses(made: Prepared, batch: Batch) -> dict[str, float]:
    """The objectives that TRL has too, on one batch."""
    with torch.no_grad():
        policy = grouped_logps(made.model, batch.rows)
    reference = made.frozen(batch)
    objectives = {
        "sigmoid": sigmoid.load(), "hinge": hinge.load(), "ipo": ipo.load(), "robust": robust.load(wrong=0.1),
        "mpo": mpo.load(),
    }  # fmt: skip
    return {
        name: one(policy.total, reference, policy.lengths, batch.preferences).losses.mean().item()
        for name, one in objectives.items()
    }


def main() -> None:
    """Run one measurement and write it as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("world", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--adapter", type=Path, help="no training: loss and gradient with these adapters")
    parser.add_argument("--load-only", action="store_true", help="load the model and say what that takes")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    if given.adapter is not None:
        found = gradient(given.world, given.adapter, given.out)
    elif given.load_only:
        made = Prepared(given.world, instructions=1)
        found = {"loaded_bytes": peak(), "parameters": sum(one.numel() for one in made.model.parameters())}
    else:
        found = timed(given.world, given.out, given.epochs)
    print(json.dumps(found))


def peak() -> int:
    """Most bytes of this process so far: of the GPU's memory, or else resident ones (Linux counts in KiB)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
