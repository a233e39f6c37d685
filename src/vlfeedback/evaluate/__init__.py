"""Room 6: a model × a benchmark → answers → item scores → scores.

Three steps with tables between them: `answers` asks the model, greedily unless told otherwise; `judgements` asks a
judge, where the benchmark has one; `item_scores` is pure and balances its books by item id. `summarise` and `compare`
add the intervals. An item ends as scored, unparsable (there is a reply, and the protocol says what an unreadable one
is worth) or failed (there is no reply, and so no value).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from vlfeedback import flow, tables
from vlfeedback.errors import BooksError, ConfigError
from vlfeedback.evaluate._compare import Row, compare, compare_seeds, sentence
from vlfeedback.evaluate._conditions import UNKNOWN, Conditions, Question, asked, digest, unlike, unlike_items
from vlfeedback.evaluate._contract import (
    GREEDY,
    SUMMED,
    Benchmark,
    Decoding,
    Example,
    Exporter,
    Item,
    Judged,
    Mark,
)
from vlfeedback.evaluate._drift import FORMS, Drift, drift
from vlfeedback.evaluate._judging import judged_scores, judgements
from vlfeedback.evaluate._summary import MAX_FAILED, failed_share, summarise
from vlfeedback.ids import call_key, hash_id, request_json
from vlfeedback.models import Model
from vlfeedback.records import Answer, ItemScore, Judgement, Part, Request, Sampling

__all__ = [
    "FORMS",
    "GREEDY",
    "MAX_FAILED",
    "SUMMED",
    "UNKNOWN",
    "Benchmark",
    "Conditions",
    "Decoding",
    "Drift",
    "Example",
    "Exporter",
    "Item",
    "Judged",
    "Mark",
    "Question",
    "Row",
    "answers",
    "asked",
    "compare",
    "compare_seeds",
    "conditions",
    "digest",
    "drift",
    "failed_share",
    "item_scores",
    "judgements",
    "request",
    "sentence",
    "summarise",
    "unlike",
    "unlike_items",
]


def request(item: Item, *, recipe: str = "original", decoding: Decoding = GREEDY) -> Request:
    """The question as it is sent: pictures, then the prompt unchanged.

    Sampled with a seed, every item has a seed of its own, made of that seed and its id: neither the order of the items
    nor the size of a batch, nor which other items there are, changes an answer.
    """
    seed = None if decoding.seed is None else int(hash_id("evaluate seed", decoding.seed, item.item_id)[:8], 16) >> 1
    return _request(item, recipe, decoding._replace(seed=seed))


def _request(item: Item, recipe: str, decoding: Decoding) -> Request:
    parts = (*(Part(image=image) for image in item.images), Part(text=item.prompt))
    sampling = Sampling(temperature=0.0, max_tokens=item.max_tokens)
    if decoding.temperature:
        sampling = replace(
            sampling, temperature=decoding.temperature, top_p=decoding.top_p, seed=decoding.seed
        )  # fmt: skip
    return Request("", parts, sampling, purpose="evaluate", recipe=recipe)


def answers(
    items: Iterable[Item],
    model: Model,
    *,
    benchmark: str,
    model_name: str = "",
    in_flight: int = 64,
    decoding: Decoding = GREEDY,
) -> Iterator[Answer]:
    """Ask a model every item, once; answers come as they finish.

    Args:
        items: Of one benchmark.
        model: Policy or pool model.
        benchmark: `Benchmark.name`.
        model_name: `Answer.model`; the model's identity if left out.
        in_flight: Questions under way at once, ≥ 1.
        decoding: How it chooses its words.
    Returns:
        One answer per item; a call that gave no reply has `finish="error"` and no text.
    Raises:
        ModelUnavailable: no request at all can be answered.
    """
    name = model_name or model.identity

    async def ask(item: Item) -> Answer:
        question = request(item, recipe=getattr(model, "recipe", "original"), decoding=decoding)
        reply = await model.answer(question)
        text = "" if reply.finish == "error" else reply.text
        key = call_key(model.identity, question)
        return Answer(benchmark, item.item_id, item.cluster, item.stratum, name, text, reply.finish, key)

    return flow.each(items, ask, in_flight=in_flight)


def conditions(
    benchmark: Benchmark | Judged,
    items: Iterable[Item],
    *,
    model: str,
    recipe: str = "original",
    dtype: str = UNKNOWN,
    decoding: Decoding = GREEDY,
) -> Conditions:
    """Under which conditions a model is asked a benchmark, so that two results can be told to be alike.

    Args:
        benchmark: Its name and protocol, and how it words the question to its judge, where it has one.
        items: All that are asked.
        model: `Answer.model`.
        recipe: How the model wants its pictures.
        dtype: Number format of its weights; empty for an endpoint.
        decoding: How it chooses its words; recorded with the seed of all items, not with those of each.
    """
    listed = list(items)
    found = asked(Question(one.item_id, request_json(_request(one, recipe, decoding))) for one in listed)
    return Conditions(
        benchmark.name, benchmark.protocol, model, digest(one.item_id for one in listed), found.prompts,
        found.decoding, dtype, judge_prompt=_judge_prompt(benchmark, listed), recipe=found.recipe,
    )  # fmt: skip


def _judge_prompt(benchmark: object, items: Iterable[Item]) -> str:
    """Digest of what a judge is asked about blank answers; empty where no judge is asked."""
    word: Callable[[Item, Answer, int], Request] | None = getattr(benchmark, "question", None)
    if word is None:
        return ""
    blanks = [(one, Answer("", one.item_id, one.cluster, one.stratum, "", "", "stop")) for one in items]
    return digest([blank.item_id, request_json(word(one, blank, 0))] for one, blank in blanks)


def item_scores(
    benchmark: Benchmark | Judged,
    items: Sequence[Item],
    answered: Iterable[Answer],
    judged: Iterable[Judgement] = (),
) -> list[ItemScore]:
    """Score one model's answers and balance the books: items = scored + unparsable + failed.

    Args:
        benchmark: Whose items and answers these are.
        items: All that were asked.
        answered: One answer per item, in any order.
        judged: What the judge said of them, where the benchmark has one.
    Returns:
        Item scores in the order of the items.
    Raises:
        ConfigError: the answers are of several models.
        BooksError: an item has no answer or two, or the scorer lost, repeated or invented one.
    """
    listed = list(answered)
    found = {answer.item_id: answer for answer in listed}
    wanted = {item.item_id for item in items}
    if len({answer.model for answer in listed}) > 1:
        raise ConfigError("the answers of several models are scored one model at a time")
    if len(wanted) != len(items) or len(found) != len(listed):
        raise BooksError(f"{benchmark.name}: an item id occurs twice; ids must be unique within a benchmark")
    if wanted != found.keys():
        raise BooksError(
            f"{benchmark.name}: {len(wanted - found.keys())} of {len(wanted)} items have no answer "
            f"and {len(found.keys() - wanted)} answers have no item. Run `vlfeedback evaluate` again to ask them."
        )
    place = {item.item_id: index for index, item in enumerate(items)}
    ordered = [found[item.item_id] for item in items]
    if isinstance(benchmark, Judged):
        scores = list(judged_scores(benchmark, items, ordered, judged))
    else:
        scores = list(benchmark.score(items, ordered))
    _balance(benchmark.name, found, scores)
    return sorted(scores, key=lambda score: place[score.answer.item_id])


def _balance(name: str, answered: dict[str, Answer], scores: Iterable[ItemScore]) -> None:
    """Every answer has a score of its own, none twice per metric, and none where there is no reply."""
    seen: dict[str, dict[str, ItemScore]] = {}
    for score in scores:
        item = score.answer.item_id
        by_metric = seen.setdefault(item, {})
        if answered.get(item) != score.answer or score.metric in by_metric:
            raise BooksError(f"{name}: the scorer gave {score.metric!r} of item {item} twice, or of another answer")
        if score.answer.finish == "error" and score.state != "failed":
            raise BooksError(f"{name}: the scorer scored item {item}, which has no reply")
        by_metric[score.metric] = score
    lost = {item for item, found in seen.items() if all(score.state == "failed" for score in found.values())}
    failed = len(lost)
    unread = sum(
        item not in lost and any(score.state == "unparsable" for score in found.values())
        for item, found in seen.items()
    )
    tables.balance("evaluate", len(answered), scored=len(seen) - unread - failed, unparsable=unread, failed=failed)
