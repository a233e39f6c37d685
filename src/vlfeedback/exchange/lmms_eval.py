"""lmms-eval: the `*_samples_TASK.jsonl` that it writes with `--log_samples`, and the `*_results.json` beside them.

One file is one task of one model; of several runs of a task in one folder the last counts. A metric that is a number is
taken as it is; one that is an object is read by its `score`, `true_false` or the like, MMMU by its parsed answers.
lmms-eval writes an empty reply where generation failed: empty replies are counted and told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from vlfeedback.compact import read_json
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.exchange._items import Tally
from vlfeedback.exchange._mmmu import is_right
from vlfeedback.exchange._scored import Marked, ScoreImporter, Sheet, field, mme_points, number

OWN = frozenset({
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "doc_hash", "input", "token_counts",
    "input_media", "prompt_hash", "target_hash", "response_hash", "raw_filtered_resps", "submission",
})  # fmt: skip
"""Fields of a row that are no metric."""

VERDICTS = ("score", "true_false", "hit", "is_correct", "correct", "accuracy", "acc", "exact_match", "rating")
"""Where a metric that is an object has its number, in this order."""

MME = {"mme_perception_score": "perception", "mme_cognition_score": "cognition"}

NO_GRADER = ("", "Failed Request")
"""What stands for the grader's name where none answered; the score beside it is 0 (MM-Vet) or -1 and no grade."""

EXAMPLES = (
    ({"doc_id": 0, "target": "B", "filtered_resps": "B", "doc_hash": "h", "input": "Q", "exact_match": 1.0},
     ("0:h", "B", {"exact_match": 1.0})),
    ({"doc_id": 7, "target": "x", "filtered_resps": ["A"], "mmmu_acc": {"id": "validation_Art_1", "subdomain": "Art",
      "question_type": "multiple-choice", "answer": "A", "parsed_pred": ["A"]}, "submission": {}},
     ("7", "A", {"mmmu_acc": 1.0})),
    ({"doc_id": 3, "target": "4", "resps": [["It is 5"]], "filtered_resps": ["It is 5"],
      "gpt_eval_score": {"question_id": "12", "true_false": False, "prediction": "5"}},
     ("3", "It is 5", {"gpt_eval_score": 0.0})),
    ({"doc_id": 4, "target": "x", "filtered_resps": "y", "gpt_eval_llava_conv": {"scores": [-999, -999]},
      "gpt_eval_llava_all": {"category": "llava_bench_conv", "scores": [8.0, 6.5], "eval_model": "gpt-4"}},
     ("4", "y", {"points": 6.5, "reference": 8.0})),
)  # fmt: skip
"""A row, and its item id, reply and values."""


class _NoNumbers(DataError):
    """A task whose metrics are of all items together, such as CIDEr."""


def load() -> ScoreImporter:
    """What lmms-eval wrote with `--log_samples`: a samples file, a model's folder, or the folder above it."""
    return _LmmsEval()


class _LmmsEval:
    def sheets(self, path: Path, tally: Tally) -> Iterator[Sheet]:
        """One sheet per task and model; see `ScoreImporter.sheets`."""
        files = [path] if path.is_file() else sorted(path.rglob("*samples_*.jsonl"))
        if not files:
            raise ConfigError(f"{path} has no *_samples_*.jsonl: run lmms-eval with --log_samples --output_path.")
        latest: dict[tuple[Path, str], Path] = {}
        for file in files:  # sorted by name, which begins with the date
            key = (file.parent, file.stem.partition("samples_")[2])
            tally["samples of an earlier run, not used"] += key in latest
            latest[key] = file
        made = 0
        for (folder, task), file in latest.items():
            try:
                sheet = _sheet(file, task, _results(folder, file), tally)
            except _NoNumbers:
                tally[f"{task}: no metric has a number for single items, not used"] += 1
                continue
            yield sheet
            made += 1
        if not made:
            tasks = ", ".join(task for _, task in latest)
            raise _NoNumbers(f"{path}: no metric has a number for single items, in any task there ({tasks}).")


def read_row(row: dict[str, Any]) -> Marked:
    """Read one row of a samples file.

    Raises:
        ValueError: it is no row of lmms-eval.
    """
    if "doc_id" not in row or not ("filtered_resps" in row or "resps" in row):
        raise ValueError("it has no doc_id or no reply; is it written by lmms-eval --log_samples?")
    given = row.get("filtered_resps", row.get("resps"))
    while isinstance(given, list) and len(cast("list[Any]", given)) == 1:
        given = cast("list[Any]", given)[0]
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    metrics = {name: value for name, value in row.items() if name not in OWN}
    about = _about(row)
    media = row.get("input_media")
    shown = cast("list[Any]", media) if isinstance(media, list) else []
    where: Any = field(about, "question_id", "image_id") or next(iter(shown), None)
    item = str(row["doc_id"]) + (f":{str(row['doc_hash'])[:12]}" if row.get("doc_hash") else "")
    values = _points(metrics) or {name: _value(value) for name, value in metrics.items()}
    values = {name: found for name, found in values.items() if found is not None}
    # Graders of this engine give -1 where they failed; no benchmark has that as a grade.
    silent = field(about, "eval_model") in NO_GRADER
    lost = [name for name, found in values.items() if found == -1 or silent]
    return Marked(
        item_id=item,
        cluster=str(where if where is not None else row["doc_id"]),
        stratum=str(field(about, "category", "subdomain", "subset", "type") or ""),
        prompt=json.dumps(row.get("input"), ensure_ascii=False),
        text=text,
        failed=bool(lost),
        values={name: None if name in lost else found for name, found in values.items()},
    )


