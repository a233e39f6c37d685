"""What a run folder holds, read without changing it; a part that is not there yet is None or empty."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from vlfeedback import tables, toml_text
from vlfeedback.errors import DataError
from vlfeedback.table_files import DAMAGED

TABLES = ("instructions", "responses", "annotations", "pairs", "answers", "item_scores", "scores", "votes")
ROOMS = ("source", "decode", "annotate", "pair", "train", "evaluate", "exchange")

MADE_BY = {
    "instructions": "source",
    "responses": "decode",
    "annotations": "annotate",
    "pairs": "pair",
    "answers": "evaluate",
    "item_scores": "evaluate",
    "scores": "evaluate",
}
"""Which room, and so which command, makes a table."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired difference of two models on one metric, as `comparisons.json` holds it; `other` minus `base`."""

    benchmark: str
    protocol: str
    metric: str
    judge: str | None
    base: str
    other: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    mde: float | None
    n: int
    p_holm: float | None = None
    says: str = ""


@dataclass(frozen=True, slots=True)
class TrainLog:
    """One training: its name (the folder's, empty for the main one) and its logged steps."""

    name: str
    rows: tuple[dict[str, float], ...]


class Artefacts:
    """The files of a run folder, opened for reading.

    Args:
        path: The folder.
    Raises:
        DataError: it is no folder, or `run.toml` cannot be read.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise DataError(f"{path} is no run folder. Make one with `vlfeedback run` or `vlfeedback import`.")
        self.path = path
        self.name = path.resolve().name
        self.settings = _settings(path / "run.toml")
        self.title = str(self.settings.get("title") or self.name)

    def section(self, *names: str) -> dict[str, Any]:
        """A table of run.toml by its name and those of the tables around it; empty where it is missing."""
        found: Any = self.settings
        for name in names:
            found = cast("dict[str, Any]", found).get(name) if isinstance(found, dict) else None
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {}

    @property
    def trained_name(self) -> str:
        """Suffix of the aligned model's identity, `[train] name`."""
        return str(self.section("train").get("name", "dpo"))

    def settings_rows(self) -> list[tuple[str, str]]:
        """Dotted names and values of all settings; of a path on this machine only the last part."""
        return list(_flat(self.settings, ""))

    def has(self, table: str) -> bool:
        """Whether a table is there."""
        return (self.path / f"{table}.parquet").exists()

    def frame(self, table: str, columns: list[str] | None = None) -> Any | None:
        """A table as a polars DataFrame, or None where it has not been made.

        Args:
            table: Its name.
            columns: Only these, Parquet paths such as `ratings.list.element.score`; None for all.
        Raises:
            DataError: the file is damaged.
        """
        path = self.path / f"{table}.parquet"
        return _frame(path, columns) if path.exists() else None

    def infos(self) -> dict[str, tables.TableInfo]:
        """What each table says of itself, in the order of the rooms."""
        return {name: tables.info(self.path / f"{name}.parquet") for name in TABLES if self.has(name)}

    def dropped(self) -> Any | None:
        """All dropped records (room, record_id, reason, detail), or None where no room has left any file."""
        import polars as pl

        files = [self.path / "dropped" / f"{room}.parquet" for room in ROOMS]
        frames = [_frame(file, ["room", "record_id", "reason", "detail"]) for file in files if file.exists()]
        return pl.concat(frames) if frames else None

    def comparisons(self) -> tuple[Comparison, ...]:
        """Rows of `comparisons.json`, empty where evaluation has not written it."""
        path = self.path / "comparisons.json"
        if not path.exists():
            return ()
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            return tuple(_comparison(row) for row in cast("list[dict[str, Any]]", rows))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error}). Run `vlfeedback evaluate {self.path}` again.") from error

    def drift(self) -> tuple[dict[str, Any], ...]:
        """How the form of answers changed, `drift` of `evaluation.json`; empty where evaluation has not written it."""
        path = self.path / "evaluation.json"
        if not path.exists():
            return ()
        try:
            rows = json.loads(path.read_text(encoding="utf-8")).get("drift", [])
            return tuple(row for row in rows if {"base", "other", "form", "benchmark"} <= row.keys())
        except (ValueError, AttributeError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error}). Run `vlfeedback evaluate {self.path}` again.") from error

    def train_logs(self) -> tuple[TrainLog, ...]:
        """Every `train_log.jsonl` below `checkpoint/` and of `controls/NAME/checkpoint/`, the main training first."""
        home = self.path / "checkpoint"
        files = {"/".join(file.parent.relative_to(home).parts): file for file in home.rglob("train_log.jsonl")}
        controls = (self.path / "controls").glob("*/checkpoint/train_log.jsonl")
        files |= {file.parent.parent.name: file for file in controls}
        logs = [TrainLog(name, _log_rows(file)) for name, file in sorted(files.items())]
        return tuple(log for log in logs if log.rows)


def _frame(path: Path, columns: list[str] | None) -> Any:
    import polars as pl
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]

    tables.info(path)  # explains a file that is no table of ours
    try:
        # A ParquetFile takes paths into nested columns, so that rationales, most of the bytes, are not read.
        with pq.ParquetFile(path) as file:
            return pl.from_arrow(file.read(columns=columns))
    except DAMAGED as error:
        raise DataError(f"{path} is damaged ({error}). Delete it and run the room that makes it again.") from error


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in cast("list[Any]", value)):
        for place, inner in enumerate(cast("list[Any]", value)):
            yield from _flat(inner, f"{name}[{place}]")
    else:
        yield (
            name,
            f"…/{Path(value).name}"
            if isinstance(value, str) and value.startswith("/")
            else json.dumps(value, ensure_ascii=False, default=str),
        )


def _settings(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return toml_text.loads(path.read_text(encoding="utf-8"))
    except (toml_text.TOMLError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}). Restore it; the other files of the run are intact."
        ) from error


def _comparison(row: dict[str, Any]) -> Comparison:
    return Comparison(
        benchmark=str(row["benchmark"]),
        protocol=str(row.get("protocol", "")),
        metric=str(row["metric"]),
        judge=None if row.get("judge") is None else str(row["judge"]),
        base=str(row["base"]),
        other=str(row["other"]),
        difference=float(row["difference"]),
        low=_number(row.get("ci_low")),
        high=_number(row.get("ci_high")),
        p=_number(row.get("p")),
        mde=_number(row.get("mde")),
        n=int(row.get("n", 0)),
        p_holm=_number(row.get("p_holm")),
        says=str(row.get("says") or "") if row.get("headline") else "",
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _log_rows(path: Path) -> tuple[dict[str, float], ...]:
    """Logged steps with their numbers; a last line that a kill cut off is left out."""
    rows: list[dict[str, float]] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for index, line in enumerate(lines):
        try:
            loaded = json.loads(line)
        except ValueError as error:
            if index == len(lines) - 1:
                break
            raise DataError(f"{path} line {index + 1} is no JSON ({error}). Train again or mend it.") from error
        if isinstance(loaded, dict):
            row = cast("dict[str, Any]", loaded)
            rows.append({name: number for name, value in row.items() if (number := _number(value)) is not None})
    return tuple(rows)
