"""Room 4 of 7: annotations × strategy → pairs.

Every two responses to an instruction become a pair or a dropped record with its reason: tie, incomplete, identical or
filtered. Ratings are averaged as exact fractions: (4 + 4 + 5) / 3 equals (5 + 4 + 4) / 3, whatever a float makes of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import combinations

from vlfeedback.errors import BooksError, ConfigError, PluginError
from vlfeedback.pair._books import Books, possible, tally
from vlfeedback.pair._contract import ASPECTS, Candidate, Decision, DropReason, Example, Sketch, Strategy, Surveying
from vlfeedback.records import Annotation, Dropped, Group, PreferencePair, Response, pair_id

__all__ = [
    "ASPECTS",
    "Books",
    "Candidate",
    "Decision",
    "Example",
    "Sketch",
    "Strategy",
    "Surveying",
    "annotation_ids",
    "candidates_of",
    "pairs",
    "possible",
    "tally",
]

_NOT_MENTIONED = Decision(0, 0, "filtered", detail="the strategy leaves it out")


def pairs(
    groups: Iterable[Group],
    strategy: Strategy | Surveying,
    *,
    aspects: Sequence[str] = ASPECTS,
    scale: tuple[int, int] = (1, 5),
    judged: Mapping[str, tuple[str, ...]] | None = None,
) -> Iterator[PreferencePair | Dropped]:
    """Decide on every two responses of every group.

    Args:
        groups: Their pairs are not looked at. A strategy that surveys reads them twice: an iterator is then kept in
            memory, anything that can be iterated again is not.
        strategy: The rule.
        aspects: Aspects a response must be rated on to be complete; ratings of others are not looked at.
        scale: Lowest and highest score; one outside counts as missing.
        judged: Annotation ids by instruction id, for the pairs to point to; see `annotation_ids`.
    Returns:
        For each group of k responses k (k − 1) / 2 records. A dropped one has the id of the two responses without
        direction, and its detail begins with both their ids.
    Raises:
        ConfigError: the strategy needs an aspect that the rubric does not have.
        BooksError: a rating belongs to no response of its group.
        PluginError: the strategy decides twice on the same two, or on candidates that are not there.
    """
    known = judged or {}
    asked = tuple(aspects)
    if isinstance(strategy, Surveying):
        groups = list(groups) if isinstance(groups, Iterator) else groups
        strategy = strategy.survey(candidates_of(group, asked, scale, known) for group in groups)
    lacking = [aspect for aspect in strategy.aspects if aspect not in asked]
    if lacking:
        raise ConfigError(f"[pair] {strategy.name}: the rubric has no aspect {lacking[0]!r}; it has {', '.join(asked)}")
    for group in groups:
        if len(group.responses) > 1:
            yield from _decided(group, candidates_of(group, asked, scale, known), strategy)


def candidates_of(
    group: Group,
    aspects: tuple[str, ...] = ASPECTS,
    scale: tuple[int, int] = (1, 5),
    judged: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[Candidate, ...]:
    """Responses of a group with the means of their ratings, in the group's order.

    Raises:
        BooksError: a rating belongs to no response of the group.
    """
    low, high = scale
    scores: dict[str, dict[str, list[int]]] = {response.id: {} for response in group.responses}
    for rating in group.ratings:
        mine = scores.get(rating.response_id)
        if mine is None:
            raise BooksError(
                f"pair: instruction {group.instruction.id} has a rating of response {rating.response_id}, which is not "
                "one of its own; annotations and responses are of different runs, annotate again"
            )
        if rating.score is not None and low <= rating.score <= high:
            mine.setdefault(rating.aspect, []).append(rating.score)
    ids = judged.get(group.instruction.id, ()) if judged else ()
    return tuple(_candidate(response, scores[response.id], aspects, ids) for response in group.responses)


def annotation_ids(annotations: Iterable[Annotation]) -> dict[str, tuple[str, ...]]:
    """Ids of the annotations that rate anything, by instruction id, sorted."""
    found: dict[str, list[str]] = {}
    for annotation in annotations:
        if any(rating.score is not None for rating in annotation.ratings):
            found.setdefault(annotation.instruction_id, []).append(annotation.id)
    return {instruction: tuple(sorted(ids)) for instruction, ids in found.items()}


def _candidate(
    response: Response, scores: dict[str, list[int]], aspects: tuple[str, ...], ids: tuple[str, ...]
) -> Candidate:
    means = {aspect: _mean(sum(given), len(given)) for aspect in aspects if (given := scores.get(aspect))}
    if len(means) < len(aspects):
        return Candidate(response, means, None, ids)
    if all(len(scores[aspect]) == 1 for aspect in aspects):  # one annotation: one division instead of four
        return Candidate(response, means, _mean(sum(scores[aspect][0] for aspect in aspects), len(aspects)), ids)
    return Candidate(response, means, sum(means.values(), Fraction()) / len(aspects), ids)


@lru_cache(maxsize=4096)
def _mean(total: int, count: int) -> Fraction:
    return Fraction(total, count)


def _decided(group: Group, candidates: Sequence[Candidate], strategy: Strategy) -> Iterator[PreferencePair | Dropped]:
    """Every two candidates once, and nothing else."""
    name = strategy.name
    open_pairs = dict.fromkeys(combinations(range(len(candidates)), 2), _NOT_MENTIONED)
    for decision in strategy.decide(candidates):
        one, other, *_ = decision
        place = (one, other) if one < other else (other, one)
        if open_pairs.get(place) is not _NOT_MENTIONED:
            raise PluginError(
                f"strategy {name} decides twice on the candidates {place} of instruction {group.instruction.id}, or on "
                "candidates that are not there; mend its decide"
            )
        open_pairs[place] = decision
    for (one, other), (chosen, rejected, reason, margin, detail) in open_pairs.items():
        first, second = candidates[one].response, candidates[other].response
        if first.text == second.text:
            yield _dropped(first.id, second.id, name, "identical")
        elif reason is not None:
            yield _dropped(first.id, second.id, name, reason, detail)
        else:
            better, worse = candidates[chosen], candidates[rejected].response.id
            yield PreferencePair(
                pair_id(better.response.id, worse, name),
                group.instruction.id,
                better.response.id,
                worse,
                None if margin is None else float(margin),
                name,
                1.0,
                better.annotation_ids,
            )


def _dropped(first: str, second: str, strategy: str, reason: DropReason, detail: str = "") -> Dropped:
    low, high = sorted((first, second))
    words = f"{low} {high}: {detail}" if detail else f"{low} {high}"
    return Dropped("pair", pair_id(low, high, strategy), reason, words)
