"""The mean score under a judge's own token probabilities, read at the place where the score stands."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Protocol, runtime_checkable

from vlfeedback.annotate._contract import Cell
from vlfeedback.records import Generation, TokenLogprobs

LEAST = 0.5
"""Probability that the listed alternatives must put on scores, or the mean would be that of a few stray tokens."""

_SCORE = re.compile(r"[0-9]")


@runtime_checkable
class Located(Protocol):
    """A rubric that can say where in a reply its scores stand."""

    def scores_at(self, text: str, order: Sequence[str]) -> Mapping[Cell, int]:
        """Place of the first character of every score that `parse` reads, counted in characters from the start."""
        ...


def expected_scores(
    rubric: object, generation: Generation, order: Sequence[str], scale: tuple[int, int]
) -> dict[Cell, float]:
    """The mean score of every rating whose token is known.

    Args:
        rubric: One that is `Located`; any other gives nothing.
        generation: With `logprobs`, or the result is empty.
        scale: Of the rubric; its scores must have one digit, so that a score is one token.
    Returns:
        For each rating the mean of s under p(s), renormalised over the scores among the token's alternatives, which
        must hold at least half of the probability.
    Source:
        Liu et al. 2023 (G-Eval, arXiv:2303.16634), section 2.
    """
    if not generation.logprobs or not isinstance(rubric, Located) or not 0 <= scale[0] <= scale[1] <= 9:
        return {}
    whole = "".join(token.token for token in generation.logprobs)
    shift = whole.rfind(generation.text)  # thoughts before it may hold a draft of the same words
    if shift < 0:
        return {}  # tokens that are no text, such as halves of characters: places cannot be compared
    ends = list(accumulate(len(token.token) for token in generation.logprobs))
    found: dict[Cell, float] = {}
    for cell, place in rubric.scores_at(generation.text, order).items():
        number = bisect_right(ends, place + shift)
        if number == len(ends):
            continue
        token = generation.logprobs[number]
        mean = _mean(token, place + shift - (ends[number] - len(token.token)), scale)
        if mean is not None:
            found[cell] = mean
    return found


def _mean(token: TokenLogprobs, place: int, scale: tuple[int, int]) -> float | None:
    """Mean score over the alternatives of one token whose score stands at a place in it."""
    before, chosen = token.token[:place], dict(token.top)
    chosen.setdefault(token.token, token.logprob)
    weights: dict[int, float] = {}
    for text, logprob in chosen.items():
        # The same with another blank before it is the same answer; with other words before it, it is another one.
        digits = _SCORE.findall(text)
        if len(digits) != 1 or text[: text.index(digits[0])].strip() != before.strip():
            continue
        score = int(digits[0])
        if scale[0] <= score <= scale[1]:
            weights[score] = weights.get(score, 0.0) + math.exp(min(0.0, logprob))
    total = sum(weights.values())
    return sum(score * weight for score, weight in weights.items()) / total if total >= LEAST else None
