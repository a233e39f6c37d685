"""`checkpoint/README.md`: what the weights are, instead of the empty form that peft writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlfeedback.train import Recipe
    from vlfeedback.train._preferences import Objective


def write_card(out: Path, recipe: Recipe, objective: Objective, *, groups: int, pairs: int, steps: int) -> None:
    """Write a model card.

    Args:
        out: The checkpoint's folder.
        recipe: How it was trained.
        objective: What was minimised.
        groups: Instructions trained on.
        pairs: Pairs among their responses.
        steps: Optimiser steps.
    """
    local = Path(recipe.model).expanduser().exists()
    head = [f"library_name: {'transformers' if recipe.lora is None else 'peft'}"]
    head += [] if local else [f"base_model: {json.dumps(recipe.model)}"]
    head.append("tags: [vlfeedback, dpo, vision-language, ai-feedback]")
    kind = "All weights of the language model" if recipe.lora is None else f"A LoRA adapter of rank {recipe.lora.r}"
    blind = " Pictures were hidden (control)." if recipe.image == "blind" else ""
    lines = [
        "\n".join(["---", *head, "---"]),
        f"# {Path(recipe.model).name if local else recipe.model}, aligned with AI feedback",
        f"{kind}, trained with {objective!r} on {pairs:,} preference pairs of {groups:,} instructions in {steps:,} "
        f"steps ({recipe.epochs} epochs, learning rate {recipe.learning_rate:g}, {recipe.dtype}).{blind}",
        "Settings and result stand in `train.json`, the course of the training in `train_log.jsonl`, and what was "
        "compared before the first step in `selfcheck.json`. Scores are in the report of the run folder.",
    ]
    (out / "README.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
