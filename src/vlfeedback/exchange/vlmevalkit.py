"""VLMEvalKit: the tables that it writes beside its predictions (`.xlsx`, `.tsv`, `.csv`, `.json`), one row per item.

Its evaluation adds a verdict to every row: `hit` (multiple choice), `score` (yes or no, graders), or what a grader read
(`res`, MathVista). Tables of predictions alone have none and are not scored here: run VLMEvalKit with --mode all first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.exchange._items import Tally
from vlfeedback.exchange._scored import Marked, ScoreImporter, Sheet, mme_points, number
from vlfeedback.exchange._sheet_files import SUFFIXES, Cells, read_table

VERDICTS = ("hit", "score", "gpt4_score", "gpt_score", "rating", "verdict", "correct")
"""Columns that hold a verdict, in this order."""

NO_REPLY = ("failed to obtain answer", "sorry, the service is not available")
"""What a cell begins with where the model failed: its endpoint ("… via API."), or its memory ("…: <class …> …")."""

NO_VERDICT = ("all 5 retries failed", "failed to obtain answer", "failed to parse", "thus randomly generate one")
"""What the log of a grader holds where the grader failed; the last draws an option by chance."""

SUMS = ("_acc", "_rating", "_config", "_meta", "_metrics", "_fine")
"""Ends of the names of files that hold sums over items, or settings; `_score` may be either (MathVerse's has items)."""

_RUN = re.compile(r"T\d{8}")
"""Folder of one run; the model's folder above it holds links to the last run's files."""

COGNITION = {"commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"}

EXAMPLES = (
    ({"index": 1, "question": "Q", "answer": "B", "prediction": "B.", "category": "art", "hit": 1},
     ("1", "B.", False, {"hit": 1.0})),
    ({"index": "3", "prediction": "yes it is", "extracted": "Yes", "answer": "No", "score": "False"},
     ("3", "yes it is", False, {"score": 0.0})),
    ({"index": 5, "prediction": "Failed to obtain answer via API.", "answer": "A", "hit": 0},
     ("5", "", True, {"hit": None})),
    ({"index": 6, "prediction": "Failed to obtain answer: <class 'RuntimeError'> out of memory", "hit": 0},
     ("6", "", True, {"hit": None})),
    ({"index": 8, "prediction": "0.5?", "score": 0.5, "log": "Try 0: output is ?, failed to parse.\nSucceed"},
     ("8", "0.5?", False, {"score": 0.5})),
    ({"index": 2, "prediction": "1.20", "res": "1.2", "answer": "1.20", "log": "Prefetch succeed"},
     ("2", "1.20", False, {"res": 1.0})),
)  # fmt: skip
"""A row, and its item id, reply, whether it failed, and its values."""


def load(*, score: str = "", model: str = "", dataset: str = "", judge: str = "") -> ScoreImporter:
    """Tables that VLMEvalKit's evaluation wrote.

    Args:
        score: Column with the verdict, if none of `hit`, `score`, … is it.
        model: Name of the model; default from the file or its folder.
        dataset: Name of the dataset; default from the file.
        judge: Who graded; default from the file (`MODEL_DATASET_JUDGE.xlsx`), where it says.
    """
    return _VLMEvalKit(score, model, dataset, judge)


class _VLMEvalKit:
    def __init__(self, score: str, model: str, dataset: str, judge: str) -> None:
        self._score, self._model, self._dataset, self._judge = score, model, dataset, judge

    def sheets(self, path: Path, tally: Tally) -> Iterator[Sheet]:
        """One sheet per table with verdicts; see `ScoreImporter.sheets`."""
        made = 0
        for file in _files(path, tally):
            try:
                rows = read_table(file)
            except DataError:
                if path.is_file() or file.suffix != ".json":
                    raise
                tally["JSON files that are no tables, not used"] += 1
                continue
            verdict = self._verdict(rows[0])
            if "index" not in rows[0] or not verdict:
                if path.is_file():
                    raise DataError(
                        f"{file} has the columns {', '.join(rows[0])}: no index, or no verdict. Run VLMEvalKit with "
                        "--mode all and give the table its evaluation wrote, or name --option score=COLUMN."
                    )
                tally["tables without verdicts, not used"] += 1
                continue
            yield self._sheet(file, rows, verdict, tally)
            made += 1
        if not made:
            raise ConfigError(f"{path} has no table with verdicts of VLMEvalKit: run it with --mode all.")

    def _verdict(self, row: Cells) -> str:
        if self._score:
            return self._score if self._score in row else ""
        found = next((name for name in VERDICTS if name in row), "")
        return found or ("res" if {"res", "answer"} <= row.keys() else "")

    def _sheet(self, file: Path, rows: list[Cells], verdict: str, tally: Tally) -> Sheet:
        marked = [read_row(row, verdict) for row in rows]
        seen: set[str] = set()
        for one in marked:
            if one.item_id in seen:
                raise DataError(f"{file}: index {one.item_id} occurs twice; items are joined by it.")
            seen.add(one.item_id)
        folder, stem = _home(file).name, file.stem.removeprefix("_")
        model = self._model or (folder if stem.startswith(f"{folder}_") else stem.partition("_")[0])
        dataset, judge = _named(stem.removeprefix(f"{model}_"))
        dataset = self._dataset or dataset
        tally[f"{dataset}: no reply or no verdict"] += sum(one.failed for one in marked)
        if dataset.lower() == "mme":
            marked = _mme(marked)
        benchmark = "pope" if dataset.lower().startswith("pope") else dataset
        if benchmark == "pope":
            marked = [_pope(one, row) for one, row in zip(marked, rows, strict=True)]
        return Sheet(model, benchmark, f"{dataset}/vlmevalkit", tuple(marked), judge=self._judge or judge)


def _files(path: Path, tally: Tally) -> list[Path]:
    """Tables of a folder, each once: of several runs of a model the last, and no link beside what it points to."""
    if path.is_file():
        return [path]
    found = (one for one in path.rglob("*") if one.suffix in SUFFIXES and one.is_file())
    tables = [one for one in found if not one.stem.endswith(SUMS) and one.stem != "status"]
    # Links stand in the model's folder; else the name of a run, which begins with the date, decides.
    ordered = sorted(tables, key=lambda one: (one.parent == _home(one), str(one)))
    last = {(_home(one), one.name): one for one in ordered}
    used = {one.resolve() for one in last.values()}
    tally["tables of an earlier run, not used"] += len({one.resolve() for one in tables} - used)
    return sorted(last.values())


def _home(file: Path) -> Path:
    """The model's folder of a table."""
    return file.parent.parent if _RUN.match(file.parent.name) else file.parent


def _failed(reply: str) -> bool:
    return reply.strip().lower().startswith(NO_REPLY)


def _no_verdict(log: str) -> bool:
    """Whether a grader failed; a log that ends with a success tells of attempts before it."""
    said = log.strip().lower()
    return not said.endswith("succeed") and any(word in said for word in NO_VERDICT)


def read_row(row: Cells, verdict: str = "") -> Marked:
    """Read one row of a table.

    Args:
        row: Its cells.
        verdict: Column of the verdict; the first of the known ones if it is not given.
    """
    verdict = verdict or next((name for name in (*VERDICTS, "res") if name in row), "")
    reply = _text(row.get("prediction"))
    failed = _failed(reply) or _no_verdict(_text(row.get("log")))
    value = _matches(row) if verdict == "res" else number(row.get(verdict))
    lost = failed or value is None or (verdict != "res" and value == -1)
    item = number(row.get("index"))
    name = _text(row.get("index")) if item is None or not item.is_integer() else str(int(item))
    cluster = next((_text(row[one]) for one in ("image_path", "image_id", "g_index") if row.get(one)), name)
    return Marked(
        item_id=name,
        cluster=cluster,
        stratum=_text(row.get("category") or row.get("split")),
        prompt=_text(row.get("question")),
        text="" if _failed(reply) else reply,
        failed=lost,
        values={verdict: None if lost else value},
    )


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)


