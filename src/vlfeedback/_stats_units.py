"""Units of a benchmark that belong together, and what they say of noise: spread, sign flips, exact rates."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EXACT_SUMS = 1 << 20
"""Distinct sums up to which sign flips are counted out instead of drawn."""


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class Block(NamedTuple):
    """Units that could have been exchanged among themselves.

    Attributes:
        sums: Sum of the values of each unit per stratum, shape (U, S).
        sizes: Number of values of each unit per stratum, shape (U, S).
    """

    sums: Floats
    sizes: Floats


def blocks_of(
    values: Sequence[float] | Floats, clusters: Sequence[str] | None, strata: Sequence[str] | None
) -> list[Block]:
    """Sum the values by unit, and keep the units of different strata apart.

    A unit that lies in several strata ties these together: then all units form one block.
    """
    n = len(values)
    if n == 0:
        raise ValueError("there is nothing to average")
    if any(len(names) != n for names in (clusters, strata) if names is not None):
        raise ValueError(f"{n} values need {n} clusters and {n} strata")
    numbers = np.asarray(values, np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("a value is not finite; a reply without a verdict has no value at all")
    unit, units = _coded(clusters) if clusters is not None else (np.arange(n), n)
    part, parts = _coded(strata) if strata is not None else (np.zeros(n, np.int64), 1)
    cell = unit * parts + part
    sums = np.bincount(cell, numbers, units * parts).reshape(units, parts).astype(np.float64)
    sizes = np.bincount(cell, minlength=units * parts).reshape(units, parts).astype(np.float64)
    if ((sizes > 0).sum(axis=1) > 1).any():
        return [Block(sums, sizes)]
    home = sizes.argmax(axis=1)
    return [Block(sums[home == k][:, [k]], sizes[home == k][:, [k]]) for k in range(parts)]


class _Codes(NamedTuple):
    """Names as numbers from 0, and how many there are."""

    of: NDArray[np.int64]
    names: int


def _coded(names: Sequence[str]) -> _Codes:
    known = {name: code for code, name in enumerate(sorted(set(names)))}
    return _Codes(np.array([known[name] for name in names], np.int64), len(known))


def total(blocks: Sequence[Block]) -> float:
    """The mean, or the sum of the means of strata."""
    return float(sum((block.sums.sum(axis=0) / block.sizes.sum(axis=0)).sum() for block in blocks))


class Spread(NamedTuple):
    """Standard error of a total, and the degrees of freedom with which it is known."""

    se: float
    freedom: float


def spread_of(blocks: Sequence[Block]) -> Spread | None:
    """√Σ u_c², u_c = Σ_k Σ_{i in c} (x_i − mean_k) / n_k, each block with its factor C/(C−1); None for a single unit.

    Degrees of freedom are Welch and Satterthwaite's: where a stratum of 20 pictures carries most of the variance, the
    other thousand pictures do not make it better known (simulated on four strata of 20 to 170 pictures, 40,000 times:
    intervals of a total held the truth in 94.6 % of the cases with all units counted, in 95.0 % with these).
    """
    variance = shares_of = 0.0
    for block in blocks:
        count, n = len(block.sums), block.sizes.sum(axis=0)
        if count < 2:
            return None
        shares = ((block.sums - block.sizes * (block.sums.sum(axis=0) / n)) / n).sum(axis=1)
        part = float((shares**2).sum()) * count / (count - 1)
        variance += part
        shares_of += part**2 / (count - 1)
    # Equal values leave rounding behind, which must not look like variation.
    scale = max(float(np.abs(block.sums).max()) for block in blocks) or 1.0
    if variance < (1e-12 * scale) ** 2:
        return Spread(0.0, 1.0)
    return Spread(math.sqrt(variance), variance**2 / shares_of)


def sign_flip(blocks: Sequence[Block], resamples: int) -> float:
    """Two-sided p-value under random exchange of the two models per unit; exact where few distinct changes exist.

    Units are flipped whole, so that the questions on one picture stay together; strata weigh as in the total.
    """
    # Imported here: at the top it would take half of the command line's start-up time.
    from scipy.special import gammaln  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    shares = np.concatenate([(block.sums / block.sizes.sum(axis=0)).sum(axis=1) for block in blocks])
    changes = shares[shares != 0].astype(np.float64)
    if not len(changes):
        return 1.0
    # In units of the largest change: ties must be recognised at any scale, also where changes cancel to nothing.
    changes = changes / np.abs(changes).max()
    sizes, counts = _kinds(np.abs(changes).round(12).reshape(-1, 1))
    reach = abs(float(changes.sum())) - 1e-9 * len(changes)
    if math.prod(int(count) + 1 for count in counts) <= EXACT_SUMS:
        sums, weights = np.zeros(1), np.ones(1)
        for size, count in zip(sizes[:, 0].tolist(), counts.tolist(), strict=True):
            heads: Floats = np.arange(count + 1, dtype=np.float64)
            steps = size * (2 * heads - count)
            # By logarithms: the binomial coefficients of some thousand changes are numbers of a thousand digits.
            chances = np.exp(gammaln(count + 1) - gammaln(heads + 1) - gammaln(count - heads + 1) - count * math.log(2))
            sums, weights = np.add.outer(sums, steps).ravel(), np.multiply.outer(weights, chances).ravel()
        return min(1.0, float(weights[np.abs(sums) >= reach].sum()))
    generator = _generator(blocks)
    sums = np.zeros(resamples)
    for size, count in zip(sizes[:, 0], counts, strict=True):
        sums += size * (2 * generator.binomial(int(count), 0.5, size=resamples) - count)
    return float((1 + (np.abs(sums) >= reach).sum()) / (1 + resamples))


class _Kinds(NamedTuple):
    """Distinct rows in sorted order, and how often each occurs."""

    rows: Floats
    counts: NDArray[np.int64]


def _kinds(rows: Floats) -> _Kinds:
    kept, counts = np.unique(rows, axis=0, return_counts=True) if len(rows) else (rows, np.zeros(0, np.int64))
    return _Kinds(kept, counts.astype(np.int64))


def _generator(blocks: Sequence[Block]) -> np.random.Generator:
    """A generator seeded with the data, whatever their order."""
    digest = hashlib.sha256()
    for block in blocks:
        kinds = _kinds(np.hstack([block.sums, block.sizes]))
        digest.update(kinds.rows.tobytes() + kinds.counts.tobytes())
    return np.random.default_rng(int.from_bytes(digest.digest()[:16], "big"))


def t_quantile(freedom: float) -> float:
    """97.5 % point of Student's t."""
    # Imported here: at the top it would take half of the command line's start-up time.
    from scipy.special import stdtrit  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    return float(stdtrit(max(1.0, freedom), 0.975))


def t_tail(t: float, freedom: float) -> float:
    """Two-sided p-value of a Student's t."""
    from scipy.special import stdtr  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    return min(1.0, 2 * float(stdtr(max(1.0, freedom), -abs(t))))


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Exact interval of a rate: it holds the truth at least as often as it says, at any size.

    Source:
        Clopper and Pearson 1934.
    """
    from scipy.special import betaincinv  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    tail, failures = (1 - level) / 2, n - successes
    low = 0.0 if successes == 0 else float(betaincinv(successes, failures + 1, tail))
    high = 1.0 if failures == 0 else float(betaincinv(successes + 1, failures, 1 - tail))
    return Interval(low, high)
