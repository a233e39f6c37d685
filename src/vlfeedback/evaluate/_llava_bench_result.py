"""LLaVA-Bench's parser and figures on reviews: the model's mean in per cent of the reference's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from vlfeedback.errors import DataError
from vlfeedback.evaluate._books import Counted
from vlfeedback.evaluate._digits import added
from vlfeedback.evaluate._judge_files import completion
from vlfeedback.evaluate._read import Row, id_of, number, rows_of, short, unique
from vlfeedback.evaluate._resample import Noise, noise, ratio

PARSER = "llava-bench-official"
QUESTIONS = 60
CATEGORIES: dict[str, int] = {"conv": 17, "detail": 15, "complex": 28}
"""Questions per category of LLaVA-Bench in the wild."""

UNREADABLE = (-1.0, -1.0)
"""What the official script writes for a review without two numbers, and averages like any other."""


class Pair(NamedTuple):
    """Points of the reference (first) and of the model (second)."""

    reference: float
    model: float


def official(text: str) -> Pair | None:
    """Read a review exactly as the official script does.

    The first line with its commas turned into spaces, split at the space character, must be just two numbers: `8 7.5`
    and `8,7` are, `8, 7` is three parts and is not.

    Returns:
        None where the official script writes −1 and −1.
    Source:
        Liu et al. 2023 (arXiv:2304.08485), review script of LLaVA-Bench.
    """
    parts = text.split("\n")[0].replace(",", " ").split(" ")
    if len(parts) != 2:
        return None
    try:
        return Pair(float(parts[0]), float(parts[1]))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Review:
    """One review; `pair` is None where it cannot be read, and `failed` where there is none."""

    question_id: str
    category: str
    pair: Pair | None
    failed: bool = False


def read_reviews(path: Path) -> tuple[list[Review], list[str]]:
    """Read reviews: JSON lines `question_id, category, content`, and `tuple` where the official script wrote it.

    Returns:
        The reviews, and notes on rows whose `tuple`, which counts, is not what `content` says.
    Raises:
        DataError: a row is not of the format, or a question_id occurs twice.
    """
    found: list[Review] = []
    notes: list[str] = []
    for row in rows_of(path):
        found.append(_review(row, notes))
    unique((one.question_id for one in found), path)
    return found, notes


def _review(row: Row, notes: list[str]) -> Review:
    name = id_of(row)
    category = row.fields.get("category")
    kind = category.removeprefix("llava_bench_").strip() if isinstance(category, str) else ""
    text = completion(row.fields.get("content", row.fields.get("text")), row.where).text
    kept, said = _tuple(row), None if text is None else official(text)
    if kept is None:
        return Review(name, kind, _finite(said), failed=text is None)
    # The official script sums up the tuples; where a person mended one by hand, the published figure has it.
    if text is not None and kept != (said or UNREADABLE):
        notes.append(f"{row.where}: its content reads {list(said or UNREADABLE)}, but its tuple {list(kept)} counts.")
    return Review(name, kind, None if kept == UNREADABLE else kept)


def _tuple(row: Row) -> Pair | None:
    value = row.fields.get("tuple", row.fields.get("score"))
    if value is None:
        return None
    numbers = [number(one) for one in cast("list[Any]", value)] if isinstance(value, list) else []
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        raise DataError(f"{row.where}: its tuple is {short(cast('object', value))}; it must be two numbers.")
    return Pair(numbers[0], numbers[1])


def _finite(pair: Pair | None) -> Pair | None:
    return pair if pair is not None and number(pair.reference) is not None and number(pair.model) is not None else None


@dataclass(frozen=True, slots=True)
class LlavaBenchResult(Counted):
    """What reviews come to.

    Attributes:
        relative: 100 · mean(model) / mean(reference), in all and by category, an unreadable review being −1 and −1 as
            in the official script, which pulls the ratio towards 100.
        relative_readable: The same without unreadable reviews.
        printed: What the official script prints: both means rounded to three digits, their ratio to one.
        se: Standard error of `relative` in all, by bootstrap over questions.
    """

    relative: dict[str, float | None]
    relative_readable: dict[str, float | None]
    printed: dict[str, float | None]
    counts: dict[str, int]
    se: float | None
    se_by_category: dict[str, float | None]
    ci: tuple[float, float] | None
    parser: str = PARSER
    protocol: str = "llava_bench/official"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"benchmark": "llava_bench", **{name: getattr(self, name) for name in self.__slots__}, **self.books()}


def score_file(path: Path) -> LlavaBenchResult:
    """Score a file of reviews.

    Raises:
        DataError: it is not of the format, or holds no review at all.
    """
    reviews, notes = read_reviews(path)
    return score_reviews(reviews, notes=notes)


def score_reviews(reviews: Sequence[Review], *, notes: Sequence[str] = ()) -> LlavaBenchResult:
    """Score reviews."""
    present = [one for one in reviews if not one.failed]
    if not present:
        raise DataError("there is no review at all: nothing can be scored.")
    groups = {"all": present}
    for kind in [*CATEGORIES, *sorted({one.category for one in present} - CATEGORIES.keys() - {""})]:
        groups[kind] = [one for one in present if one.category == kind]
    readable = {kind: [one for one in listed if one.pair is not None] for kind, listed in groups.items()}
    counts = {kind: len(listed) for kind, listed in groups.items()}
    spreads = {kind: _noise(listed) for kind, listed in groups.items()}
    failed = len(reviews) - len(present)
    unread = sum(one.pair is None for one in present)
    complete = not failed and all(counts.get(kind, 0) == size for kind, size in CATEGORIES.items())
    complete = complete and len(reviews) == QUESTIONS
    low, high = spreads["all"].low, spreads["all"].high
    return LlavaBenchResult(
        relative={kind: _relative(listed) for kind, listed in groups.items()},
        relative_readable={kind: _relative(listed) for kind, listed in readable.items()},
        printed={kind: _printed(listed) for kind, listed in groups.items()},
        counts=counts,
        n_expected=max(QUESTIONS, len(reviews)),
        n_present=len(present),
        n_unparsable=unread,
        n_failed=failed,
        complete=complete,
        se=spreads["all"].se,
        se_by_category={kind: found.se for kind, found in spreads.items()},
        ci=None if low is None or high is None else (low, high),
        warnings=(*_warnings(counts, len(present), unread, failed, complete), *notes),
    )


def _sums(listed: Iterable[Review]) -> Mapping[str, tuple[float, float]]:
    pairs = {one.question_id: one.pair or UNREADABLE for one in listed}
    return {name: (pair[1], pair[0]) for name, pair in pairs.items()}


def _relative(listed: Sequence[Review]) -> float | None:
    sums = _sums(listed).values()
    reference = added(one[1] for one in sums)
    # Without a readable review both means are −1, and their ratio, 100, would say nothing.
    if not reference or all(one.pair is None for one in listed):
        return None
    return 100 * added(one[0] for one in sums) / reference


def _printed(listed: Sequence[Review]) -> float | None:
    sums = list(_sums(listed).values())
    if _relative(listed) is None:
        return None
    model, reference = (round(added(one[side] for one in sums) / len(sums), 3) for side in (0, 1))
    return round(model / reference * 100, 1) if reference else None


def _noise(listed: Sequence[Review]) -> Noise:
    return noise(_sums(listed), lambda sums: 100 * ratio(sums)) if _relative(listed) is not None else Noise(*[None] * 3)


def _warnings(counts: Mapping[str, int], present: int, unread: int, failed: int, complete: bool) -> Iterable[str]:
    if not complete:
        there = ", ".join(f"{kind} {counts.get(kind, 0)}/{size}" for kind, size in CATEGORIES.items())
        yield f"INCOMPLETE: {present} of {QUESTIONS} reviews ({there}); not comparable with any published score."
    if failed:
        yield f"{failed} rows have no review; they are in no figure."
    if unread:
        yield (
            f"{unread} reviews do not begin with two numbers; the official script averages them as -1 and -1, which "
            "pulls the ratio towards 100. See relative_readable."
        )
