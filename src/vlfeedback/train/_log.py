"""The log of a training run, which the report reads, and what is noticed in it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Mean log-ratio below which both sides count as falling: nats per token of the chosen responses, and nats in all.
FALL_PER_TOKEN, FALL = 0.1, 1.0


class TrainLog:
    """`train_log.jsonl`: one line per logged step, with the field's names.

    Args:
        path: The file.
        after: Lines of later steps are removed, they belong to a run that was interrupted after its last checkpoint.
    """

    def __init__(self, path: Path, after: int) -> None:
        self._path = path
        kept = [row for row in read_log(path) if row["step"] <= after] if path.exists() else []
        path.parent.mkdir(parents=True, exist_ok=True)
        waiting = path.with_suffix(".part")
        waiting.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        waiting.replace(path)

    def write(self, row: Mapping[str, float | str]) -> None:
        """Append one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a `train_log.jsonl`, without a last one that a kill cut off."""
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def falling(row: Mapping[str, float]) -> str | None:
    """A warning when chosen and rejected responses become unlikely together, else None.

    Args:
        row: Means of the latest logged steps: `logratios/chosen`, `logratios/rejected` (nats) and `lengths/chosen`
            (tokens).
    """
    names = ("logratios/chosen", "logratios/rejected", "lengths/chosen")
    chosen, rejected, tokens = (row.get(name, math.nan) for name in names)
    limit = -max(FALL, FALL_PER_TOKEN * tokens)
    if not (chosen < limit and rejected < limit):
        return None
    return (
        f"chosen and rejected responses fall together (log-ratios {chosen:.1f} and {rejected:.1f} nats at "
        f'{tokens:.0f} tokens): lower the learning rate, raise beta, or use = "anchored" in [train.loss]'
    )
