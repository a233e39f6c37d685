"""How much of a number is noise: intervals of one result, and paired differences of two.

A *unit* is what could have been drawn differently: an image with its questions, a question, a caption. Observations
that share a unit (`clusters`) are not independent. Where a result is a sum over parts of a benchmark (`strata`, such as
MME's subtasks), it is the sum of the parts' means and every part is resampled on its own. Everything here is a function
of its arguments: random draws come from a generator that is seeded with the data, in whatever order they arrive.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FEW_UNITS = 30
"""Below this many independent units a normal or bootstrap interval is not worth its name."""

FEW_CHANGED = 10
"""Below this many units that differ between two models the bootstrap of the difference has too few distinct results."""

RESAMPLES = 10_000
POWER = 2.8
"""1.96 + 0.84: a true difference of that many standard errors is found in 80 % of repetitions at the 5 % level."""

Floats = NDArray[np.float64]


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


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class _Block(NamedTuple):
    """Units that are resampled among themselves.

    Attributes:
        sums: Sum of the values of each unit per stratum, shape (U, S).
        sizes: Number of values of each unit per stratum, shape (U, S).
    """

    sums: Floats
    sizes: Floats


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
    blocks = _blocks(values, clusters, strata)
    n, units = len(values), sum(len(block.sums) for block in blocks)
    if strata is None and units == n and _is_rate(values):
        return wilson(sum(1 for value in values if value), n)
    value, se = _total(blocks), _standard_error(blocks)
    method = "stratified" if strata is not None else "clustered" if units < n else "clt"
    note = ""
    if units < FEW_UNITS:
        note = f"{units} units; an interval needs {FEW_UNITS}"
    elif se is None:
        note = "a part of the benchmark has a single unit"
    elif se == 0:
        note = "all units are equal"
    if note or se is None:
        return Estimate(value, se, None, None, n, units, method, note)
    half = se * _t_quantile(units - len(blocks))
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
    Deviations are stretched by √(C/(C−1)), so that strata of 20 images do not look more certain than they are.

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
        Miller 2024 (arXiv:2411.00640) section 4.2; Newcombe 1998, method 10.
    """
    if len(new) != len(old):
        raise ValueError(f"{len(new)} values cannot be paired with {len(old)}")
    changes = [float(a) - float(b) for a, b in zip(new, old, strict=True)]
    blocks = _blocks(changes, clusters, strata)
    value, se = _total(blocks), _standard_error(blocks)
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
    if not note:
        interval, method = _bootstrap(blocks, resamples), "bootstrap"
    elif strata is None and units == n and _is_rate(new) and _is_rate(old):
        interval, method, note = _newcombe(new, old), "newcombe", ""
    low, high = interval if interval else (None, None)
    mde = None if se is None else POWER * se
    return Difference(value, se, low, high, _sign_flip(blocks, resamples), mde, n, units, changed, method, note)


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


def _blocks(values: Sequence[float], clusters: Sequence[str] | None, strata: Sequence[str] | None) -> list[_Block]:
    """Sum the values by unit, and keep units apart that are resampled apart.

    A unit that lies in several strata ties these together: then all units form one block.
    """
    n = len(values)
    if n == 0:
        raise ValueError("there is nothing to average")
    if any(len(names) != n for names in (clusters, strata) if names is not None):
        raise ValueError(f"{n} values need {n} clusters and {n} strata")
    if not all(math.isfinite(value) for value in values):
        raise ValueError("a value is not finite; a reply without a verdict has no value at all")
    parts = list(strata) if strata is not None else [""] * n
    units = [("", name) for name in clusters] if clusters is not None else [(str(i), "") for i in range(n)]
    column = {name: index for index, name in enumerate(sorted(set(parts)))}
    rows: dict[tuple[str, str], tuple[Floats, Floats]] = {}
    for value, unit, part in zip(values, units, parts, strict=True):
        sums, sizes = rows.setdefault(unit, (np.zeros(len(column)), np.zeros(len(column))))
        sums[column[part]] += value
        sizes[column[part]] += 1
    sums, sizes = np.array([row[0] for row in rows.values()]), np.array([row[1] for row in rows.values()])
    if ((sizes > 0).sum(axis=1) > 1).any():
        return [_Block(sums, sizes)]
    home = sizes.argmax(axis=1)
    return [_Block(sums[home == k][:, [k]], sizes[home == k][:, [k]]) for k in range(len(column))]


