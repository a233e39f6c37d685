"""Two models on the same items: paired differences with intervals, and what they say in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vlfeedback import stats
from vlfeedback.errors import BooksError, ConfigError
from vlfeedback.evaluate._contract import SUMMED
from vlfeedback.records import ItemScore


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of two models on the items that both have.

    Attributes:
        old: Result of `old_model` on the shared items.
        new: Result of `new_model` on the shared items.
        difference: new − old with its interval.
        unshared: Items that only one of the two has, or that one of them failed on; they are in no figure of this row.
    """

    benchmark: str
    protocol: str
    metric: str
    old_model: str
    new_model: str
    old: float
    new: float
    difference: stats.Difference
    unshared: int
    judge: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As an entry of `comparisons.json`."""
        one = self.difference
        return {
            "benchmark": self.benchmark,
            "protocol": self.protocol,
            "metric": self.metric,
            "judge": self.judge,
            "base": self.old_model,
            "other": self.new_model,
            "base_value": self.old,
            "other_value": self.new,
            "difference": one.value,
            "ci_low": one.low,
            "ci_high": one.high,
            "p": one.p,
            "mde": one.mde,
            "n": one.n,
            "units": one.units,
            "changed": one.changed,
            "unshared": self.unshared,
            "method": one.method,
            "note": one.note,
        }


def compare(old: Iterable[ItemScore], new: Iterable[ItemScore], *, parts: bool = False) -> list[Row]:
    """Compare two models on every metric that both have, paired by item id.

    Args:
        old: Item scores of one model, of any benchmarks.
        new: Item scores of the other.
        parts: Also the strata of summed metrics, as `METRIC/STRATUM`; they are too small to be read alone.
    Returns:
        Rows in the order in which `old` first has their metric. Results of different protocols or judges never meet.
    Raises:
        ConfigError: a side holds several models, or the two share no metric and item.
        BooksError: a side has an item twice.
    """
    before, after = _by_metric(old, parts), _by_metric(new, parts)
    rows: list[Row] = []
    for key, one in before.items():
        two = after.get(key, {})
        shared = [item for item in one if item in two and one[item].value is not None and two[item].value is not None]
        if shared:
            pairs = [(one[item], two[item]) for item in shared]
            rows.append(_row(key, pairs, len(one.keys() | two.keys()) - len(shared)))
    if not rows:
        raise ConfigError(
            "the two share no item of the same benchmark, protocol and judge: evaluate both on one benchmark"
        )
    return rows


def sentence(row: Row) -> str:
    """What a row says, in words."""
    one = row.difference
    found = f"{row.metric}: {row.old:.4g} → {row.new:.4g} ({one.value:+.4g})"
    if one.low is None or one.high is None:
        return f"{found}; no interval ({one.note}), p = {one.p:.2g}."
    interval = f"95 % interval {one.low:+.4g} to {one.high:+.4g}, p = {one.p:.2g}"
    if one.low > 0 or one.high < 0:
        return f"{found}; {interval}: a difference beyond noise."
    limit = f"; differences under about {one.mde:.3g} would mostly go unseen with these items" if one.mde else ""
    return f"{found}; {interval}: within noise{limit}."


_Key = tuple[str, str, str, str]


def _by_metric(scores: Iterable[ItemScore], parts: bool) -> dict[_Key, dict[str, ItemScore]]:
    found: dict[_Key, dict[str, ItemScore]] = {}
    models: set[str] = set()
    for score in scores:
        answer = score.answer
        models.add(answer.model)
        if len(models) > 1:
            raise ConfigError(
                f"a comparison is of one model with one other; one side holds {', '.join(sorted(models))}"
            )
        metrics = [score.metric]
        if parts and score.metric in SUMMED:
            metrics.append(f"{score.metric}/{answer.stratum}")
        for metric in metrics:
            items = found.setdefault((answer.benchmark, score.protocol, score.judge or "", metric), {})
            if answer.item_id in items:
                raise BooksError(f"item {answer.item_id} has two scores of {metric!r} by one model")
            items[answer.item_id] = score
    return found


def _row(key: _Key, pairs: list[tuple[ItemScore, ItemScore]], unshared: int) -> Row:
    benchmark, protocol, judge, metric = key
    old = [one.value for one, _ in pairs if one.value is not None]
    new = [two.value for _, two in pairs if two.value is not None]
    clusters = [one.answer.cluster for one, _ in pairs]
    strata = [one.answer.stratum for one, _ in pairs] if metric in SUMMED else None
    difference = stats.paired(new, old, clusters=clusters, strata=strata)
    before = stats.mean(old, clusters=clusters, strata=strata).value
    after = stats.mean(new, clusters=clusters, strata=strata).value
    first, second = pairs[0]
    return Row(
        benchmark, protocol, metric, first.answer.model, second.answer.model, before, after, difference, unshared,
        judge or None,
    )  # fmt: skip
