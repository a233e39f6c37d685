"""`vlfeedback compare DIR_A DIR_B`: paired differences of two runs on the items both have answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from vlfeedback import stats, tables
from vlfeedback.errors import ConfigError
from vlfeedback.evaluate import Row, compare, sentence
from vlfeedback.records import ItemScore

HEADLINE = ("perception", "cognition", "hallucination", "recall", "refusal", "over_refusal")
"""Metrics that are asked about together: their p-values are also given with Holm's correction for that."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric of two models.

    Attributes:
        p_holm: p-value corrected for the number of headline metrics; None for the others.
    """

    row: Row
    p_holm: float | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self.row.to_json(), "p_holm": self.p_holm, "says": sentence(self.row)}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two run folders, or the models of one.

    Attributes:
        same: Models that answered every item alike in both runs; they are in no row.
    """

    first: Path
    second: Path
    rows: tuple[Compared, ...]
    same: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        rows = [one.to_json() for one in self.rows]
        return {"first": str(self.first), "second": str(self.second), "rows": rows, "same": list(self.same)}


class _Two(NamedTuple):
    """Item scores of two models, old and new."""

    old: list[ItemScore]
    new: list[ItemScore]


def compare_runs(first: Path, second: Path, *, parts: bool = False) -> Comparison:
    """Compare two runs, or with one folder given twice its models with its base.

    Of two runs those models meet that were made alike: base with base, `+dpo` with `+dpo`. If no two were, the first
    trained model of each run meets the other's.

    Args:
        first: Run folder with the old results.
        second: Run folder with the new ones.
        parts: Also the subtasks of sums; they are too small to be read alone.
    Returns:
        Differences, second minus first.
    Raises:
        ConfigError: a folder has no item scores, or the two share no item.
    """
    same: list[str] = []
    rows: list[Compared] = []
    meetings = list(_within(_by_model(first)) if first == second else _across(_by_model(first), _by_model(second)))
    if not meetings:
        raise ConfigError(f"{first} holds one model only: evaluate a second one, or name another run folder.")
    for old, new in meetings:
        if _said(old) == _said(new):
            same.append(new[0].answer.model)
        else:
            rows += _corrected(compare(old, new, parts=parts))
    return Comparison(first, second, tuple(rows), tuple(same))


def _by_model(run: Path) -> dict[str, list[ItemScore]]:
    """Item scores by what was done to the base: empty for the base itself, `+dpo` for the aligned model."""
    path = run / "item_scores.parquet"
    if not path.is_file():
        raise ConfigError(f"{run} has no item_scores.parquet: run `vlfeedback evaluate {run}` first.")
    found: dict[str, list[ItemScore]] = {}
    for score in tables.read(path, ItemScore):
        found.setdefault(score.answer.model, []).append(score)
    if not found:
        raise ConfigError(f"{path} is empty: run `vlfeedback evaluate {run}` first.")
    parents = [model for model in found if any(other.startswith(f"{model}+") for other in found)]
    base = min(parents or found, key=len)
    named = {model.removeprefix(base) if model.startswith(f"{base}+") else model: found[model] for model in found}
    return {"": named.pop(base), **named}


def _within(models: dict[str, list[ItemScore]]) -> Iterator[_Two]:
    for name, scores in models.items():
        if name:
            yield _Two(models[""], scores)


def _across(first: dict[str, list[ItemScore]], second: dict[str, list[ItemScore]]) -> Iterator[_Two]:
    shared = [name for name in first if name in second]
    if shared != [""] or len(first) == len(second) == 1:
        yield from (_Two(first[name], second[name]) for name in shared)
        return
    yield _Two(first[""], second[""])
    yield _Two(_trained(first), _trained(second))


def _trained(models: dict[str, list[ItemScore]]) -> list[ItemScore]:
    """The model that a run is about: trained and no control, else its only one."""
    names = [name for name in models if name.startswith("+")]
    return models[min(names, key=lambda name: (":" in name, len(name)), default="")]


def _said(scores: Iterable[ItemScore]) -> dict[tuple[str, str], str]:
    return {(one.answer.benchmark, one.answer.item_id): one.answer.text for one in scores}


def _corrected(rows: list[Row]) -> list[Compared]:
    headline = [row for row in rows if row.metric in HEADLINE]
    adjusted = dict(zip(map(id, headline), stats.holm([row.difference.p for row in headline]), strict=True))
    return [Compared(row, adjusted.get(id(row))) for row in rows]


def show(found: Comparison, console: Console) -> None:
    """Print tables, one for every two models, and what the headline rows say in words."""
    pairs: dict[tuple[str, str], list[Compared]] = {}
    for one in found.rows:
        pairs.setdefault((one.row.old_model, one.row.new_model), []).append(one)
    for (old, new), rows in pairs.items():
        table = Table(title=f"{old}  →  {new}", title_justify="left")
        table.add_column("metric")
        for name in ("first", "second", "difference", "95 % interval", "p", "p, Holm", "detectable", "items"):
            table.add_column(name, justify="right")
        for one in rows:
            table.add_row(*_cells(one))
        console.print(table)
        for one in rows:
            if one.row.metric in HEADLINE:
                console.print(f"  {sentence(one.row)}", highlight=False)
    for model in found.same:
        console.print(f"{model}: answered every item alike in both.", highlight=False)


def _cells(one: Compared) -> tuple[str, ...]:
    row, difference = one.row, one.row.difference
    interval = "–"
    if difference.low is not None and difference.high is not None:
        interval = f"{difference.low:+.4g} to {difference.high:+.4g}"
    return (
        row.metric,
        f"{row.old:.4g}",
        f"{row.new:.4g}",
        f"{difference.value:+.4g}",
        interval,
        f"{difference.p:.2g}",
        "" if one.p_holm is None else f"{one.p_holm:.2g}",
        "–" if difference.mde is None else f"{difference.mde:.3g}",
        f"{difference.n}" + (f" (−{row.unshared})" if row.unshared else ""),
    )
