"""Mend a plan whose models or pairs of models came up less evenly than they should.

Only models without a share are touched, and of an instruction only the slot that it would give to a new model, its last
by hash; it goes to the model that would have been next. So a new model still changes one slot of an instruction: with
it the last two are one place further on, and what was mended lets one of them in for the other. Every second
instruction is a candidate in pools of an even number and the others in pools of an odd one, so that none is mended with
and without a new model. Candidates are those with the smallest hashes, so that a larger set mends nearly the same ones.
At 80,000 instructions none to 0.3 % are mended: of 12 models for 4 slots usually none, of 12 for 2 or 20 for 4 0.2 %.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

UNKIND = 0.02
"""A plan is mended where the χ² of its models or of its pairs has a p-value below this; `KIND` is the aim then."""
KIND = 0.05
BOUNDED = 20_000
"""From so many instructions on the bounds are kept too; below, chance alone is wider than they are."""
MODELS, PAIRS = 0.018, 0.036
"""Largest relative deviation of a model and of a pair at `AT` instructions; with fewer as much wider as chance is."""
AT = 80_000
MOST = 0.003
"""Share of the instructions that may be mended: a new model shall not change many plans."""
MOST_OF_ROOT = 0.5
"""Of few instructions that many times their root, because chance is as wide as that; and `FEW`."""
FEW = 4
CANDIDATES = 20_000
TURNS = 30
"""Of fewer instructions all are candidates: half of them would be too few to mend with."""

Array = np.ndarray[Any, Any]


class _Pull(NamedTuple):
    """How much less even the plan gets by one more of each model, shape (F,), and of each pair, shape (F, F)."""

    models: Array
    pairs: Array


class _Counts(NamedTuple):
    """Deviations from the mean of models, shape (F,), and of pairs, shape (F, F) with a zero diagonal; the means."""

    models: Array
    pairs: Array
    model_mean: float
    pair_mean: float
    instructions: int


def mended(
    ids: Sequence[str],
    drawn: Sequence[tuple[int, ...]],
    spares: Sequence[int | None],
    free: Sequence[int],
    *,
    salt: str = "",
    pool: int = 0,
) -> list[tuple[int, ...]]:
    """Change as few slots as it takes, at most one of an instruction.

    Args:
        ids: Of the instructions.
        drawn: Their draws: indices of models in the order of hashes.
        spares: The model that each would ask next, without a share; None where all are asked.
        free: Indices of the models that share the rest evenly, at least 2.
        salt: Names the pool, so that with another model other instructions are mended.
        pool: Number of models in it, with a share or without.
    Returns:
        The draws, in the same order; a new model stands where the one before it stood.
    """
    result = list(drawn)
    if not result:
        return result
    place = {model: column for column, model in enumerate(free)}
    among = np.zeros((len(result), len(free)))
    last = np.full(len(result), -1)
    spare = np.array([-1 if model is None else place[model] for model in spares])
    for row, chosen in enumerate(result):
        columns = [place[model] for model in chosen if model in place]
        among[row, columns] = 1
        last[row] = columns[-1] if columns else -1
    rows = np.array([row for row in _candidates(ids, salt, pool) if last[row] >= 0 and spare[row] >= 0], dtype=int)
    together = among.T @ among
    left = FEW + int(max(MOST * len(result), MOST_OF_ROOT * len(result) ** 0.5))
    step = max(1, left // 40)
    for aim in (_kindness, _bounds):
        begun = False
        while left and len(rows):
            pull = aim(_deviations(together, len(result)), begun)
            if pull is None:
                break
            begun = True
            swaps = _best(pull, among[rows], last[rows], spare[rows], min(step, left))
            if not swaps:
                break
            for candidate in swaps:
                row = int(rows[candidate])
                old, new = int(last[row]), int(spare[row])
                together -= np.outer(among[row], among[row])
                among[row, old], among[row, new] = 0, 1
                together += np.outer(among[row], among[row])
                result[row] = tuple(free[new] if model == free[old] else model for model in result[row])
            rows = np.delete(rows, swaps)
            left -= len(swaps)
    return result


def _candidates(ids: Sequence[str], salt: str, pool: int) -> list[int]:
    """Rows that may be mended in a pool of that size, in the order in which they are looked at."""

    def hashed(text: str) -> bytes:
        return hashlib.sha256(text.encode()).digest()

    few = len(ids) < TURNS
    mine = [row for row, one in enumerate(ids) if few or hashed(f"turn\n{one}")[0] % 2 == pool % 2]
    return sorted(mine, key=lambda row: hashed(f"mend\n{ids[row]}\n{salt}"))[:CANDIDATES]


def _deviations(together: Array, instructions: int) -> _Counts:
    models = np.diag(together)
    free = len(models)
    pair_mean = (together.sum() - models.sum()) / (free * (free - 1))
    pairs = together - pair_mean
    np.fill_diagonal(pairs, 0)
    return _Counts(models - models.mean(), pairs, float(models.mean()), float(pair_mean), instructions)


def _kindness(counts: _Counts, begun: bool) -> _Pull | None:
    """Away from what a χ² test would reject; None where neither test does."""
    from scipy.special import chdtrc  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    free = len(counts.models)
    pairs = free * (free - 1) / 2
    filled = counts.model_mean / counts.instructions  # a model is asked at most once: its count varies less for that
    model_term = (counts.models**2).sum() / counts.model_mean * (free - 1) / free / (1 - filled)
    pair_term = (counts.pairs**2).sum() / 2 / counts.pair_mean if counts.pair_mean > 0 else 0.0
    # scipy.stats has a nicer name for it, and takes half a second to load
    worst = min(float(chdtrc(free - 1, model_term)), float(chdtrc(pairs - 1, pair_term)) if pairs > 1 else 1.0)
    if worst >= (KIND if begun else UNKIND):
        return None
    by_pair = counts.pairs / counts.pair_mean if counts.pair_mean > 0 else counts.pairs * 0
    return _Pull(counts.models / counts.model_mean, by_pair)


def _bounds(counts: _Counts, begun: bool) -> _Pull | None:
    """Back to the bounds; None where all counts keep them."""
    if counts.instructions < BOUNDED:
        return None
    wider = max(1.0, (AT / counts.instructions) ** 0.5)
    models = _beyond(counts.models, MODELS * wider * counts.model_mean, begun)
    pairs = _beyond(counts.pairs, PAIRS * wider * counts.pair_mean, begun)
    if not models.any() and not pairs.any():
        return None
    return _Pull(models, pairs)


def _beyond(deviations: Array, bound: float, begun: bool) -> Array:
    """What lies beyond a bound, in units of it; once begun, a little inside of it counts too, as it would come out."""
    if not begun and (np.abs(deviations) <= bound).all():
        return deviations * 0
    over = np.maximum(np.abs(deviations) - bound * 0.97, 0)
    return np.sign(deviations) * over / max(bound, 1e-9) if (np.abs(deviations) > bound).any() else deviations * 0


def _best(pull: _Pull, among: Array, last: Array, spare: Array, most: int) -> list[int]:
    """The candidates whose swap of their last model for their spare one helps most."""
    rows = np.arange(len(last))
    with_others = among @ pull.pairs
    gain = pull.models[spare] - pull.models[last] + with_others[rows, spare] - with_others[rows, last]
    gain = gain - pull.pairs[last, spare]  # the last one is gone when the spare one comes
    found = np.argsort(gain, kind="stable")[:most]
    return [int(row) for row in found if gain[row] < 0]
