"""From item scores to scores: means and sums of strata with intervals, refused where too many replies are missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from vlfeedback import stats
from vlfeedback.errors import DataError
from vlfeedback.evaluate._contract import SUMMED
from vlfeedback.records import ItemScore, Score

MAX_FAILED = 0.02
"""Share of items without a reply above which no headline is given."""


def summarise(
    item_scores: Iterable[ItemScore], *, max_failed: float = MAX_FAILED, readable: Collection[str] = ()
) -> list[Score]:
    """Summarise the item scores of any models, benchmarks and protocols, each for itself.

    A metric of `SUMMED` is the sum of its strata's means, and each stratum's own mean follows as `METRIC/STRATUM`;
    every other metric is a mean. Items of one cluster are one unit. A metric for which no reply has a value (what is
    invented in descriptions that name nothing) has no score; its item scores say `unparsable`.

    Args:
        item_scores: In any order.
        max_failed: Highest share of failed items of a metric.
        readable: Metrics whose mean over readable replies follows as `METRIC/readable`, where any reply is unreadable.
    Raises:
        DataError: more items failed than `max_failed`: a headline from what is left would be of another benchmark.
    """
    found: dict[tuple[str, str, str, str, str], list[ItemScore]] = {}
    for score in item_scores:
        answer = score.answer
        key = (answer.benchmark, score.protocol, answer.model, score.judge or "", score.metric)
        found.setdefault(key, []).append(score)
    scores: list[Score] = []
    for (*_, metric), group in found.items():
        _refuse(group, max_failed)
        if not _valued(group):
            continue
        scores.append(_score(group, metric, summed=metric in SUMMED))
        sure = [score for score in group if score.state != "unparsable"]
        if metric in readable and len(sure) < len(group) and _valued(sure):
            scores.append(_score(sure, f"{metric}/readable", summed=False))
        if metric in SUMMED:
            parts: dict[str, list[ItemScore]] = {}
            for score in group:
                parts.setdefault(score.answer.stratum, []).append(score)
            scores += [_score(part, f"{metric}/{name}", summed=False) for name, part in parts.items() if _valued(part)]
    return scores


class Refused(NamedTuple):
    """A metric of one model that has no headline."""

    benchmark: str
    protocol: str
    judge: str
    metric: str
    model: str
    failed: int
    items: int

    def __str__(self) -> str:
        whose = f"{self.model} or no judgement of it by {self.judge}" if self.judge else self.model
        return f"{self.benchmark}: {self.failed} of {self.items} items of {self.metric!r} have no reply from {whose}"


def failed_share(scores: Iterable[ItemScore], max_failed: float = MAX_FAILED) -> list[Refused]:
    """Metrics of which more items failed than a share; their results are of another benchmark.

    Args:
        scores: Of any models and benchmarks.
        max_failed: Highest share of failed items of a metric, 0 to 1; where all failed there is no result at any share.
    """
    counts: dict[tuple[str, str, str, str, str], list[int]] = {}
    for score in scores:
        answer = score.answer
        key = (answer.benchmark, score.protocol, score.judge or "", score.metric, answer.model)
        count = counts.setdefault(key, [0, 0])
        count[0] += score.state == "failed"
        count[1] += 1
    return [
        Refused(*key, *count)
        for key, count in counts.items()
        if count[0] > max_failed * count[1] or count[0] == count[1]
    ]


def _valued(group: Sequence[ItemScore]) -> list[ItemScore]:
    return [score for score in group if score.value is not None]


def _refuse(group: Sequence[ItemScore], max_failed: float) -> None:
    for refused in failed_share(group, max_failed):
        raise DataError(
            f"{refused}, more than {max_failed:.0%}: no headline is given. Run `vlfeedback evaluate` again to ask them "
            "once more."
        )


def _score(group: Sequence[ItemScore], metric: str, *, summed: bool) -> Score:
    valued = _valued(group)
    values = [score.value for score in valued if score.value is not None]
    clusters = [score.answer.cluster for score in valued]
    strata = [score.answer.stratum for score in valued] if summed else None
    estimate = stats.mean(values, clusters=clusters, strata=strata)
    first = group[0]
    return Score(
        benchmark=first.answer.benchmark,
        protocol=first.protocol,
        metric=metric,
        value=estimate.value,
        ci_low=estimate.low,
        ci_high=estimate.high,
        n=len(values),
        n_unparsable=sum(score.state == "unparsable" for score in group),
        n_failed=sum(score.state == "failed" for score in group),
        model=first.answer.model,
        judge=first.judge,
        time=max((score.time for score in group if score.time is not None), default=None),
    )
