"""How much of a number is noise: intervals of one result, and paired differences of two.

A *unit* is what could have been drawn differently: an image with its questions, a question, a caption. Observations
that share a unit (`clusters`) are not independent. Where a result is a sum over parts of a benchmark (`strata`, such as
MME's subtasks), it is the sum of the parts' means and every part varies on its own. Everything here is a function of
its arguments: random draws come from a generator that is seeded with the data, in whatever order they arrive. What the
intervals hold is measured by `benchmarks/coverage.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from vlfeedback._stats_units import (
    Block,
    Floats,
    Interval,
    Spread,
    blocks_of,
    clopper_pearson,
    sign_flip,
    spread_of,
    t_quantile,
    t_tail,
    total,
)

FEW_UNITS = 30
"""Below this many independent units an interval from a standard error is not worth its name."""

FEW_CHANGED = 10
"""Below this many units that differ between two models the standard error of the difference is itself a guess."""

RESAMPLES = 10_000
"""Draws of the sign-flip test where the flips are too many to be counted out."""

POWER = 2.8
"""1.96 + 0.84: a true difference of that many standard errors is found in 80 % of repetitions at the 5 % level."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A result of one model with its 95 % interval.

    Attributes:
        value: The mean, or the sum of stratum means.
        se: Standard error, in the units of `value`; None where it cannot be known.
        low: Lower end of the interval; None where there are too few units, and `note` says so.
        high: Upper end, likewise.
        n: Observations.
        units: Independent units among them.
        method: `clt`, `clustered`, `stratified`, `ratio`, `wilson`, `exact` (a rate of few units), or `none`.
        note: Why there is no interval; empty if there is one.
    """

    value: float
    se: float | None
    low: float | None
    high: float | None
    n: int
    units: int
    method: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference, new minus old, on units that both have.

    Attributes:
        value: Difference of the two results on the shared observations.
        se: Standard error of the paired difference; None where it cannot be known.
        low: Lower end of the 95 % interval; None where too few units exist or changed.
        high: Upper end, likewise.
        p: Two-sided sign-flip permutation p-value; valid at any size.
        mde: Smallest true difference that would be found with 80 % power, 2.8 · se.
        n: Shared observations.
        units: Independent units among them.
        changed: Units on which the two differ.
        method: `t`, `exact` (two rates, few units or changes), or `none` where no interval is given.
        note: Why there is no interval; empty if there is one.
    """

    value: float
    se: float | None
    low: float | None
    high: float | None
    p: float
    mde: float | None
    n: int
    units: int
    changed: int
    method: str
    note: str = ""


def mean(
    values: Sequence[float], *, clusters: Sequence[str] | None = None, strata: Sequence[str] | None = None
) -> Estimate:
    """Estimate a mean, or the sum of the means of strata, with its 95 % interval.

    Args:
        values: One number per observation, finite.
        clusters: Unit of each observation; without it every observation is its own.
        strata: Part of each observation; the result is then Σ_k mean_k, SE² = Σ_k var_k / n_k over units.
    Returns:
        The estimate; plain rates (0 and 1, unclustered, one stratum) get Wilson's interval, few units of them an exact
        one.
    Raises:
        ValueError: nothing to average, lengths differ, or a value is not finite.
    Source:
        Miller 2024 (arXiv:2411.00640) eq. 4, with the small-sample factor C/(C−1).
    """
    blocks = blocks_of(values, clusters, strata)
    n, units = len(values), _units(blocks)
    if strata is None and units == n and _is_rate(values):
        return rate(sum(1 for value in values if value), n)
    method = "stratified" if strata is not None else "clustered" if units < n else "clt"
    return _estimate(total(blocks), spread_of(blocks), n, units, method)


def ratio(over: Sequence[float], under: Sequence[float], *, clusters: Sequence[str] | None = None) -> Estimate:
    """Estimate Σ over / Σ under, such as F1 or a score relative to a reference, with its 95 % interval.

    The error is that of the linearised ratio, Σ (over_i − R · under_i) / Σ under, by units.

    Args:
        over: Numerator of each observation.
        under: Denominator of each observation; their sum must not be 0.
        clusters: Unit of each observation, as in `mean`.
    Raises:
        ValueError: nothing to divide, lengths differ, the denominators sum to 0, or a value is not finite.
    Source:
        Cochran 1977, section 6.5, with the small-sample factor C/(C−1) over clusters.
    """
    value, blocks = _linear(over, under, clusters)
    return _estimate(value, spread_of(blocks), len(over), _units(blocks), "ratio")


