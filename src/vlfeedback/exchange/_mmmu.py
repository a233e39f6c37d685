"""MMMU's rule for a parsed answer: engines log what they parsed, and count only in the sum."""

from __future__ import annotations

from typing import Any, cast


def is_right(told: dict[str, Any]) -> bool:
    """Whether any of an item's parsed answers is right.

    Args:
        told: `answer` (one or several), `parsed_pred` (one, or one per repeat; of an open question its candidates), and
            `question_type`.
    Source:
        MMMU's evaluation rules: a choice must equal; an open answer must occur in a candidate, numbers at two decimals.
    """
    answers = _listed(told["answer"])
    parsed = told["parsed_pred"]
    if told.get("question_type") in ("multiple-choice", "multi-choice"):
        return any(one in answers for one in _listed(parsed))
    runs = _listed(parsed)
    if not any(isinstance(one, list) for one in runs):
        runs = [runs]
    wanted = [word for answer in answers for word in _normal(str(answer))]
    return any(_open(wanted, _listed(candidates)) for candidates in runs)


def _open(wanted: list[str | float], candidates: list[Any]) -> bool:
    for one in candidates:
        if isinstance(one, str):
            if any(isinstance(word, str) and word in one for word in wanted):
                return True
        elif one in wanted:
            return True
    return False


def _normal(answer: str) -> list[str | float]:
    text = answer.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        # A single letter would occur in any sentence.
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]
