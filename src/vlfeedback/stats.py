"""How much of a number is noise: intervals of one result, and paired differences of two.

A *unit* is what could have been drawn differently: an image with its questions, a question, a caption. Observations
that share a unit (`clusters`) are not independent. Where a result is a sum over parts of a benchmark (`strata`, such as
MME's subtasks), it is the sum of the parts' means and every part is resampled on its own. Everything here is a function
of its arguments: random draws come from a generator that is seeded with the data, in whatever order they arrive.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vlfeedback._stats_units import Interval, blocks_of, bootstrap, sign_flip, spread_of, t_quantile, total

FEW_UNITS = 30
"""Below this many independent units a normal or bootstrap interval is not worth its name."""

FEW_CHANGED = 10
"""Below this many units that differ between two models the bootstrap of the difference has too few distinct results."""

RESAMPLES = 10_000
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
        method: `clt`, `clustered`, `stratified` or `wilson`.
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
        method: `bootstrap`, `newcombe`, or `none` where no interval is given.
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
        The estimate; plain rates (0 and 1, unclustered, one stratum) get Wilson's interval, which holds at any size.
    Raises:
        ValueError: nothing to average, lengths differ, or a value is not finite.
    Source:
        Miller 2024 (arXiv:2411.00640) eq. 4, with the small-sample factor C/(C−1).
    """
    blocks = blocks_of(values, clusters, strata)
    n, units = len(values), sum(len(block.sums) for block in blocks)
    if strata is None and units == n and _is_rate(values):
        return wilson(sum(1 for value in values if value), n)
    value, spread = total(blocks), spread_of(blocks)
    se = None if spread is None else spread.se
    method = "stratified" if strata is not None else "clustered" if units < n else "clt"
    note = ""
    if units < FEW_UNITS:
        note = f"{units} units; an interval needs {FEW_UNITS}"
    elif se is None:
        note = "a part of the benchmark has a single unit"
    elif se == 0:
        note = "all units are equal"
    if note or spread is None:
        return Estimate(value, se, None, None, n, units, method, note)
    half = spread.se * t_quantile(spread.freedom)
    return Estimate(value, se, value - half, value + half, n, units, method)


def wilson(successes: int, n: int) -> Estimate:
    """Estimate a plain rate with Wilson's score interval, which holds at any size and never leaves [0, 1].

    Args:
        successes: Between 0 and n.
        n: Independent trials, at least 1.
    Raises:
        ValueError: the counts are no counts.
    Source:
        Wilson 1927; Brown, Cai and DasGupta 2001.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is not a rate")
    rate = successes / n
    interval = _wilson(rate, n)
    return Estimate(rate, math.sqrt(rate * (1 - rate) / n), interval.low, interval.high, n, n, "wilson")


def paired(
    new: Sequence[float],
    old: Sequence[float],
    *,
    clusters: Sequence[str] | None = None,
    strata: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
) -> Difference:
    """Compare two models on the same observations.

    The bootstrap draws units, within strata where strata are summed, the same for both models, and takes percentiles.
    Deviations are stretched by √(C/(C−1)) and percentiles widened for the degrees of freedom, so that strata of 20
    images do not look more certain than they are.

    Args:
        new: Values of the model in question, one per observation.
        old: Values of the model it is compared with, in the same order.
        clusters: Unit of each observation, as in `mean`.
        strata: Part of each observation, as in `mean`.
        resamples: Bootstrap draws.
    Returns:
        new − old. Plain rates with too few units or changes for a bootstrap get Newcombe's score interval.
    Raises:
        ValueError: nothing to compare, lengths differ, or a value is not finite.
    Source:
        Miller 2024 (arXiv:2411.00640) on paired differences; Newcombe 1998, method 10; Hesterberg 2015.
    """
    if len(new) != len(old):
        raise ValueError(f"{len(new)} values cannot be paired with {len(old)}")
    changes = [float(a) - float(b) for a, b in zip(new, old, strict=True)]
    blocks = blocks_of(changes, clusters, strata)
    value, spread = total(blocks), spread_of(blocks)
    se = None if spread is None else spread.se
    n, units = len(changes), sum(len(block.sums) for block in blocks)
    changed = sum(int((block.sums != 0).any(axis=1).sum()) for block in blocks)
    note = ""
    if units < FEW_UNITS:
        note = f"{units} units; an interval needs {FEW_UNITS}"
    elif changed < FEW_CHANGED:
        note = f"{changed} units changed; an interval needs {FEW_CHANGED}"
    elif se is None:
        note = "a part of the benchmark has a single unit"
    interval, method = None, "none"
    if not note and spread is not None:
        interval, method = bootstrap(blocks, resamples, spread.freedom), "bootstrap"
    elif strata is None and units == n and _is_rate(new) and _is_rate(old):
        interval, method, note = _newcombe(new, old), "newcombe", ""
    low, high = interval if interval else (None, None)
    mde = None if se is None else POWER * se
    return Difference(value, se, low, high, sign_flip(blocks, resamples), mde, n, units, changed, method, note)


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


def _newcombe(new: Sequence[float], old: Sequence[float]) -> Interval:
    """Score interval of a difference of two rates on the same trials."""
    n = len(new)
    table = Counter((bool(x), bool(y)) for x, y in zip(new, old, strict=True))
    both, only_new = table[True, True], table[True, False]
    only_old, neither = table[False, True], table[False, False]
    first, second = (both + only_new) / n, (both + only_old) / n
    one, two = _wilson(first, n), _wilson(second, n)
    margins = (both + only_new) * (only_old + neither) * (both + only_old) * (only_new + neither)
    product = both * neither - only_new * only_old
    # Newcombe's continuity correction keeps a positive correlation from being overrated in small tables.
    correlation = 0.0 if margins == 0 else (max(product - n / 2, 0.0) if product > 0 else product) / math.sqrt(margins)
    down_new, down_old = first - one.low, second - two.low
    up_new, up_old = one.high - first, two.high - second
    difference = first - second
    below = math.sqrt(max(0.0, down_new**2 - 2 * correlation * down_new * up_old + up_old**2))
    above = math.sqrt(max(0.0, up_new**2 - 2 * correlation * up_new * down_old + down_old**2))
    return Interval(max(-1.0, difference - below), min(1.0, difference + above))


def _wilson(rate: float, n: int, z: float = 1.959963984540054) -> Interval:
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return Interval(min(rate, max(0.0, centre - half)), max(rate, min(1.0, centre + half)))


def _is_rate(values: Sequence[float]) -> bool:
    return all(value in (0, 1) for value in values)