def rate(successes: int, n: int) -> Estimate:
    """Estimate a plain rate: Wilson's score interval, and Clopper and Pearson's exact one below `FEW_UNITS` trials.

    Args:
        successes: Between 0 and n.
        n: Independent trials, at least 1.
    Raises:
        ValueError: the counts are no counts.
    Source:
        Wilson 1927; Clopper and Pearson 1934; Brown, Cai and DasGupta 2001.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is not a rate")
    share = successes / n
    few = n < FEW_UNITS
    interval = clopper_pearson(successes, n) if few else _wilson(share, n)
    # As of every other mean: SE² = var / n, var with n − 1.
    se = math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else None
    return Estimate(share, se, interval.low, interval.high, n, n, "exact" if few else "wilson")


def paired(
    new: Sequence[float],
    old: Sequence[float],
    *,
    clusters: Sequence[str] | None = None,
    strata: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
) -> Difference:
    """Compare two models on the same observations.

    The interval is Student's t on the differences of units, within strata where strata are summed, with Welch and
    Satterthwaite's degrees of freedom, so that strata of 20 images do not look more certain than they are.

    Args:
        new: Values of the model in question, one per observation.
        old: Values of the model it is compared with, in the same order.
        clusters: Unit of each observation, as in `mean`.
        strata: Part of each observation, as in `mean`.
        resamples: Draws of the sign-flip test where it cannot be counted out.
    Returns:
        new − old. Plain rates with too few units or changes for a standard error get an exact interval.
    Raises:
        ValueError: nothing to compare, lengths differ, or a value is not finite.
    Source:
        Miller 2024 (arXiv:2411.00640) on paired differences; Fisher 1935 on sign flips.
    """
    if len(new) != len(old):
        raise ValueError(f"{len(new)} values cannot be paired with {len(old)}")
    changes = np.asarray(new, np.float64) - np.asarray(old, np.float64)
    blocks = blocks_of(changes, clusters, strata)
    found = _difference(total(blocks), blocks, sign_flip(blocks, resamples), len(changes))
    if found.low is not None or strata is not None or found.units < found.n or not (_is_rate(new) and _is_rate(old)):
        return found
    low, high = _exact_difference(new, old)
    return replace(found, low=low, high=high, method="exact", note="")


def paired_ratio(
    new: tuple[Sequence[float], Sequence[float]],
    old: tuple[Sequence[float], Sequence[float]],
    *,
    clusters: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
) -> Difference:
    """Compare two models' ratios Σ over / Σ under on the same observations, such as their F1.

    Args:
        new: Numerators and denominators of the model in question, one each per observation.
        old: The same of the model it is compared with, in the same order.
        clusters: Unit of each observation, as in `mean`.
        resamples: As in `paired`.
    Returns:
        Ratio of `new` minus ratio of `old`.
    Raises:
        ValueError: as in `ratio`.
    """
    if len(new[0]) != len(old[0]):
        raise ValueError(f"{len(new[0])} values cannot be paired with {len(old[0])}")
    first, second = _linearised(*new), _linearised(*old)
    (over_new, under_new), (over_old, under_old) = (map(np.asarray, side) for side in (new, old))
    # Under the hypothesis that nothing changed there is one ratio: flips exchange the deviations from that one.
    whole = under_new.sum() + under_old.sum()
    common = (over_new.sum() + over_old.sum()) / whole
    flips = ((over_new - over_old) - common * (under_new - under_old)) / (whole / (2 * len(over_new)))
    p = sign_flip(blocks_of(flips, clusters, None), resamples)
    blocks = blocks_of(first.parts - second.parts, clusters, None)
    differs = np.flatnonzero((over_new != over_old) | (under_new != under_old)).tolist()
    changed = len(differs) if clusters is None else len({clusters[place] for place in differs})
    return _difference(first.value - second.value, blocks, p, len(over_new), changed)


def over_seeds(new: Sequence[float], old: Sequence[float]) -> Difference:
    """Compare results of several trainings with those of as many others, paired in the order given.

    The interval of one run holds for its items; that another seed trains another model, only seeds can tell.

    Args:
        new: A result per seed, at least 2.
        old: The results they are compared with, in the same order.
    Returns:
        Mean difference with Student's t on the differences of seeds: interval and p-value hold for new seeds.
    Raises:
        ValueError: fewer than two seeds, or sides of different length.
    """
    if len(new) != len(old):
        raise ValueError(f"{len(new)} seeds cannot be paired with {len(old)}")
    if len(new) < 2:
        raise ValueError("one seed says nothing of others: give at least two of each side")
    blocks = blocks_of([a - b for a, b in zip(new, old, strict=True)], None, None)
    value, spread, n = total(blocks), spread_of(blocks), len(new)
    if spread is None or spread.se == 0:
        return Difference(value, 0.0, None, None, 1.0, None, n, n, 0, "none", "all seeds differ by the same amount")
    half = spread.se * t_quantile(spread.freedom)
    p = t_tail(value / spread.se, spread.freedom)
    return Difference(value, spread.se, value - half, value + half, p, POWER * spread.se, n, n, n, "t over seeds")


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of several questions asked at once.

    Args:
        p_values: One per question, in [0, 1].
    Returns:
        Adjusted values in the same order; compare them with the level of the whole set.
    Source:
        Holm 1979.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def _units(blocks: Sequence[Block]) -> int:
    return sum(len(block.sums) for block in blocks)


def _estimate(value: float, spread: Spread | None, n: int, units: int, method: str) -> Estimate:
    se = None if spread is None else spread.se
    note = ""
    if units < FEW_UNITS:
        note = f"too few: {units} units; an interval needs {FEW_UNITS}"
    elif se is None:
        note = "too few: a part of the benchmark has a single unit"
    elif se == 0:
        note = "all units are equal"
    if note or spread is None:
        return Estimate(value, se, None, None, n, units, method, note)
    half = spread.se * t_quantile(spread.freedom)
    return Estimate(value, se, value - half, value + half, n, units, method)


def _difference(value: float, blocks: Sequence[Block], p: float, n: int, changed: int | None = None) -> Difference:
    spread, units = spread_of(blocks), _units(blocks)
    if changed is None:
        changed = sum(int((block.sums != 0).any(axis=1).sum()) for block in blocks)
    note = ""
    if units < FEW_UNITS:
        note = f"too few: {units} units; an interval needs {FEW_UNITS}"
    elif changed < FEW_CHANGED:
        note = f"too few: {changed} units changed; an interval needs {FEW_CHANGED}"
    elif spread is None:
        note = "too few: a part of the benchmark has a single unit"
    elif spread.se == 0:
        note = "all units changed by the same amount"
    if spread is None:
        return Difference(value, None, None, None, p, None, n, units, changed, "none", note)
    mde = POWER * spread.se or None
    if note:
        return Difference(value, spread.se, None, None, p, mde, n, units, changed, "none", note)
    half = spread.se * t_quantile(spread.freedom)
    return Difference(value, spread.se, value - half, value + half, p, mde, n, units, changed, "t")


class _Linear(NamedTuple):
    """A ratio, and its deviations by observation: their mean is 0, and its error is the ratio's."""

    value: float
    parts: Floats


