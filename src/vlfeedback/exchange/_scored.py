"""What an importer of other engines' evaluations gives: sheets of marked answers, ready to be compared by item."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

from vlfeedback.exchange._items import Tally


class Marked(NamedTuple):
    """One answer and what the engine gave for it.

    Attributes:
        item_id: The same for every model that answered the item.
        cluster: Items of one cluster share a picture.
        stratum: Part of the benchmark.
        prompt: What was asked, as far as the file says.
        text: The reply.
        failed: Whether there is no reply, or no verdict where one was due.
        values: By metric; None where the file has no verdict.
    """

    item_id: str
    cluster: str
    stratum: str
    prompt: str
    text: str
    failed: bool
    values: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Sheet:
    """All answers of one model to one task.

    Attributes:
        protocol: Engine and version of the task: results of two of them do not meet.
        decoding: How words were chosen; empty where the file does not say.
        dtype: Number format of the weights, likewise.
        judge: Who judged; empty for none.
    """

    model: str
    benchmark: str
    protocol: str
    rows: tuple[Marked, ...]
    decoding: str = ""
    dtype: str = ""
    judge: str = ""


@runtime_checkable
class ScoreImporter(Protocol):
    """Reads what another evaluation engine wrote."""

    def sheets(self, path: Path, tally: Tally) -> Iterator[Sheet]:
        """Sheets of a file or folder.

        Args:
            path: A file, or a folder with any number of them.
            tally: What is noticed on the way, in words, with counts.
        Raises:
            DataError: a file is damaged or not of this format.
            ConfigError: there is no such file in the folder.
        """
        ...


def number(value: Any) -> float | None:
    """A finite number, also of a truth value or of a text that holds one; else None."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("true", "false"):
            return float(word == "true")
        try:
            value = float(word)
        except ValueError:
            return None
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None


def mme_points(rows: list[tuple[Marked, float | None]], metric: str) -> list[Marked]:
    """Give both questions on a picture the picture's points, as the benchmark counts: 50 for one right, 200 for both.

    A picture whose second question is missing or has no verdict has no points.
    """
    right: dict[tuple[str, str], list[float | None]] = {}
    for row, value in rows:
        right.setdefault((row.stratum, row.cluster), []).append(value)
    made: list[Marked] = []
    for row, value in rows:
        found = right[row.stratum, row.cluster]
        both = [one for one in found if one is not None]
        points = 50 * sum(both) + 100 * (sum(both) == 2) if len(both) == len(found) == 2 else None
        made.append(row._replace(values={metric: points, "accuracy": value, **row.values}))
    return made


def field(row: Any, *names: str) -> Any:
    """The first of some fields that a JSON object has; None where it has none of them."""
    if isinstance(row, dict):
        found = cast("dict[str, Any]", row)
        return next((found[name] for name in names if found.get(name) is not None), None)
    return None