def _total(blocks: Sequence[_Block]) -> float:
    return float(sum((block.sums.sum(axis=0) / block.sizes.sum(axis=0)).sum() for block in blocks))


def _standard_error(blocks: Sequence[_Block]) -> float | None:
    """√Σ u_c², u_c = Σ_k Σ_{i in c} (x_i − mean_k) / n_k, each block with its factor C/(C−1)."""
    variance = 0.0
    for block in blocks:
        count, n = len(block.sums), block.sizes.sum(axis=0)
        if count < 2:
            return None
        shares = ((block.sums - block.sizes * (block.sums.sum(axis=0) / n)) / n).sum(axis=1)
        variance += float((shares**2).sum()) * count / (count - 1)
    # Equal values leave rounding behind, which must not look like variation.
    scale = max(float(np.abs(block.sums).max()) for block in blocks) or 1.0
    return 0.0 if variance < (1e-12 * scale) ** 2 else math.sqrt(variance)


def _bootstrap(blocks: Sequence[_Block], resamples: int) -> Interval:
    """Percentile interval; units with equal sums and sizes are drawn together, which changes nothing but the time."""
    generator = _generator(blocks)
    draws = np.zeros(resamples)
    for block in blocks:
        kinds, counts = _kinds(np.hstack([block.sums, block.sizes]))
        width, units = block.sums.shape[1], len(block.sums)
        picks = generator.multinomial(units, counts / counts.sum(), size=resamples).astype(np.float64)
        sums, sizes = picks @ kinds[:, :width], picks @ kinds[:, width:]
        value = (block.sums.sum(axis=0) / block.sizes.sum(axis=0)).sum()
        drawn = np.divide(sums, sizes, out=np.zeros_like(sums), where=sizes > 0).sum(axis=1)
        draws += value + (drawn - value) * math.sqrt(units / (units - 1))
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(float(low), float(high))


def _sign_flip(blocks: Sequence[_Block], resamples: int) -> float:
    """Two-sided p-value under random exchange of the two models per unit; exact where few distinct changes exist."""
    shares = np.concatenate([(block.sums / block.sizes.sum(axis=0)).sum(axis=1) for block in blocks])
    total = abs(float(shares.sum()))
    moved = np.abs(shares[shares != 0]).astype(np.float64).round(15)
    sizes, counts = _kinds(moved.reshape(-1, 1))
    if not len(sizes):
        return 1.0
    reach = total * (1 - 1e-9) - 1e-15
    if math.prod(int(count) + 1 for count in counts) <= 100_000:
        sums, weights = np.zeros(1), np.ones(1)
        for size, count in zip(sizes[:, 0].tolist(), counts.tolist(), strict=True):
            steps = np.array([size * (2 * heads - count) for heads in range(count + 1)])
            chances = np.array([math.comb(count, heads) / 2**count for heads in range(count + 1)])
            sums, weights = np.add.outer(sums, steps).ravel(), np.multiply.outer(weights, chances).ravel()
        return min(1.0, float(weights[np.abs(sums) >= reach].sum()))
    generator = _generator(blocks)
    sums = np.zeros(resamples)
    for size, count in zip(sizes[:, 0], counts, strict=True):
        sums += size * (2 * generator.binomial(int(count), 0.5, size=resamples) - count)
    return float((1 + (np.abs(sums) >= reach).sum()) / (1 + resamples))


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


class _Kinds(NamedTuple):
    """Distinct rows in sorted order, and how often each occurs."""

    rows: Floats
    counts: NDArray[np.int64]


def _kinds(rows: Floats) -> _Kinds:
    kept, counts = np.unique(rows, axis=0, return_counts=True) if len(rows) else (rows, np.zeros(0, np.int64))
    return _Kinds(kept, counts.astype(np.int64))


def _generator(blocks: Sequence[_Block]) -> np.random.Generator:
    """A generator seeded with the data, whatever their order."""
    digest = hashlib.sha256()
    for block in blocks:
        kinds = _kinds(np.hstack([block.sums, block.sizes]))
        digest.update(kinds.rows.tobytes() + kinds.counts.tobytes())
    return np.random.default_rng(int.from_bytes(digest.digest()[:16], "big"))


def _is_rate(values: Sequence[float]) -> bool:
    return all(value in (0, 1) for value in values)


def _t_quantile(freedom: int) -> float:
    """97.5 % point of Student's t."""
    # Imported here: at the top it would take half of the command line's start-up time.
    from scipy.special import stdtrit  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    return float(stdtrit(max(1, freedom), 0.975))
