"""POPE's files: questions with answers in one file per split, or answers in files of their own, joined by id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.evaluate._read import Row, id_of, reply_text, rows_of, short, unique

SPLITS = ("random", "popular", "adversarial")


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a split with the model's answer; `answer` is None where there is none."""

    question_id: str
    image: str
    label: str
    answer: str | None


def read_split(path: Path) -> list[Asked]:
    """Read one split: JSON lines `question_id, image, text, label, answer`.

    Raises:
        DataError: a row is not of the format, or a question_id occurs twice.
    """
    rows = [_asked(row, reply_text(row, "answer")) for row in rows_of(path)]
    unique((row.question_id for row in rows), path)
    return rows


def _asked(row: Row, answer: str | None) -> Asked:
    label = row.fields.get("label")
    if not isinstance(label, str) or label.strip().lower() not in ("yes", "no"):
        hint = "; give the questions with --questions" if label is None else ""
        raise DataError(f"{row.where}: the label is {short(label)}; it must be yes or no{hint}.")
    image = row.fields.get("image")
    if not isinstance(image, str):
        raise DataError(f"{row.where} names no image; without it the questions on one picture cannot be told.")
    # The three splits name one picture alike, but not always with the same folder before it.
    name = image.replace("\\", "/").rsplit("/", 1)[-1]
    return Asked(id_of(row), name, label.strip().lower(), answer)


def join_split(answers: Path, questions: Path) -> list[Asked]:
    """Join a file of answers to the official file of its split, by question_id and never by position.

    Args:
        answers: JSON lines `question_id` and `answer` (or `text`, as LLaVA's script writes it).
        questions: JSON lines `question_id, image, text, label`.
    Returns:
        All questions in their order; one that nobody answered has no answer.
    Raises:
        DataError: a row is not of the format, an id occurs twice, or an answer is to no question of the split.
    """
    given: dict[str, str | None] = {}
    rows = rows_of(answers)
    unique((id_of(row) for row in rows), answers)
    for row in rows:
        given[id_of(row)] = reply_text(row, "answer" if "answer" in row.fields else "text")
    asked = [_asked(row, given.get(id_of(row))) for row in rows_of(questions)]
    unique((one.question_id for one in asked), questions)
    strangers = sorted(given.keys() - {one.question_id for one in asked})
    if strangers:
        raise DataError(f"{answers} answers {strangers[0]}, which {questions} does not ask: are they of one split?")
    return asked


def questions_of(answers: Path, questions: Sequence[Path]) -> Path:
    """The questions to a file of answers: of the same name, of the same split by name, or the only ones there are.

    Raises:
        ConfigError: it cannot be told.
    """
    same = [path for path in questions if path.stem == answers.stem]
    word = next((name for name in SPLITS if name in answers.stem.lower()), None)
    split = [path for path in questions if word is not None and word in path.stem.lower()]
    for found in (same, split, list(questions) if word is None else []):
        if len(found) == 1:
            return found[0]
    listed = ", ".join(path.name for path in questions)
    raise ConfigError(
        f"which of {listed} does {answers.name} answer? Let their names hold random, popular or adversarial."
    )
