"""Sums and roundings as the official scripts do them: to the last digit, on every version of Python."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def added(values: Iterable[float]) -> float:
    """A sum from left to right; from Python 3.12 on, `sum` corrects itself and gives other last digits."""
    total = 0.0
    for value in values:
        total += value
    return total


def rounded(value: float, digits: int) -> float:
    """A number as numpy rounds it and MM-Vet prints it: 49.45 is 49.4, where formatting gives 49.5."""
    return float(np.round(value, digits))
