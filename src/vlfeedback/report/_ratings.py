"""What the judge gave: ratings joined with who wrote, in which place it was shown, and of which subset it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from vlfeedback.report._read import Artefacts
from vlfeedback.stats import FEW_UNITS

SCORE_COLUMNS = [
    "instruction_id", "judge", "rubric", "order", "status",
    "ratings.list.element.response_id", "ratings.list.element.aspect", "ratings.list.element.score",
]  # fmt: skip
"""Columns of annotations without the rationales, which are most of the bytes."""

Z = 1.959963984540054


class Mean(NamedTuple):
    """A mean with its 95 % interval; no ends where there are too few units for one."""

    value: float
    low: float | None
    high: float | None
    n: int


class Spread(NamedTuple):
    """How the ratings of one aspect spread in one subset.

    Attributes:
        counts: Score → how often.
        missing: Ratings without a verdict, which are in no count.
    """

    aspect: str
    subset: str
    counts: dict[int, int]
    missing: int

    @property
    def n(self) -> int:
        """Ratings with a verdict."""
        return sum(self.counts.values())

    @property
    def mean(self) -> float | None:
        """Mean rating, None where there is none."""
        return sum(score * count for score, count in self.counts.items()) / self.n if self.n else None

    def share(self, score: int) -> float:
        """Share of a score among the ratings with a verdict, 0 to 1."""
        return self.counts.get(score, 0) / self.n if self.n else 0.0


@dataclass(frozen=True, slots=True)
class Ratings:
    """Sums over all ratings of a run.

    Attributes:
        aspects: In the rubric's order, as the table has them.
        scale: Scores from lowest to highest that can occur.
        spreads: Per aspect for "all" and, where there is one, "red-team" (conduct caution or refuse).
        models: Mean rating per (model, aspect).
        positions: Mean rating per (place in the order from 1, aspect); empty where no order is known.
        statuses: Annotations by status.
    """

    aspects: tuple[str, ...]
    scale: tuple[int, ...]
    spreads: tuple[Spread, ...]
    models: dict[tuple[str, str], Mean]
    positions: dict[tuple[int, str], Mean]
    statuses: dict[str, int]
    judges: tuple[str, ...]
    rubrics: tuple[str, ...]


def ratings(run: Artefacts) -> Ratings | None:
    """Sum up the ratings; None where nothing was judged yet."""
    import polars as pl

    notes = run.frame("annotations", SCORE_COLUMNS)
    if notes is None or notes.is_empty():
        return None
    notes = notes.with_row_index("annotation")
    long = (
        notes.select("annotation", "instruction_id", "ratings")
        .explode("ratings")
        .filter(pl.col("ratings").is_not_null())
        .unnest("ratings")
    )
    scored = long.filter(pl.col("score").is_not_null())
    aspects = tuple(long["aspect"].unique(maintain_order=True).to_list())
    found: list[int] = scored["score"].unique().to_list()
    return Ratings(
        aspects=aspects,
        scale=tuple(range(min([1, *found]), max([5, *found]) + 1)),
        spreads=_spreads(run, long, aspects),
        models=_by_model(run, scored),
        positions=_by_position(scored, notes.select("annotation", "order")),
        statuses=dict(sorted(notes["status"].value_counts().iter_rows())),
        judges=tuple(sorted(notes["judge"].unique().to_list())),
        rubrics=tuple(sorted(notes["rubric"].unique().to_list())),
    )


def _spreads(run: Artefacts, long: Any, aspects: tuple[str, ...]) -> tuple[Spread, ...]:
    import polars as pl

    subsets = [("all", long)]
    instructions = run.frame("instructions", ["id", "conduct"])
    if instructions is not None:
        hostile = instructions.filter(pl.col("conduct").is_in(["caution", "refuse"]))["id"]
        if len(hostile):
            subsets.append(("red-team", long.filter(pl.col("instruction_id").is_in(hostile.implode()))))
    return tuple(
        Spread(aspect, name, dict(sorted(_counts(part, aspect))), part.filter(aspect=aspect)["score"].null_count())
        for name, part in subsets
        for aspect in aspects
    )


def _counts(part: Any, aspect: str) -> list[tuple[int, int]]:
    return list(part.filter(aspect=aspect)["score"].drop_nulls().value_counts().iter_rows())


def _by_model(run: Artefacts, scored: Any) -> dict[tuple[str, str], Mean]:
    responses = run.frame("responses", ["id", "model"])
    if responses is None:
        return {}
    joined = scored.join(responses, left_on="response_id", right_on="id")
    return {(row[0], row[1]): mean for row, mean in clustered_means(joined, ["model", "aspect"], "score")}


def _by_position(scored: Any, orders: Any) -> dict[tuple[int, str], Mean]:
    """Mean rating by the place in which the judge saw the response."""
    import polars as pl

    places = (
        orders.filter(pl.col("order").list.len() > 0)
        .with_columns(place=pl.int_ranges(1, pl.col("order").list.len() + 1))
        .explode("order", "place")
    )
    if places.is_empty():
        return {}
    place = scored.join(places, left_on=["annotation", "response_id"], right_on=["annotation", "order"])
    return {(int(row[0]), row[1]): mean for row, mean in clustered_means(place, ["place", "aspect"], "score")}


def clustered_means(
    frame: Any, keys: list[str], value: str, cluster: str = "instruction_id"
) -> list[tuple[tuple[Any, ...], Mean]]:
    """Means of groups with 95 % intervals that respect clusters, sorted by key; below `FEW_UNITS` clusters with none.

    Args:
        frame: One row per observation.
        keys: Columns that name the group.
        value: Column of numbers, none missing.
        cluster: Column of the unit; observations of one unit are not independent.
    Source:
        Miller 2024 (arXiv:2411.00640), eq. 4, with the factor C/(C−1); normal quantile.
    """
    import polars as pl

    units = frame.group_by([*keys, cluster]).agg(total=pl.col(value).sum().cast(pl.Float64), size=pl.len())
    sums = units.with_columns(mean=pl.col("total").sum().over(keys) / pl.col("size").sum().over(keys))
    table = (
        sums.group_by(keys)
        .agg(
            mean=pl.col("mean").first(),
            n=pl.col("size").sum(),
            units=pl.len(),
            squares=((pl.col("total") - pl.col("size") * pl.col("mean")) ** 2).sum(),
        )
        .sort(keys)
    )
    means: list[tuple[tuple[Any, ...], Mean]] = []
    for row in table.iter_rows(named=True):
        half = None
        if row["units"] >= FEW_UNITS:
            half = Z * (row["squares"] * row["units"] / (row["units"] - 1)) ** 0.5 / row["n"]
        low, high = (None, None) if half is None else (row["mean"] - half, row["mean"] + half)
        means.append((tuple(row[key] for key in keys), Mean(row["mean"], low, high, row["n"])))
    return means
