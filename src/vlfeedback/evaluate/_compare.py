"""Two models on the same items: paired differences with intervals, and what they say in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vlfeedback import stats
from vlfeedback.errors import ConfigError
from vlfeedback.evaluate._contract import SUMMED
from vlfeedback.evaluate._digits import added
from vlfeedback.evaluate._summary import MAX_FAILED, failed_share
from vlfeedback.evaluate._values import RATIOS, Key, Value, Values, averaged, values_of
from vlfeedback.records import ItemScore

HEADLINE = (
    "perception", "cognition", "rating", "average", "hallucination_rate", "correctness", "total", "f1", "relative",
    "safety", "hallucination", "recall", "refusal", "over_refusal",
)  # fmt: skip
"""Metrics that are asked about together: their p-values are also given with Holm's correction for that."""


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of two models on the items that both have.

    Attributes:
        old: Result of `old_model` on the shared items, the mean over its seeds where there are several.
        new: Result of `new_model` on the shared items, likewise.
        difference: new − old with its interval over items.
        unshared: Items that only one of the two has, or that one of them failed on; they are in no figure of this row.
        seeds: The same difference over seeds, where there are several.
        headline: Whether it belongs to the metrics that are asked about together.
        p_holm: p-value corrected for the number of headline metrics; None for the others.
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
    seeds: stats.Difference | None = None
    headline: bool = False
    p_holm: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As an entry of `comparisons.json`."""
        one, over = self.difference, self.seeds
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
            "se": one.se,
            "ci_low": one.low,
            "ci_high": one.high,
            "p": one.p,
            "p_holm": self.p_holm,
            "headline": self.headline,
            "mde": one.mde,
            "n": one.n,
            "units": one.units,
            "changed": one.changed,
            "unshared": self.unshared,
            "method": one.method,
            "note": one.note,
            "says": sentence(self),
            "seeds": None
            if over is None
            else {"n": over.n, "difference": over.value, "se": over.se, "ci_low": over.low, "ci_high": over.high,
                  "p": over.p, "note": over.note},
        }  # fmt: skip


def compare(
    old: Iterable[ItemScore], new: Iterable[ItemScore], *, parts: bool = False, max_failed: float = MAX_FAILED
) -> list[Row]:
    """Compare two models on every metric that both have, paired by item id.

    Args:
        old: Item scores of one model, of any benchmarks.
        new: Item scores of the other.
        parts: Also the strata of summed metrics, as `METRIC/STRATUM`; they are too small to be read alone.
        max_failed: Share of items without a reply, on either side, above which a metric has no row.
    Returns:
        Rows in the order in which `old` first has their metric. Results of different protocols or judges never meet.
    Raises:
        ConfigError: a side holds several models, or the two share no metric and item.
        BooksError: a side has an item twice.
    """
    return compare_seeds([list(old)], [list(new)], parts=parts, max_failed=max_failed)


def compare_seeds(
    old: Sequence[Sequence[ItemScore]],
    new: Sequence[Sequence[ItemScore]],
    *,
    parts: bool = False,
    max_failed: float = MAX_FAILED,
    anyway: bool = False,
) -> list[Row]:
    """Compare several runs of one model with as many of another, first with first: over items and over seeds.

    Args:
        old: Item scores of each run of the one model.
        new: Item scores of each run of the other, as many.
        parts: As in `compare`.
        max_failed: As in `compare`.
        anyway: Let metrics of other protocols or judges meet by their name.
    Returns:
        Rows as of `compare`; the difference is over items, each the mean of its seeds.
    Raises:
        ConfigError: as in `compare`, or the sides have different numbers of runs.
    """
    if len(old) != len(new) or not old:
        raise ConfigError(f"{len(old)} runs cannot be paired with {len(new)}: give as many on each side")
    before, after = [_values(side, parts, anyway) for side in (old, new)]
    one, two = averaged(before), averaged(after)
    gone = {key for side in (*old, *new) for key in _failed(side, max_failed, anyway)}
    rows: list[Row] = []
    for key, items in one.items():
        others = two.get(key, {})
        if key._replace(metric=key.metric.partition("/")[0]) in gone:
            continue
        shared = [item for item, value in items.items() if value is not None and others.get(item) is not None]
        if shared:
            names = (old[0][0].answer.model, new[0][0].answer.model)
            row = _row(key, names, [(items[item], others[item]) for item in shared], len(items | others) - len(shared))
            rows.append(_with_seeds(row, key, before, after))
    if not rows and not gone:
        raise ConfigError(
            "the two share no item of the same benchmark, protocol and judge: evaluate both on one benchmark"
        )
    return _corrected(rows)


def _values(side: Sequence[Sequence[ItemScore]], parts: bool, anyway: bool) -> list[Values]:
    runs = [values_of(run, parts=parts) for run in side]
    return [_loosened(run) for run in runs] if anyway else runs


def _loosened(run: Values) -> Values:
    """Metrics by their name alone, where a run has no second one of that name."""
    names = Counter(_loose(key) for key in run)
    return {_loose(key) if names[_loose(key)] == 1 else key: items for key, items in run.items()}


def _loose(key: Key) -> Key:
    return key._replace(protocol="", judge="")


def _failed(scores: Iterable[ItemScore], max_failed: float, anyway: bool) -> set[Key]:
    """Metrics that have no headline because too many replies are missing."""
    keys = {Key(one.benchmark, one.protocol, one.judge, one.metric) for one in failed_share(scores, max_failed)}
    derived = {"accuracy": "f1", "points": "relative", "reference": "relative"}
    keys |= {key._replace(metric=derived[key.metric]) for key in keys if key.metric in derived}
    return keys | {_loose(key) for key in keys} if anyway else keys


def _row(key: Key, models: tuple[str, str], pairs: Sequence[tuple[Value | None, Value | None]], unshared: int) -> Row:
    both = [(one, two) for one, two in pairs if one is not None and two is not None]
    old, new = [one for one, _ in both], [two for _, two in both]
    clusters = [one.cluster for one in old]
    whole = key.metric.partition("/")[0]
    if whole in RATIOS:
        difference = stats.paired_ratio(_over_under(new), _over_under(old), clusters=clusters)
    else:
        strata = [one.stratum for one in old] if key.metric in SUMMED else None
        overs = [[one.over for one in side] for side in (new, old)]
        difference = stats.paired(overs[0], overs[1], clusters=clusters, strata=strata)
    return Row(
        key.benchmark, key.protocol, key.metric, *models, _result(key, old), _result(key, new), difference, unshared,
        key.judge or None,
    )  # fmt: skip


def _over_under(values: Sequence[Value]) -> tuple[list[float], list[float]]:
    return [one.over for one in values], [one.under for one in values]


def _result(key: Key, values: Sequence[Value]) -> float:
    """The result of one model on some items."""
    if key.metric not in SUMMED:
        return added(one.over for one in values) / (added(one.under for one in values) or 1.0)
    strata: dict[str, list[float]] = {}
    for one in values:
        strata.setdefault(one.stratum, []).append(one.over)
    return added(added(part) / len(part) for part in strata.values())


def _with_seeds(row: Row, key: Key, before: Sequence[Values], after: Sequence[Values]) -> Row:
    """The difference over seeds, each on the items that both of its runs have."""
    if len(before) < 2:
        return row
    olds: list[float] = []
    news: list[float] = []
    for one, two in zip(before, after, strict=True):
        first, second = one.get(key, {}), two.get(key, {})
        both = [(a, b) for item, a in first.items() if a is not None and (b := second.get(item)) is not None]
        if not both:
            return row
        olds.append(_result(key, [a for a, _ in both]))
        news.append(_result(key, [b for _, b in both]))
    return replace(row, seeds=stats.over_seeds(news, olds))


def _corrected(rows: list[Row]) -> list[Row]:
    """Mark the headline of every benchmark and correct its p-values, all of them together."""
    named = {(row.benchmark, row.metric) for row in rows if row.metric in HEADLINE}
    led = {benchmark for benchmark, _ in named}
    for row in rows:  # a benchmark without a known headline is led by its first metric
        if row.benchmark not in led:
            led.add(row.benchmark)
            named.add((row.benchmark, row.metric))
    marked = [replace(row, headline=(row.benchmark, row.metric) in named) for row in rows]
    adjusted = iter(stats.holm([row.difference.p for row in marked if row.headline]))
    return [replace(row, p_holm=next(adjusted)) if row.headline else row for row in marked]


def sentence(row: Row) -> str:
    """What a row says, in words."""
    one = row.difference
    name = row.metric if row.metric.startswith(row.benchmark) else f"{row.benchmark} {row.metric}"
    found, p = f"{one.value:+.3g} on {name} ({row.old:.4g} → {row.new:.4g})", f"p = {one.p:.2g}"
    kind = "questions" if one.units == one.n else "units"
    detect = f": {one.units:,} {kind} detect {one.mde:.2g}" if one.mde else ""
    over = "" if row.seeds is None else f" {_seeds(row.seeds)}"
    if one.low is None or one.high is None:
        return f"{found} has no interval: {one.note}; {p}{detect}.{over}"
    interval = f"95 % interval {one.low:+.3g} to {one.high:+.3g}, {p}"
    if one.low > 0 or one.high < 0:
        return f"{found} is beyond the noise; {interval}.{over}"
    return f"{found} is inside the noise{detect}; {interval}.{over}"


def _seeds(one: stats.Difference) -> str:
    if one.low is None or one.high is None:
        return f"Over {one.n} seeds: {one.value:+.3g}, {one.note}."
    verdict = "beyond the noise" if one.low > 0 or one.high < 0 else "inside the noise"
    return f"Over {one.n} seeds: {one.value:+.3g}, {one.low:+.3g} to {one.high:+.3g}, p = {one.p:.2g}: {verdict}."
