"""What a benchmark is: items, a pure scorer of answers, and nothing that calls a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from vlfeedback.records import Answer, Conduct, Image, ItemScore, Judgement, Request, Score

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


class Decoding(NamedTuple):
    """How answers are chosen.

    Attributes:
        temperature: 0 is greedy: the most probable token each time, and nothing is drawn.
        top_p: Nucleus, in (0, 1].
        seed: Of all items together; None leaves it to the model.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


GREEDY = Decoding()


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


class Mark(NamedTuple):
    """One metric of one answer, from what a judge said of it.

    Attributes:
        value: As the protocol counts it; None where an unreadable reply has no value.
        readable: Whether any of the judge's replies can be read.
    """

    value: float | None
    readable: bool = True


@runtime_checkable
class Judged(Protocol):
    """A benchmark whose answers another model judges; the stage asks, this one words the question and reads the reply.

    Attributes:
        name: As in `Answer.benchmark`.
        protocol: Names the wording too: scores under own words never stand under the official name.
        runs: How often each answer is judged, ≥ 1; runs are averaged per item.
        tries: How often a judgement is asked at most while replies cannot be read, ≥ 1.
    """

    @property
    def name(self) -> str: ...

    @property
    def protocol(self) -> str: ...

    @property
    def runs(self) -> int: ...

    @property
    def tries(self) -> int: ...

    def items(self) -> Iterator[Item]:
        """The questions, in the same order every time."""
        ...

    def question(self, item: Item, answer: Answer, attempt: int) -> Request:
        """What the judge is asked about an answer, for the first time (`attempt` 0) or again."""
        ...

    def readable(self, reply: str) -> bool:
        """Whether a reply settles the question, so that it is not asked again."""
        ...

    def marks(self, item: Item, replies: Sequence[str]) -> dict[str, Mark]:
        """Metrics of an answer from the judge's replies, one per run; always the same metrics; pure.

        `replies` is empty where there is none: then values do not count.
        """
        ...

    def summarise(self, item_scores: Iterable[ItemScore]) -> list[Score]:
        """Results of one model with their intervals."""
        ...


@runtime_checkable
class Unjudged(Protocol):
    """A judged benchmark with further metrics that need no judge."""

    def unjudged(self, item: Item, answer: Answer) -> dict[str, float]:
        """Metrics of an answer from its text and the item's label alone; pure. Which there are depends on the item."""
        ...


@runtime_checkable
class Exporter(Protocol):
    """A benchmark that writes the official files of its authors' scripts."""

    def export(
        self, folder: Path, items: Sequence[Item], answers: Sequence[Answer], judgements: Sequence[Judgement]
    ) -> None:
        """Write one model's answers, and what a judge said of them; what has no reply is left out or null."""
        ...


class Example(NamedTuple):
    """What the contract tests run: replies to the first items of a stratum, and what they score.

    Attributes:
        about: What it shows.
        stratum: Of the items.
        replies: One per item; `=` stands for the item's expected answer, None for a call that failed. Of a judged
            benchmark, the replies of the judge.
        values: By metric, one per item; None where there is no value.
    """

    about: str
    stratum: str
    replies: tuple[str | None, ...]
    values: dict[str, tuple[float | None, ...]]
