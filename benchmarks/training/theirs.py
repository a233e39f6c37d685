"""TRL's side: seconds per instruction of `DPOTrainer.train()`, in an environment of its own, without vlfeedback."""

from __future__ import annotations

import argparse
import json
import resource
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset, Image, List
from peft import LoraConfig
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import DPOConfig, DPOTrainer

ON_GPU = torch.cuda.is_available()


def rows(world: Path, pairs: str, instructions: int) -> Dataset:
    """Preference rows in TRL's own format, pictures opened when they are needed."""
    made: list[dict[str, Any]] = []
    for line in (world / "data.jsonl").read_text(encoding="utf-8").splitlines()[:instructions]:
        row = json.loads(line)
        said = row["replies"]
        for chosen, rejected in [(said[0], said[-1])] if pairs == "extremes" else combinations(said, 2):
            made.append({
                "images": [str(world / "pictures" / row["image"])],
                "prompt": [{"role": "user", "content": row["prompt"]}],
                "chosen": [{"role": "assistant", "content": chosen}],
                "rejected": [{"role": "assistant", "content": rejected}],
            })  # fmt: skip
    return Dataset.from_list(made).cast_column("images", List(Image()))


def trainer(world: Path, out: Path, dataset: Dataset, batch: int) -> DPOTrainer:
    """The same adapters, rate and precision as the other side; gradient checkpointing off, which is faster."""
    settings = DPOConfig(
        output_dir=str(out), per_device_train_batch_size=batch, gradient_accumulation_steps=max(1, 6 // batch),
        learning_rate=1e-5, num_train_epochs=1, beta=0.1, max_length=None, gradient_checkpointing=False, bf16=ON_GPU,
        report_to="none", logging_steps=1000, save_strategy="no", disable_tqdm=True, weight_decay=0.05,
        adam_beta2=0.98, lr_scheduler_type="cosine", use_cpu=not ON_GPU,
    )  # fmt: skip
    adapters = LoraConfig(
        r=64, lora_alpha=16, lora_dropout=0.0, task_type="CAUSAL_LM",
        target_modules=r"model\.language_model\..*(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
    )  # fmt: skip
    model = AutoModelForImageTextToText.from_pretrained(
        world / "model", dtype=torch.bfloat16 if ON_GPU else torch.float32
    )
    processor = AutoProcessor.from_pretrained(world / "model")
    return DPOTrainer(
        model=model, args=settings, train_dataset=dataset, processing_class=processor, peft_config=adapters
    )


LOSSES: dict[str, tuple[list[str], list[float]]] = {
    "sigmoid": (["sigmoid"], [1.0]),
    "hinge": (["hinge"], [1.0]),
    "ipo": (["ipo"], [1.0]),
    "robust": (["robust"], [1.0]),
    "mpo": (["sigmoid", "bco_pair", "sft"], [0.8, 0.2, 1.0]),
}
"""Losses that both sides have, as TRL spells them; the share of wrong labels is 0.1."""


def losses(made: DPOTrainer, batch: Any) -> dict[str, float]:
    """Every one of `LOSSES` on one batch."""
    made.label_smoothing = 0.1
    found: dict[str, float] = {}
    for name, (made.loss_types, made.loss_weights) in LOSSES.items():
        with torch.no_grad():
            found[name] = made.compute_loss(made.model, batch).item()
    made.loss_types, made.loss_weights = LOSSES["sigmoid"]
    return found


def gradient(made: DPOTrainer, adapter: Path, out: Path) -> dict[str, Any]:
    """Losses and gradient of all rows in one batch, with the adapters of a file."""
    from safetensors.torch import load_file, save_file

    given = load_file(adapter)
    missing = [name for name, one in made.model.named_parameters() if one.requires_grad and name not in given]
    if missing:
        raise SystemExit(f"the adapters of {adapter} have other names: {missing[:3]}")
    made.model.load_state_dict(given, strict=False)
    batch = next(iter(made.get_train_dataloader()))
    made.model.train()
    loss = made.compute_loss(made.model, batch)
    loss.backward()
    save_file({name: one.grad for name, one in made.model.named_parameters() if one.grad is not None}, out)
    rows = int(batch["input_ids"].shape[0])
    return {"trl": trl.__version__, "loss": loss.item(), "rows": rows, "losses": losses(made, batch)}


def peak() -> int:
    """Most bytes of this process so far: of the GPU's memory, or else resident ones (Linux counts in KiB)."""
    return torch.cuda.max_memory_allocated() if ON_GPU else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Run one measurement and write it as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("world", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--instructions", type=int, default=2)
    parser.add_argument("--pairs", choices=("all", "extremes"), default="all")
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--adapter", type=Path, help="no training: loss and gradient with these adapters")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    made = trainer(given.world, given.out, rows(given.world, given.pairs, given.instructions), given.batch)
    given.out.mkdir(parents=True, exist_ok=True)
    if given.adapter is not None:
        print(json.dumps(gradient(made, given.adapter, given.out / "gradient.safetensors")))
        return
    loaded = peak()
    began = time.perf_counter()
    made.train()
    seconds = time.perf_counter() - began
    found = {
        "trl": trl.__version__,
        "seconds": seconds,
        "instructions": given.instructions,
        "seconds_per_instruction": seconds / given.instructions,
        "steps": made.state.global_step,
        "loaded_bytes": loaded,
        "peak_bytes": peak(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
