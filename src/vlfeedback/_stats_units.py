"""Units of a benchmark that are resampled together, and what resampling them says: spread, bootstrap, sign flips."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class Block(NamedTuple):
    """Units that are resampled among themselves.

    Attributes:
        sums: Sum of the values of each unit per stratum, shape (U, S).
        sizes: Number of values of each unit per stratum, shape (U, S).
    """

    sums: Floats
    sizes: Floats


def blocks_of(values: Sequence[float], clusters: Sequence[str] | None, strata: Sequence[str] | None) -> list[Block]:
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
        return [Block(sums, sizes)]
    home = sizes.argmax(axis=1)
    return [Block(sums[home == k][:, [k]], sizes[home == k][:, [k]]) for k in range(len(column))]


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


def bootstrap(blocks: Sequence[Block], resamples: int, freedom: float) -> Interval:
    """Percentile interval, its percentiles widened as Student's t widens a normal interval.

    Units with equal sums and sizes are drawn together, which changes nothing but the time.

    Source:
        Hesterberg 2015, expanded percentile interval.
    """
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
    tail = 100 * NormalDist().cdf(-t_quantile(freedom))
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(float(low), float(high))


def sign_flip(blocks: Sequence[Block], resamples: int) -> float:
    """Two-sided p-value under random exchange of the two models per unit; exact where few distinct changes exist."""
    shares = np.concatenate([(block.sums / block.sizes.sum(axis=0)).sum(axis=1) for block in blocks])
    changes = shares[shares != 0].astype(np.float64)
    if not len(changes):
        return 1.0
    # In units of the largest change: ties must be recognised at any scale, also where changes cancel to nothing.
    changes = changes / np.abs(changes).max()
    sizes, counts = _kinds(np.abs(changes).round(12).reshape(-1, 1))
    reach = abs(float(changes.sum())) - 1e-9 * len(changes)
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
