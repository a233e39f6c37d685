"""MM-Vet's figures: per capability, per combination and in total, over one or several runs of the grader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlfeedback import stats
from vlfeedback.errors import DataError
from vlfeedback.evaluate._books import Counted
from vlfeedback.evaluate._digits import added, rounded
from vlfeedback.evaluate._mmvet_files import FAILED, Grade, Grades, read_capabilities, read_grades

PARSER = "mmvet-official"
QUESTIONS = 218


@dataclass(frozen=True, slots=True)
class MMVetResult(Counted):
    """What grades come to, in points of 100.

    Attributes:
        total: Mean over questions, averaged over runs; not the mean of the capabilities.
        total_readable: The same over grades whose reply says a number.
        std: Population standard deviation of the runs' totals.
        runs: The runs' totals.
        combinations: By the capabilities that a question needs, `gen_know_rec`, in the order of the alphabet.
        counts: Questions per capability.
        n_present: Questions with a grade in every run.
        n_unparsable: Grades without a readable number, over all runs.
        n_nonfinite: Of these, NaN and infinities, which are in no figure; the official script would print `nan`.
        n_failed: Grades that are missing, over all runs.
        se: Standard error of `total`, questions being the units, each with the mean of its runs.
    """

    total: float | None
    total_readable: float | None
    std: float | None
    runs: tuple[float, ...]
    capabilities: dict[str, float | None]
    combinations: dict[str, float | None]
    counts: dict[str, int]
    n_nonfinite: int
    se: float | None
    ci: tuple[float, float] | None
    graders: tuple[str, ...]
    parser: str = PARSER
    protocol: str = "mmvet/official"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        found = {name: getattr(self, name) for name in self.__slots__ if name not in ("graders", "runs")}
        more = {"runs": list(self.runs), "printed": self.printed, "judges": list(self.graders)}
        return {"benchmark": "mmvet", **found, **self.books(), **more}

    @property
    def printed(self) -> dict[str, Any]:
        """What the official script prints: one digit, rounded as numpy does."""
        parts = {"capabilities": self.capabilities, "combinations": self.combinations}
        return {
            "total": _digit(self.total),
            "std": _digit(self.std),
            "runs": [_digit(run) for run in self.runs],
            **{part: {name: _digit(value) for name, value in found.items()} for part, found in parts.items()},
        }


def score_files(grades: Sequence[Path], capabilities: Path) -> MMVetResult:
    """Score official grade files.

    Args:
        grades: One file of one or several runs, or several files, each of further runs.
        capabilities: Question id → list of capabilities, or the benchmark's mm-vet.json.
    Raises:
        DataError: a file is not of the format, or grades a question that is not listed.
    """
    return score_grades(read_grades(grades), read_capabilities(capabilities))


def score_grades(grades: Grades, needs: Mapping[str, Sequence[str]]) -> MMVetResult:
    """Score grades by question id."""
    strangers = sorted(grades.keys() - needs.keys())
    if strangers:
        raise DataError(
            f"{len(strangers)} graded questions are not among the capabilities ({', '.join(strangers[:3])} …): the two "
            "files are not of one benchmark."
        )
    runs = max((len(one) for one in grades.values()), default=0)
    whole = {name: [*given, *[FAILED] * (runs - len(given))] for name, given in grades.items()}
    # In the order of the grade file, as the official script adds, so that the last digit is the same.
    listed = [(name, given) for name, given in whole.items() if any(grade.value is not None for grade in given)]
    if not listed:
        raise DataError("there is no grade that is a number: nothing can be scored.")
    kinds = {name: "_".join(sorted(set(needs[name]))) for name in needs}
    counts: dict[str, int] = {}
    for name in needs:
        for one in sorted(set(needs[name])):
            counts[one] = counts.get(one, 0) + 1
    totals = _points([given for _, given in listed], runs)
    order = sorted(counts, key=lambda one: (-counts[one], one))
    every = [grade for given in whole.values() for grade in given]
    failed = sum(grade.failed for grade in every) + runs * (len(needs) - len(whole))
    unread = sum(not grade.readable and not grade.failed for grade in every)
    nonfinite = sum(grade.value is None and not grade.failed for grade in every)
    present = sum(not any(grade.failed for grade in given) for given in whole.values())
    means = [float(np.mean([grade.value for grade in given if grade.value is not None])) for _, given in listed]
    estimate = stats.mean(means)
    complete = not failed and len(needs) == QUESTIONS
    graders = tuple(sorted({grade.grader for grade in every if grade.grader}))
    bounds = None if estimate.low is None or estimate.high is None else (100 * estimate.low, 100 * estimate.high)
    return MMVetResult(
        total=_mean(totals),
        total_readable=_mean(_points([given for _, given in listed], runs, lambda grade: grade.readable)),
        std=float(np.array(totals).std()) if totals else None,
        runs=tuple(totals),
        capabilities={one: _mean(_points([g for name, g in listed if one in needs[name]], runs)) for one in order},
        combinations={
            kind: _mean(_points([given for name, given in listed if kinds[name] == kind], runs))
            for kind in dict.fromkeys(kinds.values())
        },
        counts={one: counts[one] for one in order},
        n_expected=max(QUESTIONS, len(needs)),
        n_present=present,
        n_unparsable=unread,
        n_nonfinite=nonfinite,
        n_failed=failed,
        complete=complete,
        se=None if estimate.se is None else 100 * estimate.se,
        ci=bounds,
        graders=graders,
        warnings=tuple(_warnings(len(needs), present, failed, unread, nonfinite, graders, runs)),
    )


def _points(given: Iterable[Sequence[Grade]], runs: int, keep: Callable[[Grade], bool] = lambda _: True) -> list[float]:
    """100 · sum of grades / their number, of every run that has any."""
    listed = list(given)
    found: list[float] = []
    for run in range(runs):
        values = [grades[run].value for grades in listed if keep(grades[run])]
        numbers = [value for value in values if value is not None]
        if numbers:
            found.append(added(numbers) / len(numbers) * 100)
    return found


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _digit(value: float | None) -> float | None:
    return None if value is None else rounded(value, 1)


def _warnings(
    questions: int, present: int, failed: int, unread: int, nonfinite: int, graders: Sequence[str], runs: int
) -> Iterable[str]:
    expected = max(QUESTIONS, questions)
    if failed or questions != QUESTIONS:
        yield f"INCOMPLETE: {present} of {expected} questions have a grade in each of {runs} run(s)."
    if questions != QUESTIONS:
        yield f"The capabilities list {questions} questions; MM-Vet has {QUESTIONS}."
    if failed:
        yield f"{failed} grades are missing; they are in no figure (the official script would count them as 0)."
    if unread:
        yield f"{unread} grades are no readable number; the official rule counts an unreadable reply as 0."
    if nonfinite:
        yield f"{nonfinite} of these are NaN or infinite and in no figure; the official script would print nan."
    if len(graders) > 1:
        yield f"The grades are of several models ({', '.join(graders)}), which are not comparable."
