"""Room 4 of 7: annotations × strategy → pairs.

Every two responses to an instruction become a pair or a dropped record with its reason: tie, incomplete, identical or
filtered. Ratings are averaged as exact fractions: (4 + 4 + 5) / 3 equals (5 + 4 + 4) / 3, whatever a float makes of it.
Only what the same annotations say of two responses is compared; see `_comparable.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from types import MappingProxyType
from typing import NamedTuple

from vlfeedback.errors import BooksError, ConfigError, PluginError
from vlfeedback.ids import pair_id
from vlfeedback.pair._books import Books, possible, tally
from vlfeedback.pair._comparable import Scale, comparable
from vlfeedback.pair._contract import ASPECTS, Candidate, Decision, DropReason, Example, Sketch, Strategy, Surveying
from vlfeedback.records import Annotation, Dropped, Group, PreferencePair

__all__ = [
    "ASPECTS",
    "RULE",
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

RULE = "2"
"""Raised whenever the same annotations could form other pairs than before, under any strategy."""

_NOT_MENTIONED = Decision(0, 0, "filtered", detail="the strategy leaves it out")


def pairs(
    groups: Iterable[Group],
    strategy: Strategy | Surveying,
    *,
    aspects: Sequence[str] | None = None,
    scale: tuple[int, int] = (1, 5),
    judged: Mapping[str, tuple[str, ...]] | None = None,
) -> Iterator[PreferencePair | Dropped]:
    """Decide on every two responses of every group.

    Args:
        groups: Their pairs are not looked at. A strategy that surveys reads them twice: an iterator is then kept in
            memory, anything that can be iterated again is not.
        strategy: The rule.
        aspects: Aspects a response must be rated on to be complete; ratings of others are not looked at. By default
            those that any rating of the group names, with or without a score: annotations name all of their rubric.
        scale: Lowest and highest score; one outside counts as missing.
        judged: Annotation ids by instruction id, for the pairs to point to; see `annotation_ids`. Looked up when its
            group has been given, and no later.
    Returns:
        For each group of k responses k (k − 1) / 2 records. A dropped one has the id of the two responses without
        direction, and its detail begins with both their ids.
    Raises:
        ConfigError: the strategy needs an aspect that the ratings do not have.
        BooksError: a rating belongs to no response of its group.
        PluginError: the strategy decides twice on the same two, or on candidates that are not there.
    """
    # One that is still empty may be filled while groups are read.
    known: Mapping[str, tuple[str, ...]] = {} if judged is None else judged
    asked = None if aspects is None else tuple(aspects)
    if isinstance(strategy, Surveying):
        groups = list(groups) if isinstance(groups, Iterator) else groups
        strategy = strategy.survey(candidates_of(group, asked, scale, known) for group in groups)
    needed = frozenset(strategy.aspects)
    for group in groups:
        if len(group.responses) < 2:
            continue
        named = _named(group) if asked is None else asked
        if named and not needed.issubset(named):
            lacking = ", ".join(sorted(needed.difference(named)))
            raise ConfigError(f"[pair] {strategy.name}: nothing is rated on {lacking}; choose from {', '.join(named)}")
        yield from _decided(group, candidates_of(group, named, scale, known), strategy)


def candidates_of(
    group: Group,
    aspects: tuple[str, ...] | None = None,
    scale: tuple[int, int] = (1, 5),
    judged: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[Candidate, ...]:
    """Responses of a group with the means of their ratings, in the group's order.

    Raises:
        BooksError: a rating belongs to no response of the group.
    """
    asked = _named(group) if aspects is None else aspects
    sums: dict[str, dict[str, _Sum]] = {response.id: {} for response in group.responses}
    strangers = [rating.response_id for rating in group.ratings if rating.response_id not in sums]
    if strangers:
        raise BooksError(
            f"pair: instruction {group.instruction.id} has a rating of response {strangers[0]}, which is not one of "
            "its own; annotations and responses are of different runs, annotate again"
        )
    for rating in comparable(group, Scale(*scale)):
        mine = sums[rating.response_id]
        total, number = mine.get(rating.aspect, _NO_SCORE)
        mine[rating.aspect] = _Sum(total + (rating.score or 0), number + 1)
    ids = judged.get(group.instruction.id, ()) if judged else ()
    candidates: list[Candidate] = []
    for response in group.responses:
        mine = sums[response.id]
        means = _means(tuple([mine.get(aspect, _NO_SCORE) for aspect in asked]), asked)
        candidates.append(Candidate(response, means.by_aspect, means.overall, ids))
    return tuple(candidates)


def annotation_ids(annotations: Iterable[Annotation]) -> dict[str, tuple[str, ...]]:
    """Ids of the annotations that rate anything, by instruction id, sorted."""
    found: dict[str, list[str]] = {}
    for annotation in annotations:
        if any(rating.score is not None for rating in annotation.ratings):
            found.setdefault(annotation.instruction_id, []).append(annotation.id)
    return {instruction: tuple(sorted(ids)) for instruction, ids in found.items()}


def _named(group: Group) -> tuple[str, ...]:
    return tuple(dict.fromkeys([rating.aspect for rating in group.ratings]))


class _Sum(NamedTuple):
    """Scores of one aspect of one response over its annotations."""

    total: int
    number: int


class _Means(NamedTuple):
    """Means of one response; `overall` is None where an aspect has none."""

    by_aspect: Mapping[str, Fraction]
    overall: Fraction | None


_NO_SCORE = _Sum(0, 0)


@lru_cache(maxsize=65536)
def _means(sums: tuple[_Sum, ...], aspects: tuple[str, ...]) -> _Means:
    """Exact means; remembered, because the ratings of most responses were seen before on others."""
    pairs = zip(aspects, sums, strict=True)
    means = {aspect: Fraction(given.total, given.number) for aspect, given in pairs if given.number}
    complete = 0 < len(means) == len(aspects)
    return _Means(MappingProxyType(means), sum(means.values(), Fraction()) / len(means) if complete else None)


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
