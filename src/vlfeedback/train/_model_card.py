"""`checkpoint/README.md`: what the weights are, instead of the empty form that peft writes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from vlfeedback.train._base import base_of

if TYPE_CHECKING:
    from vlfeedback.train import Recipe
    from vlfeedback.train._preferences import Objective


SCORES = "## Scores"
_NOT_YET = "Not evaluated yet."
# What is another thing of merged weights.
_OF_ADAPTER = "library_name: peft"
_ADAPTER, _MERGED = "A LoRA adapter of rank", "All weights: the base with a LoRA adapter folded in, of rank"
_BESIDE = "Settings and result stand in"
_ELSEWHERE = "Settings and result of the training stand beside the adapter, in"


class ScoreRow(NamedTuple):
    """A line of the table of scores: this model beside its base.

    Attributes:
        base, value: Results of the two.
        difference: Paired, with the ends of its 95 % interval; None where too few items changed for one.
        n: Items or units that both have.
        judge: Who graded, if anybody.
    """

    protocol: str
    metric: str
    base: float
    value: float
    difference: float
    low: float | None
    high: float | None
    n: int
    judge: str | None = None


def write_card(
    out: Path,
    recipe: Recipe,
    objective: Objective,
    *,
    groups: int,
    pairs: int,
    steps: int,
    sources: Mapping[str, int],
) -> None:
    """Write a model card.

    Args:
        out: The checkpoint's folder.
        recipe: How it was trained.
        objective: What was minimised.
        groups: Instructions trained on.
        pairs: Pairs among their responses.
        steps: Optimiser steps.
        sources: Instructions read, by source.
    """
    base = base_of(recipe)
    # A folder that is gone is none of the hub's names either, and what this machine calls it is nobody's business.
    local = Path(base).expanduser().exists() or base.startswith(("/", "./", "../", "~"))
    head = ["library_name: transformers" if recipe.lora is None else _OF_ADAPTER]
    head += [] if local else [f"base_model: {json.dumps(base)}"]
    head.append("tags: [vlfeedback, dpo, vision-language, ai-feedback]")
    kind = "All weights of the language model" if recipe.lora is None else f"{_ADAPTER} {recipe.lora.r}"
    blind = " Pictures were hidden (control)." if recipe.image == "blind" else ""
    lines = [
        "\n".join(["---", *head, "---"]),
        f"# {Path(base).name if local else base}, aligned with AI feedback",
        f"{kind}, trained with {objective!r} on {pairs:,} preference pairs of {groups:,} instructions in {steps:,} "
        f"steps ({recipe.epochs} epochs, learning rate {recipe.learning_rate:g}, {recipe.dtype}).{blind}",
        SCORES,
        _NOT_YET,
        "## Data",
        _table(("Source", "Instructions"), [(name, f"{count:,}") for name, count in sorted(sources.items())]),
        "## Settings",
        _table(("Setting", "Value"), list(_settings(recipe))),
        f"{_BESIDE} `train.json`, the course of the training in `train_log.jsonl`, and what was "
        "compared before the first step in `selfcheck.json`. What the data may be used for decides what these weights "
        "may be used for: look at the terms of each source and of the models that wrote and judged the responses.",
    ]
    (out / "README.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def merged_card(text: str) -> str:
    """A card of an adapter as one of the weights that it was folded into; what nobody here wrote stays as it is.

    Args:
        text: `README.md` beside the adapter.
    """
    head, mark, rest = text.partition("\n---\n")
    if not (mark and head.startswith("---\n")):
        return text
    lines = ["library_name: transformers" if line == _OF_ADAPTER else line for line in head.split("\n")]
    told = rest.replace(f"\n{_ADAPTER} ", f"\n{_MERGED} ", 1).replace(f"\n{_BESIDE} ", f"\n{_ELSEWHERE} ", 1)
    return "\n".join(lines) + mark + told


def add_scores(folder: Path, rows: Sequence[ScoreRow]) -> None:
    """Put scores into a card that `write_card` made; scores of before are replaced, a card without a place is left."""
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, found, rest = text.partition(f"\n{SCORES}\n")
    if not found or not rows:
        return
    after = rest.partition("\n## ")[2]
    told = _table(
        ("Protocol", "Metric", "Base", "This model", "Difference", "n", "Judge"), [_score(row) for row in rows]
    )
    note = "Differences are paired, with 95 % intervals over items; both models answered with the same settings."
    waiting = path.with_suffix(".part")
    waiting.write_text(f"{before}\n{SCORES}\n\n{told}\n\n{note}\n\n## {after}", encoding="utf-8")
    waiting.replace(path)


def _score(row: ScoreRow) -> tuple[str, ...]:
    interval = "" if row.low is None or row.high is None else f" [{row.low:+.4g}, {row.high:+.4g}]"
    numbers = (f"{row.base:.4g}", f"{row.value:.4g}", f"{row.difference:+.4g}{interval}", f"{row.n:,}")
    return (row.protocol, row.metric, *numbers, row.judge or "")


def _settings(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Names and values; of a folder on this machine only the last part."""
    for name, value in asdict(recipe).items():
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", str(one)) for key, one in cast("dict[str, object]", value).items())
        elif name in ("model", "init") and value is not None and Path(value).expanduser().exists():
            yield name, Path(value).name
        else:
            yield name, str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(one) for one in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
