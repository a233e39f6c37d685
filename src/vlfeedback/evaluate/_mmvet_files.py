"""MM-Vet's files: grades of one or several runs by question id, and what each question needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from vlfeedback.errors import DataError
from vlfeedback.evaluate._read import json_of, number, short


class Grade(NamedTuple):
    """One grade of one question in one run.

    Attributes:
        value: 0 to 1; None where there is none, or it is not finite.
        readable: Whether the grader's reply says the number; unknown replies are taken for readable.
        failed: There is no reply and no number.
        grader: Model that graded; empty if unknown.
    """

    value: float | None
    readable: bool = True
    failed: bool = False
    grader: str = ""


FAILED = Grade(None, readable=False, failed=True)
Grades = dict[str, list[Grade]]


def official(reply: str) -> float | None:
    """Read a grader's reply exactly as the official script does: the number before the first space, from 0 to 1.

    Nothing but these bounds is checked there, so that `nan` passes; it is given back, for the caller to set apart.

    Returns:
        None where the official script asks again.
    Source:
        Yu et al. 2023 (arXiv:2308.02490), evaluation script of the benchmark.
    """
    try:
        value = float(reply.split(" ")[0].strip())
    except ValueError:
        return None
    return None if value > 1.0 or value < 0.0 else value


def read_grades(paths: Sequence[Path]) -> Grades:
    """Grades by question id, one entry per run; several files are further runs.

    Raises:
        DataError: a file is no grade file, or two files have different questions.
    """
    found: Grades = {}
    for path in paths:
        more = _grades(path)
        earlier, runs = _runs(found), _runs(more)
        for name in {**found, **more}:
            mine = more.get(name, [])
            found[name] = [*found.get(name, [FAILED] * earlier), *mine, *[FAILED] * (runs - len(mine))]
    return found


def _runs(grades: Grades) -> int:
    return max((len(one) for one in grades.values()), default=0)


def _grades(path: Path) -> Grades:
    value = json_of(path)
    if not isinstance(value, dict) or not value:
        raise DataError(f"{path} is no grade file: an object with an entry per question, such as v1_0.")
    entries = cast("dict[str, Any]", value)
    found = {name: _entry(entry, f"{path}: {name}") for name, entry in entries.items()}
    if not _runs(found):
        raise DataError(f"{path} has no grade at all: every list is empty.")
    return found


def _entry(entry: Any, where: str) -> list[Grade]:
    if isinstance(entry, dict):
        fields = cast("dict[str, Any]", entry)
        if "score" not in fields:
            raise DataError(f"{where} has no score; a grade file has model, content and score per question.")
        scores, contents, models = (_list(fields.get(name)) for name in ("score", "content", "model"))
    else:
        scores, contents, models = _list(entry), [], []
    graded = [
        _grade(score, contents[run] if run < len(contents) else None, f"{where} run {run + 1}")
        for run, score in enumerate(scores)
    ]
    names = [one if isinstance(one, str) else "" for one in models]
    return [grade._replace(grader=names[run]) if run < len(names) else grade for run, grade in enumerate(graded)]


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [] if value is None else [value]


def _grade(score: Any, content: Any, where: str) -> Grade:
    said = official(content) if isinstance(content, str) else None
    if score is None:
        if not isinstance(content, str):
            return FAILED
        # The reply is there and its number is not: read it again; what cannot be read has 0 in the end.
        return Grade(0.0 if said is None else number(said), said is not None and number(said) is not None)
    value = number(score)
    if value is None:
        if not isinstance(score, float):
            raise DataError(f"{where}: the score is {short(score)}; it must be a number from 0 to 1.")
        return Grade(None, readable=False)  # NaN or an infinity
    if not 0 <= value <= 1:
        raise DataError(f"{where}: the score is {value}, outside 0 to 1. Is this a grade file of MM-Vet?")
    # After five unreadable replies the official script writes 0.0 and keeps the last reply.
    unread = isinstance(content, str) and said is None and value == 0
    return Grade(value, readable=not unread)


def read_capabilities(path: Path) -> dict[str, tuple[str, ...]]:
    """What each question needs: id → list of capabilities; the benchmark's own `mm-vet.json` does as well.

    Raises:
        DataError: it is something else.
    """
    value = json_of(path)
    if not isinstance(value, dict) or not value:
        raise DataError(f"{path} is no object of question id → list of capabilities.")
    found: dict[str, tuple[str, ...]] = {}
    for name, entry in cast("dict[str, Any]", value).items():
        listed: Any = cast("Mapping[str, Any]", entry).get("capability") if isinstance(entry, dict) else entry
        names = cast("list[Any]", listed) if isinstance(listed, list) else []
        if not names or not all(isinstance(one, str) and one for one in names):
            raise DataError(f'{path}: {name} has no list of capabilities, such as ["ocr", "math"].')
        found[name] = tuple(sorted(set(names)))
    return found
