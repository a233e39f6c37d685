"""Benchmarks to simulate: what two models that are alike answer, drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Pair(NamedTuple):
    """Values of two models for units: shape (units, questions of a unit)."""

    old: Floats
    new: Floats


class Setting(NamedTuple):
    """How two models are related: the share of answers given anew by the second, and how much better those are."""

    anew: float
    gain: float


Draw = Callable[[np.random.Generator, int, int, Setting], Pair]
"""(generator, stratum, units, setting) → values."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark to simulate.

    Attributes:
        sizes: Units per stratum; several are summed.
        draw: Units of a stratum.
        f1: Whether values are pairs (said yes, is yes) as 2 · said + is, and the result is F1 instead of a mean.
    """

    name: str
    sizes: tuple[int, ...]
    draw: Draw
    f1: bool = False


# ── what models answer ──────────────────────────────────────────────────────────────────────────────────────────────


def again(rng: np.random.Generator, old: Floats, new: Floats, anew: float) -> Floats:
    """The second model's values: another draw for a share of the answers, else just what the first said."""
    return np.where(rng.random(old.shape) < anew, new, old)


def mme(accuracy: tuple[float, ...]) -> Draw:
    """Points of a picture with two questions, a yes and a no: three in five pictures are easy."""

    def draw(rng: np.random.Generator, stratum: int, units: int, setting: Setting) -> Pair:
        hard = max(0.05, (accuracy[stratum] - 0.6 * 0.99) / 0.4)
        chance = np.where(rng.random((units, 1)) < 0.6, 0.99, hard)
        lean = rng.normal(0, 0.15, (units, 1))  # towards yes: one question gains what the other loses
        chances = np.clip(np.hstack([chance + lean, chance - lean]), 0.01, 0.99)
        old = (rng.random((units, 2)) < chances).astype(np.float64)
        better = (rng.random((units, 2)) < np.minimum(chances + setting.gain, 1)).astype(np.float64)
        new = again(rng, old, better, setting.anew)
        return Pair(*(50 * right.sum(1, keepdims=True) + 100 * right.all(1, keepdims=True) for right in (old, new)))

    return draw


def mm_vet(rng: np.random.Generator, stratum: int, units: int, setting: Setting) -> Pair:
    """Grades in steps of a tenth, most of them 0 or 1."""
    quality = rng.normal(0, 1.2, (units, 1))

    def grade(gain: float) -> Floats:
        return np.clip(np.round(5 * (quality + gain + rng.normal(0, 0.9, (units, 1)) + 1)) / 10, 0, 1)

    old = grade(0)
    return Pair(old, again(rng, old, grade(setting.gain), setting.anew))


def mmhal(rng: np.random.Generator, stratum: int, units: int, setting: Setting) -> Pair:
    """Ratings 0 to 6, as judges give them: seldom 1 and 5."""
    scale = np.array([0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 6, 6], dtype=np.float64)
    quality = rng.normal(0, 0.8, (units, 1))

    def rating(gain: float) -> Floats:
        place = np.round(5.5 + 3.5 * (quality + gain + rng.normal(0, 0.8, (units, 1))))
        return scale[np.clip(place, 0, len(scale) - 1).astype(int)]

    old = rating(0)
    return Pair(old, again(rng, old, rating(setting.gain), setting.anew))


def hallucinated(rng: np.random.Generator, stratum: int, units: int, setting: Setting) -> Pair:
    """Whether a rating is below 3."""
    return Pair(*((side < 3).astype(np.float64) for side in mmhal(rng, stratum, units, setting)))


def pope(questions: int, accuracy: bool) -> Draw:
    """Questions on one picture, half of them yes; a picture has a difficulty and makes a model lean towards yes.

    With 18 questions, three splits are pooled: their nine yes-questions are the same three, asked three times.
    """

    def draw(rng: np.random.Generator, stratum: int, units: int, setting: Setting) -> Pair:
        truth = np.tile([1.0, 0.0], (units, questions // 2))
        ease, lean = rng.normal(2.0, 0.9, (units, 1)), rng.normal(0.3, 0.9, (units, 1))
        own = rng.normal(0, 0.8, truth.shape)

        def said(gain: float) -> Floats:
            chance = 1 / (1 + np.exp(-(ease + gain + own + lean * (2 * truth - 1))))
            return np.where(rng.random(truth.shape) < chance, truth, 1 - truth)

        old, new = said(0), said(setting.gain)
        if questions == 18:
            for side in (old, new):
                side[:, ::2] = np.tile(side[:, ::2][:, :3], (1, 3))
        fresh = rng.random(truth.shape) < setting.anew
        if questions == 18:
            fresh[:, ::2] = np.tile(fresh[:, ::2][:, :3], (1, 3))
        new = np.where(fresh, new, old)
        if accuracy:
            return Pair((old == truth) * 1.0, (new == truth) * 1.0)
        return Pair(2 * old + truth, 2 * new + truth)

    return draw


PERCEPTION = (0.97, 0.8, 0.65, 0.9, 0.85, 0.75, 0.9, 0.9, 0.8, 0.75)
COGNITION = (0.8, 0.65, 0.75, 0.7)
BENCHMARKS = (
    Benchmark("MME perception", (30, 30, 30, 30, 147, 170, 200, 200, 200, 20), mme(PERCEPTION)),
    Benchmark("MME cognition", (70, 20, 20, 20), mme(COGNITION)),
    Benchmark("MM-Vet total", (218,), mm_vet),
    Benchmark("MMHal average", (96,), mmhal),
    Benchmark("MMHal hallucination rate", (96,), hallucinated),
    Benchmark("POPE accuracy", (500,), pope(6, accuracy=True)),
    Benchmark("POPE F1", (500,), pope(6, accuracy=False), f1=True),
    Benchmark("POPE F1, three splits pooled", (500,), pope(18, accuracy=False), f1=True),
)