def _about(row: dict[str, Any]) -> dict[str, Any]:
    """The object that stands for a metric, where one does; LLaVA-Bench's is the one that holds its numbers."""
    if isinstance(row.get("gpt_eval_llava_all"), dict):
        return cast("dict[str, Any]", row["gpt_eval_llava_all"])
    for name, value in row.items():
        if name not in OWN and isinstance(value, dict):
            return cast("dict[str, Any]", value)
    return {}


def _points(metrics: dict[str, Any]) -> dict[str, float | None]:
    """LLaVA-Bench's two numbers, of the reference and of the model; its metrics by category hold them once more."""
    pair = field(metrics.get("gpt_eval_llava_all"), "scores")
    if not isinstance(pair, list) or len(cast("list[Any]", pair)) != 2:
        return {}
    reference, model = (number(one) for one in cast("list[Any]", pair))
    return {"points": model, "reference": reference}


def _value(found: Any) -> float | None:
    if isinstance(found, dict):
        told = cast("dict[str, Any]", found)
        if "parsed_pred" in told and "answer" in told:
            return float(is_right(told))
        return number(field(told, *VERDICTS))
    if isinstance(found, list) and found:  # repeats of one item
        each = [_value(one) for one in cast("list[Any]", found)]
        there = [one for one in each if one is not None]
        return sum(there) / len(there) if len(there) == len(each) else None
    return None if isinstance(found, str) else number(found)


def _sheet(file: Path, task: str, results: dict[str, Any], tally: Tally) -> Sheet:
    rows: list[Marked] = []
    judges: set[str] = set()
    said_yes: dict[str, bool] = {}
    seen: set[str] = set()
    for about, row in _rows(file):
        rows.append(row)
        judges |= {str(one) for one in [field(about, "eval_model", "judge_model")] if one}
        said_yes[row.item_id] = str(field(about, "prediction") or "").strip().lower() == "yes"
        if row.item_id in seen:
            raise DataError(
                f"{file}: item {row.item_id} occurs twice; lmms-eval appends to a file that is there. Delete the file "
                "and run the task again."
            )
        seen.add(row.item_id)
        tally[f"{task}: empty replies (lmms-eval writes failures so)"] += not row.text.strip()
    metrics = {name for row in rows for name in row.values}
    if not metrics:
        raise _NoNumbers(f"{file}: no metric has a number for single items; {task} cannot be compared item by item.")
    # Every row has every metric: what lacks its number has no verdict, and says so instead of disappearing.
    by_task = [row._replace(values={name: row.values.get(name) for name in sorted(metrics)}) for row in rows]
    if metrics <= MME.keys():
        by_task = [one for name in sorted(metrics) for one in _mme(by_task, name)]
    elif any(name.startswith("pope_") for name in metrics):
        by_task = [
            row._replace(
                values={"accuracy": row.values.get("pope_accuracy"), "yes_ratio": float(said_yes[row.item_id])}
            )
            for row in by_task
        ]
    said = cast("dict[str, Any]", results.get("config") or {})
    arguments = said.get("model_args")
    return Sheet(
        model=_model(str(results.get("model_name") or file.parent.name)),
        benchmark="pope" if task.startswith("pope") else task,
        protocol=f"{task}/lmms_eval {field(results.get('versions'), task) or ''}".strip(),
        rows=tuple(by_task),
        decoding=_decoding(results, said, task),
        dtype=_dtype(arguments),
        judge=", ".join(sorted(judges)),
    )


def _rows(file: Path) -> Iterator[tuple[dict[str, Any], Marked]]:
    """What a row says of its metric, and the row."""
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for place, line in enumerate(lines, 1):
                if line.strip():
                    row = _object(line, f"{file} line {place}")
                    yield _about(row), _marked(row, f"{file} line {place}")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read ({error}). Copy it again from where lmms-eval wrote it.") from error


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = read_json(line)
    except ValueError as error:
        raise DataError(f"{where} is no JSON ({error}); was the run cut off? Run the task again.") from error
    if not isinstance(row, dict):
        raise DataError(f"{where} is no JSON object; is it written by lmms-eval --log_samples?")
    return cast("dict[str, Any]", row)


def _marked(row: dict[str, Any], where: str) -> Marked:
    try:
        return read_row(row)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def _mme(rows: list[Marked], name: str) -> list[Marked]:
    own = [(row._replace(values={}), row.values[name]) for row in rows if row.values[name] is not None]
    return mme_points(own, MME[name])


def _results(folder: Path, file: Path) -> dict[str, Any]:
    """The results file of the same run, or the folder's last; empty where there is none."""
    date = file.name.partition("_samples_")[0]
    files = sorted(folder.glob("*results.json"))
    chosen = [one for one in files if one.name.startswith(date)] or files
    if not chosen:
        return {}
    try:
        found = read_json(chosen[-1].read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{chosen[-1]} is damaged ({error}). Delete it: the samples can be read without it.") from error
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _model(name: str) -> str:
    """A model's name; of a path on some machine the last two parts."""
    return "/".join(Path(name).parts[-2:]) if Path(name).is_absolute() else name


def _decoding(results: dict[str, Any], said: dict[str, Any], task: str) -> str:
    configs = results.get("configs")
    own = field(field(configs, task), "generation_kwargs")
    if own is None and not said.get("gen_kwargs"):
        return ""
    return json.dumps([own, said.get("gen_kwargs")], sort_keys=True, ensure_ascii=False)


def _dtype(arguments: Any) -> str:
    if isinstance(arguments, str):
        pairs = (part.partition("=") for part in arguments.split(","))
        arguments = {name.strip(): value.strip() for name, _, value in pairs}
    return str(field(arguments, "dtype", "torch_dtype") or "")
