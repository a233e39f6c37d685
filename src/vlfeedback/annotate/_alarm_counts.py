"""Ratings counted by slice for `alarms`, by the column: record by record it takes as long as all else of a resume."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from vlfeedback._tables_ids import Array, numbers, places
from vlfeedback.annotate._alarms import STRETCH, By, Counts, Slice

_NONE = int(np.iinfo(np.int64).min)
"""Stands for a missing score while counting."""
_ODD = np.uint64(0x9E3779B97F4A7C15)


class _Coded(NamedTuple):
    """A column of texts: which text each value is, shape (N,), and the texts."""

    codes: Array
    names: list[str]


class _Models(NamedTuple):
    """Models by response: numbers of the ids in order, the model of each, and the models' names."""

    ids: Array
    codes: Array
    names: list[str]


class _Kind(NamedTuple):
    """One way to slice: the slice of each rating as a number, negative for none, and the name of such a number."""

    by: By
    value: Array
    name: Callable[[int], str]


class _Ratings(NamedTuple):
    """The ratings of some annotations, each field with one value per rating."""

    row: Array
    response: Array
    aspect: _Coded
    score: Array


def counted(annotations: Iterable[Any], responses: Iterable[Any]) -> Counts:
    """Count scores by slice.

    Args:
        annotations: Arrow batches with the columns `RATED`, as they lie in the table.
        responses: Likewise with `BY_MODEL`.
    """
    models = _models(responses)
    counts: Counts = defaultdict(Counter)
    seen: Counter[str] = Counter()
    for batch in annotations:
        judge, ratings = _coded(batch["judge"]), _ratings(batch["ratings"])
        stretch = _stretches(judge, seen)[ratings.row]
        place = _position(batch["order"], ratings)
        found = places(ratings.response, models.ids)
        model = np.where(found >= 0, models.codes[found], -1) if len(models.ids) else found
        for by, value, name in _kinds(place, model, stretch, models.names):
            _add(counts, by, judge, ratings, value, name)
    return counts


def _numbers(first: int) -> str:
    return f"{first + 1} to {first + STRETCH}"


def _kinds(place: Array, model: Array, stretch: Array, models: list[str]) -> Iterator[_Kind]:
    yield _Kind("all", np.zeros_like(stretch), [""].__getitem__)
    yield _Kind("time", stretch, _numbers)
    yield _Kind("position", place, str)
    yield _Kind("model", model, models.__getitem__)


def _add(counts: Counts, by: By, judge: _Coded, ratings: _Ratings, value: Array, name: Callable[[int], str]) -> None:
    """Count one kind of slice; ratings whose value is negative are in none."""
    kept = value >= 0
    rows = np.stack([judge.codes[ratings.row], ratings.aspect.codes, value, ratings.score])[:, kept]
    whole = np.zeros(rows.shape[1], dtype=np.int64)
    levels: list[Array] = []
    for row in rows:  # one number for the four
        level, code = np.unique(row, return_inverse=True)
        whole = whole * len(level) + code
        levels.append(level)
    for key, count in zip(*map(np.ndarray.tolist, np.unique(whole, return_counts=True)), strict=True):
        rest, found = key, list[int]()
        for level in reversed(levels):
            rest, at = divmod(rest, len(level))
            found.append(int(level[at]))
        score, which, aspect, who = found
        slice_ = Slice(judge.names[who], ratings.aspect.names[aspect], by, name(which))
        counts[slice_][None if score == _NONE else score] += count


def _models(responses: Iterable[Any]) -> _Models:
    names: dict[str, int] = {}
    ids, codes = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int32)]
    for batch in responses:
        model = _coded(batch["model"])
        here = np.array([names.setdefault(name, len(names)) for name in model.names], dtype=np.int32)
        ids.append(numbers(batch["id"]))
        codes.append(here[model.codes])
    every = np.concatenate(ids)
    order = np.argsort(every, kind="stable")
    return _Models(every[order], np.concatenate(codes)[order], list(names))


def _coded(column: Any) -> _Coded:
    encoded = column.dictionary_encode()
    return _Coded(encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist())


def _ratings(column: Any) -> _Ratings:
    flat = column.flatten()
    fields = dict(zip([field.name for field in flat.type], flat.flatten(), strict=True))
    return _Ratings(
        _rows(column),
        numbers(fields["response_id"]),
        _coded(fields["aspect"]),
        fields["score"].fill_null(_NONE).to_numpy(zero_copy_only=False),
    )


def _lengths(column: Any) -> Array:
    return column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def _rows(column: Any) -> Array:
    """For each element of a column of lists, the row it is in."""
    return np.repeat(np.arange(len(column)), _lengths(column))


def _stretches(judge: _Coded, seen: Counter[str]) -> Array:
    """The first annotation of the stretch that each annotation is in, counted from 0 for each judge."""
    found = np.zeros(len(judge.codes), dtype=np.int64)
    for code, name in enumerate(judge.names):
        mine = judge.codes == code
        count = int(mine.sum())
        found[mine] = np.arange(seen[name], seen[name] + count) // STRETCH * STRETCH
        seen[name] += count
    return found


def _position(orders: Any, ratings: _Ratings) -> Array:
    """At which place, from 1, the rated response was shown; -1 where that is not known."""
    lengths = _lengths(orders)
    row = _rows(orders)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    shown = _within(row, numbers(orders.flatten()))
    order = np.argsort(shown, kind="stable")
    found = places(_within(ratings.row, ratings.response), shown[order])
    return np.where(found >= 0, place[order][found], -1) if len(order) else found


def _within(row: Array, response: Array) -> Array:
    """One number for a response in an annotation."""
    return response ^ (row.astype(np.uint64) * _ODD)
