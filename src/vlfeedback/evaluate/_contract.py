"""What a benchmark is: items, a pure scorer of answers, and nothing that calls a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from vlfeedback.records import Answer, Conduct, Image, ItemScore, Score

SUMMED = frozenset({"perception", "cognition"})
"""Metrics that are sums of the means of strata, as in MME; every other metric is a mean."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question of a benchmark.

    Attributes:
        item_id: Unique in its benchmark, the same on every machine.
        prompt: Sent unchanged.
        images: In the order in which the model sees them, before the prompt.
        cluster: Items of one cluster are not independent, such as the questions on one picture.
        stratum: Part of the benchmark that is summed on its own, such as an MME subtask.
        expected: The right answer, where there is a single one.
        conduct: What a good model does with it, where that is known.
        max_tokens: Upper bound of the reply.
    """

    item_id: str
    prompt: str
    images: tuple[Image, ...]
    cluster: str
    stratum: str
    expected: str = ""
    conduct: Conduct | None = None
    max_tokens: int = 64


class Benchmark(Protocol):
    """One benchmark under one protocol.

    Attributes:
        name: As in `Answer.benchmark`.
        protocol: Prompt, parser and formula by name, such as `mme/official`; results of two protocols never mix.
    """

    @property
    def name(self) -> str: ...

    @property
    def protocol(self) -> str: ...

    def items(self) -> Iterator[Item]:
        """The questions, in the same order every time."""
        ...

    def score(self, items: Sequence[Item], answers: Iterable[Answer]) -> Iterator[ItemScore]:
        """Score the answers of one model; pure.

        Gives at least one item score per answer, at most one per answer and metric, and `failed` wherever an answer's
        `finish` is `error`.
        """
        ...

    def summarise(self, item_scores: Iterable[ItemScore]) -> list[Score]:
        """Results of one model with their intervals; `evaluate.summarise` does it for means and MME's sums."""
        ...


class Example(NamedTuple):
    """What the contract tests run: replies to the first items of a stratum, and what they score.

    Attributes:
        about: What it shows.
        stratum: Of the items.
        replies: One per item; `=` stands for the item's expected answer, None for a call that failed.
        values: By metric, one per item; None where there is no value.
    """

    about: str
    stratum: str
    replies: tuple[str | None, ...]
    values: dict[str, tuple[float | None, ...]]
