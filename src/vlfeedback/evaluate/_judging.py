"""The judge's step: answers → judgements → item scores; what has no reply is failed, what cannot be read unparsable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from vlfeedback import flow
from vlfeedback.errors import BooksError, ConfigError
from vlfeedback.evaluate._contract import Item, Judged, Unjudged
from vlfeedback.ids import call_key
from vlfeedback.models import Model
from vlfeedback.records import Answer, ItemScore, ItemState, Judgement

Clock = Callable[[str], float | None]
"""Seconds since 1970 at which the reply to a call (by key) came; None if that is not known."""


class _Task(NamedTuple):
    item: Item
    answer: Answer
    run: int


def judgements(
    benchmark: Judged,
    items: Iterable[Item],
    answers: Iterable[Answer],
    judge: Model,
    *,
    in_flight: int = 16,
    clock: Clock = lambda _: None,
) -> Iterator[Judgement]:
    """Ask a judge about every answer, `benchmark.runs` times each; judgements come as they finish.

    A reply that cannot be read is asked for again in the benchmark's way, up to `benchmark.tries` times; a refusal is
    not, and neither is a call without a reply, which the model's own retries have given up.

    Args:
        benchmark: Words the question.
        items: Of the answers.
        answers: Of one model or several; those without a reply are not judged.
        judge: Any model; its replies are kept by whatever wraps it.
        in_flight: Judgements under way at once, ≥ 1.
        clock: When a reply came; the present where it does not know.
    Returns:
        One judgement per answered item and run.
    Raises:
        ModelUnavailable: the judge cannot be used at all.
    """
    by_id = {item.item_id: item for item in items}
    given = [answer for answer in answers if answer.finish != "error"]
    tasks = (_Task(by_id[answer.item_id], answer, run) for answer in given for run in range(benchmark.runs))

    async def ask(task: _Task) -> Judgement:
        attempt = 0
        while True:
            asked = benchmark.question(task.item, task.answer, attempt)
            asked = replace(asked, sampling=replace(asked.sampling, sample_index=task.run), purpose="grade")
            asked = replace(asked, recipe=getattr(judge, "recipe", "original"))
            reply = await judge.answer(asked)
            attempt += 1
            settled = reply.finish in ("error", "refused", "content_filter") or benchmark.readable(reply.text)
            if settled or attempt >= benchmark.tries:
                break
        key = call_key(judge.identity, asked)
        text = "" if reply.finish == "error" else reply.text
        when = clock(key) or time.time()
        return Judgement(
            task.answer, benchmark.protocol, judge.identity, task.run, attempt, text, reply.finish, key, when
        )

    return flow.each(tasks, ask, in_flight=in_flight)


def judged_scores(
    benchmark: Judged, items: Sequence[Item], answers: Sequence[Answer], judged: Iterable[Judgement]
) -> Iterator[ItemScore]:
    """Score answers from what one judge said of them; pure.

    Raises:
        BooksError: a judgement is of no answer, or there twice, or an answered item has none.
        ConfigError: the judgements are of several judges, or of another protocol.
    """
    found: dict[str, dict[int, Judgement]] = {}
    known = {answer.item_id: answer for answer in answers}
    judges: set[str] = set()
    for one in judged:
        runs = found.setdefault(one.answer.item_id, {})
        if known.get(one.answer.item_id) != one.answer or one.run in runs:
            raise BooksError(
                f"{benchmark.name}: a judgement of item {one.answer.item_id} is of no answer, or there twice"
            )
        if one.protocol != benchmark.protocol:
            raise ConfigError(f"judgements under {one.protocol} cannot be scored as {benchmark.protocol}: judge again.")
        judges.add(one.judge)
        runs[one.run] = one
    if len(judges) > 1:
        raise ConfigError(f"the judgements are of several judges ({', '.join(sorted(judges))}): score one at a time")
    judge = next(iter(judges), None)
    for item in items:
        answer = known[item.item_id]
        if answer.finish != "error" and item.item_id not in found:
            raise BooksError(f"{benchmark.name}: nobody judged the answer to item {item.item_id}")
        yield from _scored(benchmark, item, answer, list(found.get(item.item_id, {}).values()), judge)
        if isinstance(benchmark, Unjudged):
            lost = answer.finish == "error"
            for metric, value in benchmark.unjudged(item, answer).items():
                state: ItemState = "failed" if lost else "scored"
                yield ItemScore(answer, benchmark.protocol, metric, None if lost else value, state)


def _scored(
    benchmark: Judged, item: Item, answer: Answer, judged: Sequence[Judgement], judge: str | None
) -> Iterator[ItemScore]:
    said = sorted((one for one in judged if one.finish != "error"), key=lambda one: one.run)
    when = max((one.time for one in said), default=None)
    for metric, mark in benchmark.marks(item, [one.text for one in said]).items():
        state: ItemState = "failed" if not said else "scored" if mark.readable else "unparsable"
        yield ItemScore(answer, benchmark.protocol, metric, mark.value if said else None, state, judge, when)