def _linearised(over: Sequence[float], under: Sequence[float]) -> _Linear:
    if len(over) != len(under):
        raise ValueError(f"{len(over)} numerators cannot be divided by {len(under)} denominators")
    whole = math.fsum(under)
    if not over or whole == 0:
        raise ValueError("there is nothing to divide by")
    value, each = math.fsum(over) / whole, whole / len(under)
    return _Linear(value, (np.asarray(over, np.float64) - value * np.asarray(under, np.float64)) / each)


def _linear(over: Sequence[float], under: Sequence[float], clusters: Sequence[str] | None) -> tuple[float, list[Block]]:
    found = _linearised(over, under)
    return found.value, blocks_of(found.parts, clusters, None)


def _exact_difference(new: Sequence[float], old: Sequence[float]) -> Interval:
    """Exact interval of a difference of two rates on the same trials: of gains and losses, 97.5 % each, at once."""
    gains = sum(1 for a, b in zip(new, old, strict=True) if a > b)
    losses = sum(1 for a, b in zip(new, old, strict=True) if a < b)
    up, down = clopper_pearson(gains, len(new), 0.975), clopper_pearson(losses, len(new), 0.975)
    return Interval(up.low - down.high, up.high - down.low)


def _wilson(rate: float, n: int, z: float = 1.959963984540054) -> Interval:
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return Interval(min(rate, max(0.0, centre - half)), max(rate, min(1.0, centre + half)))


def _is_rate(values: Sequence[float]) -> bool:
    return all(value in (0, 1) for value in values)
