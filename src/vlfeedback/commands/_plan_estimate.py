"""From the calls of a pilot to those of a run: post-stratified means, and an interval that knows of heavy tails.

A stratum is one model in one room: how many calls it will get is known, how long its replies are is not. The input
side is adjusted by what is known of every instruction (length of the prompt, tokens of its pictures), so that only the
length of replies is left to chance. The calls on one instruction are not independent (long responses make a long
question to the judge), so the interval draws whole instructions again.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vlfeedback.commands._plan_world import Seen
from vlfeedback.records import Room, Usage

DRAWS = 2000
FEW = 30
"""Calls below which a model's own slope of tokens over letters is not trusted."""


class Measured(NamedTuple):
    """One call of a pilot.

    Attributes:
        instruction: Its id.
        seen: Its prompt and pictures.
        cost: Price of the reply.
        latency: Seconds.
        unsure: Sends of unknown fate before the reply.
    """

    room: Room
    model: str
    instruction: str
    seen: Seen
    usage: Usage
    cost: float
    latency: float
    unsure: int = 0


class Known(NamedTuple):
    """What is known of all instructions, for one model.

    Attributes:
        letters: Mean of a prompt.
        image_tokens: Mean of an instruction by the price table's rule, or None where nothing says.
        tokens_of: Tokens of an instruction's pictures by that rule.
        input_price: Per token.
        per_letter: Tokens per letter until measured.
    """

    letters: float
    image_tokens: float | None
    tokens_of: Callable[[Seen], float]
    input_price: float
    per_letter: float


class Stratum(NamedTuple):
    """Mean call of one model in one room.

    Attributes:
        input, output, cost, latency: Means; input and cost adjusted to all instructions.
        sends: Sends that may be billed per call, ≥ 1.
        billed: Picture tokens that the endpoint reports over those of the rule; None where it reports none.
        costs: Adjusted cost of each call with its instruction.
    """

    input: float
    output: float
    cost: float
    latency: float
    sends: float
    billed: float | None
    costs: tuple[tuple[str, float], ...]


def stratum(calls: Sequence[Measured], known: Known) -> Stratum | None:
    """Sum up the calls of one model in one room; None where there are none with tokens."""
    rows = [one for one in calls if one.usage.input or one.usage.output]
    if not rows:
        return None
    billed = _billed(rows, known)
    slope = _slope(rows, billed or 1.0, known)
    more = [
        slope * (known.letters - one.seen.letters)
        + (0.0 if known.image_tokens is None else (billed or 1.0) * (known.image_tokens - known.tokens_of(one.seen)))
        if one.usage.input  # a further sample of a call reads nothing
        else 0.0
        for one in rows
    ]
    costs = [one.cost + known.input_price * extra for one, extra in zip(rows, more, strict=True)]
    number = len(rows)
    return Stratum(
        input=sum(one.usage.input for one in rows) / number + sum(more) / number,
        output=sum(one.usage.output for one in rows) / number,
        cost=sum(costs) / number,
        latency=sum(one.latency for one in rows) / number,
        sends=1 + sum(one.unsure for one in calls) / len(calls),
        billed=billed,
        costs=tuple((one.instruction, cost) for one, cost in zip(rows, costs, strict=True)),
    )


def _billed(calls: Sequence[Measured], known: Known) -> float | None:
    """Picture tokens over those of the rule, where a reply says how many: a further sample, or a proxy, may not."""
    rows = [one for one in calls if one.usage.image]
    expected = sum(known.tokens_of(one.seen) for one in rows) if known.image_tokens is not None else 0.0
    return sum(one.usage.image for one in rows) / expected if expected else None


def _slope(calls: Sequence[Measured], billed: float, known: Known) -> float:
    """Tokens per letter of the prompt, by least squares where there are enough calls."""
    rows = [one for one in calls if one.usage.input]
    if len(rows) < FEW:
        return known.per_letter
    letters = [float(one.seen.letters) for one in rows]
    middle = sum(letters) / len(letters)
    spread = sum((one - middle) ** 2 for one in letters)
    if not spread:
        return known.per_letter
    pictures = [known.tokens_of(one.seen) if known.image_tokens is not None else 0.0 for one in rows]
    text = [one.usage.input - billed * tokens for one, tokens in zip(rows, pictures, strict=True)]
    found = sum((x - middle) * y for x, y in zip(letters, text, strict=True)) / spread
    return min(max(found, 0.02), 4.0)  # a letter of Chinese is up to four tokens


class Interval(NamedTuple):
    """Where the cost lies with 95 %."""

    low: float
    high: float


def interval(parts: Sequence[tuple[float, Stratum]], total: int) -> Interval | None:
    """Interval of Σ calls × mean cost over strata.

    The total of a few hundred heavy-tailed costs is skewed to the right, so the interval is symmetric in its logarithm.

    Args:
        parts: Number of calls of each stratum, with its measured calls.
        total: Instructions of the run: a pilot that holds all of them leaves nothing open.
    """
    import numpy as np

    from vlfeedback._stats_units import t_quantile

    names = sorted({name for _, one in parts for name, _ in one.costs})
    place = {name: number for number, name in enumerate(names)}
    if len(names) < 2:
        return None
    sums, counts = np.zeros((2, len(names), len(parts)))
    for column, (_, one) in enumerate(parts):
        for name, cost in one.costs:
            sums[place[name], column] += cost
            counts[place[name], column] += 1
    draws = np.random.default_rng(0).multinomial(len(names), [1 / len(names)] * len(names), size=DRAWS)
    numbers = draws @ counts
    means = np.where(numbers > 0, draws @ sums / np.maximum(numbers, 1), sums.sum(0) / counts.sum(0))
    calls = np.array([number for number, _ in parts])
    middle = float(calls @ (sums.sum(0) / counts.sum(0)))
    error = float(np.std(means @ calls, ddof=1)) * math.sqrt(max(0.0, 1 - len(names) / max(total, len(names))))
    if middle <= 0:
        return None
    reach = math.exp(t_quantile(len(names) - 1) * error / middle)
    return Interval(middle / reach, middle * reach)
