"""Groups too large for one forward, as several smaller ones: the same pairs, each once, behind the same prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from vlfeedback.records import Dropped

if TYPE_CHECKING:
    from vlfeedback.train._collate import Encoded
    from vlfeedback.train._layout import Layout
    from vlfeedback.train._preferences import Objective


Fits = Callable[["Encoded"], bool]


class Parts(NamedTuple):
    """Groups that fit, and pairs that cannot be computed within the budget."""

    groups: list[Encoded]
    dropped: list[Dropped]


def parts_of(groups: Sequence[Encoded], layout: Layout, budget: int, objective: Objective) -> Parts:
    """Cut the groups that exceed a budget into groups of some of their pairs, every pair in one of them.

    A loss that is a sum over pairs, and its gradient, are those of the whole. A pair that exceeds the budget by itself
    stays, alone. An objective that takes pairs together (`Objective.together`) gets them in one part; where those
    exceed the budget they are dropped as `too_long`. The best response is in every part of a pair objective, whose
    anchor it may be, and in one part where it is what is counted.

    Args:
        groups: Whole groups.
        layout: How their responses lie in one forward.
        budget: Most padded tokens of one forward.
        objective: Says what belongs together.
    """
    kept: list[Encoded] = []
    dropped: list[Dropped] = []
    outside = not type(objective).__module__.startswith("vlfeedback.")  # those may take groups as wholes unsaid
    together = getattr(objective, "together", "group" if outside else "pair")
    for group in groups:
        fits = _fitting(layout, budget, bool(getattr(objective, "damages", False) and group.images))
        if together == "group" or not group.pairs or fits(group):
            kept.append(group)
            continue
        parts = list(_cut(group, fits, by_winner=together == "winner"))
        if together == "winner":
            large, parts = [part for part in parts if not fits(part)], [part for part in parts if fits(part)]
            dropped += [Dropped("train", name, "too_long", _why(budget)) for part in large for name in part.pair_ids]
        if objective.per == "token":
            parts[1:] = [replace(part, best=None) for part in parts[1:]]
        kept += parts
    return Parts(kept, dropped)


def _why(budget: int) -> str:
    return f"a response with all that it beats takes more than tokens_per_batch = {budget}"


def in_pieces(group: Encoded, layout: Layout, budget: int) -> list[Encoded]:
    """The responses of a group, each once and in order, as groups without pairs that fit a budget, at least by twos."""
    return _pieces(group, _fitting(layout, budget))


def _pieces(group: Encoded, fits: Fits) -> list[Encoded]:
    if fits(group):
        return [group]
    pieces: list[list[int]] = [[]]
    for i in range(len(group.responses)):
        if len(pieces[-1]) >= 2 and not fits(_of(group, [*pieces[-1], i], [])):
            pieces.append([])
        pieces[-1].append(i)
    return [_of(group, piece, []) for piece in pieces]


def _fitting(layout: Layout, budget: int, damaged: bool = False) -> Fits:
    """Whether a group fits, with a row for its best response to a damaged picture where there is to be one."""
    return lambda group: (layout.rows(group) + damaged) * layout.cost(group) <= budget


def _cut(group: Encoded, fits: Fits, *, by_winner: bool) -> Iterator[Encoded]:
    """Fill parts one after the other with pairs, or with all pairs of one chosen response at a time."""
    always = {group.best} if group.best is not None and not by_winner else set[int]()
    inside, pairs = set(always), list[int]()
    for unit in _winners(group) if by_winner else _pairs(group, fits):
        wanted = inside.union(*(group.pairs[pair] for pair in unit))
        # Another pair of responses that are there takes no room; a winner is not to be dropped with a larger one.
        grown = by_winner or wanted != inside
        if pairs and grown and not fits(_of(group, sorted(wanted), [])):
            yield _of(group, sorted(inside), pairs)
            inside, pairs = always.union(*(group.pairs[pair] for pair in unit)), list(unit)
        else:
            inside, pairs = wanted, [*pairs, *unit]
    if pairs:
        yield _of(group, sorted(inside), pairs)


def _winners(group: Encoded) -> list[list[int]]:
    """Pairs by their chosen response."""
    found: dict[int, list[int]] = {}
    for pair, (chosen, _) in enumerate(group.pairs):
        found.setdefault(chosen, []).append(pair)
    return list(found.values())


def _pairs(group: Encoded, fits: Fits) -> list[list[int]]:
    """Single pairs, in an order in which neighbours have responses in common: block against block of half a part."""
    half = max(1, len(_pieces(group, fits)[0].responses) // 2)
    order = sorted(range(len(group.pairs)), key=lambda pair: sorted(i // half for i in group.pairs[pair]))
    return [[pair] for pair in order]


def _of(group: Encoded, responses: Sequence[int], pairs: Sequence[int]) -> Encoded:
    """Some responses and some pairs of a group."""
    index = {i: place for place, i in enumerate(responses)}
    return replace(
        group,
        responses=tuple(group.responses[i] for i in responses),
        response_ids=tuple(group.response_ids[i] for i in responses),
        pairs=tuple((index[group.pairs[pair][0]], index[group.pairs[pair][1]]) for pair in pairs),
        pair_ids=tuple(group.pair_ids[pair] for pair in pairs),
        weights=tuple(group.weights[pair] for pair in pairs),
        gaps=tuple(group.gaps[pair] for pair in pairs) if group.gaps else (),
        best=index.get(group.best) if group.best is not None and pairs else None,
    )
