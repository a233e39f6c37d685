"""Evaluations of other engines as item scores: read directly by `compare`, written by `import`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape

from vlfeedback import config, evaluate, registry, tables
from vlfeedback.commands._terminal import say, table, typed
from vlfeedback.config import Settings
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.evaluate import UNKNOWN, Conditions, digest
from vlfeedback.exchange import Marked, ScoreImporter, Sheet, Tally
from vlfeedback.records import Answer, ItemScore, Score
from vlfeedback.run_folder import RunFolder, told_when_unwritable

ENGINES = {
    "lmms_eval": ("*samples_*.jsonl",),
    "vlmevalkit": ("*.xlsx", "*.tsv", "*.csv", "*_result.json", "*_auxmatch.json"),
}
"""Importers that `compare` tries on a path that is no run folder, and the files by which they are known."""


class Read(NamedTuple):
    """What another engine's files hold, as records."""

    answers: list[Answer]
    item_scores: list[ItemScore]
    conditions: list[Conditions]


@dataclass(frozen=True, slots=True)
class ScoresSummary:
    """What an import of item scores read.

    Attributes:
        sheets: (model, benchmark, items, items without a reply or verdict).
        notes: What was noticed in the files, in words, with counts.
    """

    format: str
    out: Path
    sheets: tuple[tuple[str, str, int, int], ...]
    notes: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        names = ("model", "benchmark", "items", "failed")
        sheets = [dict(zip(names, one, strict=True)) for one in self.sheets]
        return {"format": self.format, "out": str(self.out), "sheets": sheets, "notes": self.notes}


def engine_of(path: Path) -> ScoreImporter | None:
    """The importer for a path, by the files that lie there; None where no engine wrote any."""
    for name, patterns in ENGINES.items():
        found = path.is_file() and any(path.match(one) for one in patterns)
        if found or (path.is_dir() and any(next(path.rglob(one), None) for one in patterns)):
            return registry.bind(registry.find("exchange", name), {}, name)
    return None


def read(sheets: Iterator[Sheet]) -> Read:
    """Records of sheets.

    Raises:
        DataError: two sheets are of the same model and benchmark.
    """
    found = Read([], [], [])
    seen: set[tuple[str, str, str]] = set()
    for sheet in sheets:
        key = (sheet.model, sheet.benchmark, sheet.protocol)
        if key in seen:
            raise DataError(f"{sheet.model} has two sheets of {sheet.benchmark}: name the folder of one run.")
        seen.add(key)
        for row in sheet.rows:
            answer = _answer(sheet, row)
            found.answers.append(answer)
            found.item_scores.extend(
                ItemScore(
                    answer, sheet.protocol, name, value, "failed" if value is None else "scored", sheet.judge or None
                )
                for name, value in row.values.items()
            )
        found.conditions.append(_conditions(sheet))
    return found


def _answer(sheet: Sheet, row: Marked) -> Answer:
    missing = row.failed and not row.text
    finish = "error" if missing else "stop"
    return Answer(sheet.benchmark, row.item_id, row.cluster, row.stratum, sheet.model, row.text, finish)


def _conditions(sheet: Sheet) -> Conditions:
    asked = [[row.item_id, row.prompt] for row in sheet.rows]
    told = any(row.prompt and row.prompt != "null" for row in sheet.rows)
    return Conditions(
        sheet.benchmark, sheet.protocol, sheet.model, digest(row.item_id for row in sheet.rows),
        digest(asked) if told else UNKNOWN, sheet.decoding or UNKNOWN, sheet.dtype or UNKNOWN, sheet.judge,
        UNKNOWN if sheet.judge else "",
    )  # fmt: skip


def import_scores(format: str, importer: ScoreImporter, path: Path, out: Path) -> ScoresSummary:
    """Write another engine's evaluation into a run folder: answers, item scores, scores, conditions.

    Raises:
        ConfigError: there is no such path, or `out` holds an evaluation of its own.
        DataError: a file is damaged, or nothing in it can be used, or `out` cannot be written.
    """
    if not path.exists():
        raise ConfigError(f"{path} does not exist. Check the path of the files.")
    with told_when_unwritable(out):
        own = (out / "instructions.parquet").exists() or (out / "ledger.sqlite").exists()
        again = (out / "run.toml").exists()
    if own:
        raise ConfigError(
            f"{out} is a run folder of its own, whose scores importing would replace. Give another --out."
        )
    tally: Tally = Counter()
    sheets = list(importer.sheets(path, tally))
    found = read(iter(sheets))
    settings = Settings(title=f"{format}: {path.name}")
    run = RunFolder(out, config.load(out / "run.toml") if again else settings, written=again)
    with run.writing():
        run.keep_settings()
        tables.write(run.table("answers"), Answer, found.answers, room="exchange")
        tables.write(run.table("item_scores"), ItemScore, found.item_scores, room="exchange")
        told = {"conditions": [one.to_json() for one in found.conditions]}
        (out / "evaluation.json").write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8")
        refused = evaluate.failed_share(found.item_scores)
        whole = {(one.benchmark, one.protocol, one.model, one.metric) for one in refused}
        kept = [
            one
            for one in found.item_scores
            if (one.answer.benchmark, one.protocol, one.answer.model, one.metric) not in whole
        ]
        tables.write(run.table("scores"), Score, evaluate.summarise(kept), room="exchange")
    for one in refused:
        tally[f"no score: {one}"] += 1
    rows = tuple((one.model, one.benchmark, len(one.rows), sum(row.failed for row in one.rows)) for one in sheets)
    return ScoresSummary(format, out, rows, {what: count for what, count in tally.items() if count})


def show(found: ScoresSummary, console: Console) -> None:
    """Print a summary for people."""
    rows = table("", "model", "benchmark", "items", "failed", numbers=("items", "failed"))
    for model, benchmark, items, failed in found.sheets:
        rows.add_row(escape(model), escape(benchmark), f"{items:,}", f"{failed:,}")
    console.print(rows)
    for what, count in found.notes.items():
        console.print(f"{what}: {count:,}", highlight=False, markup=False)
    say(console, f"next: vlfeedback compare {typed(found.out)} OTHER_DIR")
