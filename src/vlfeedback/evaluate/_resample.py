"""Noise of figures that are no means (F1, ratios of means): units are drawn again and the figure is recomputed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Figure = Callable[[Floats], Floats]

DRAWS = 10_000
FEW_UNITS = 30
"""Below this many units no interval is given, as in `stats`."""


class Noise(NamedTuple):
    """Standard error and 95 % percentile interval of a figure; None where there are too few units."""

    se: float | None
    low: float | None
    high: float | None


def noise(counts: Mapping[str, Sequence[float]], figure: Figure, *, draws: int = DRAWS) -> Noise:
    """Bootstrap a figure that is a function of sums over units.

    Deviations are stretched by √(U/(U−1)); units with equal counts are drawn together, which changes only the time.
    Draws come from a generator seeded with the data, in whatever order they arrive.

    Args:
        counts: What each unit adds to the sums, by unit; all of one length.
        figure: From sums, shape (D, K), to values, shape (D,); may give NaN where it is undefined.
        draws: Number of resamples.
    Returns:
        None for what cannot be known: one unit, an undefined figure, an interval of fewer than 30 units.
    Source:
        Efron and Tibshirani 1993; clusters as units, Miller 2024 (arXiv:2411.00640).
    """
    units = len(counts)
    if units < 2:
        return Noise(None, None, None)
    kinds, times = np.unique(np.array(list(counts.values()), dtype=np.float64), axis=0, return_counts=True)
    value = float(figure((kinds * times[:, None]).sum(axis=0, keepdims=True))[0])
    if not math.isfinite(value):
        return Noise(None, None, None)
    seed = hashlib.sha256(kinds.tobytes() + times.astype(np.int64).tobytes()).digest()
    generator = np.random.default_rng(int.from_bytes(seed[:16], "big"))
    picks = generator.multinomial(units, times / times.sum(), size=draws).astype(np.float64)
    drawn = figure(picks @ kinds)
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < draws / 2:
        return Noise(None, None, None)
    drawn = value + (drawn - value) * math.sqrt(units / (units - 1))
    se = float(drawn.std())
    if units < FEW_UNITS:
        return Noise(se, None, None)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Noise(se, float(low), float(high))


def ratio(sums: Floats) -> Floats:
    """First sum by second."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums[:, 0] / sums[:, 1], dtype=np.float64)