def _matches(row: Cells) -> float | None:
    """Whether what a grader read is the answer: the same words, the option's letter, or the same number."""
    read, answer = _text(row.get("res")).strip(), _text(row.get("answer")).strip()
    if not read:
        return None
    option = _text(row.get("answer_option")).strip()
    if read.lower() == answer.lower() or (option and read.strip("().").upper() == option.upper()):
        return 1.0
    one, two = number(read), number(answer)
    if one is None or two is None:
        return 0.0
    precision = number(row.get("precision"))
    digits = int(precision) if precision is not None else 6
    return float(round(one, digits) == round(two, digits))


def _named(stem: str) -> tuple[str, str]:
    """Dataset and judge of a file name without its model: `MathVista_MINI_gpt-4-turbo` → the two."""
    stem = re.sub(r"_(auxmatch|result|eval)$", "", stem)
    found = re.match(
        r"(.+?)_(gpt-?[\w.-]*|chatgpt[\w.-]*|openai|exact_matching|qwen[\w.-]*|claude[\w.-]*)$", stem, re.I
    )
    if not found:
        return stem, ""
    judge = found[2]
    return found[1], "" if judge == "exact_matching" else re.sub(r"_(result|score)$", "", judge)


def _mme(rows: list[Marked]) -> list[Marked]:
    made: list[Marked] = []
    for metric, wanted in (("perception", False), ("cognition", True)):
        own = [one for one in rows if (one.stratum in COGNITION) == wanted]
        made += mme_points([(one._replace(values={}), next(iter(one.values.values()))) for one in own], metric)
    return made


def _pope(one: Marked, row: Cells) -> Marked:
    """Whether an answer was right, and whether it was yes."""
    (right,) = one.values.values()
    said = _text(row.get("extracted")).strip().lower() == "yes"
    return one._replace(values={"accuracy": right, "yes_ratio": None if right is None else float(said)})
