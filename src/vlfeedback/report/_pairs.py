"""What became of all pairs of responses, and how long the chosen ones are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vlfeedback.report._ratings import Mean, clustered_means
from vlfeedback.report._read import Artefacts

NOT_KEPT = ("tie", "incomplete", "identical", "filtered")
"""Reasons of the pair room, in the order of the figure."""

WORDS = {"kept": "kept", "tie": "tied", "incomplete": "incomplete", "identical": "identical", "filtered": "filtered"}


@dataclass(frozen=True, slots=True)
class Lengths:
    """Words of chosen and rejected responses, one entry per pair.

    Attributes:
        chosen_words, rejected_words: Lengths in words (runs of non-blanks), in the order of the pairs table.
        chosen, rejected: Mean words.
        characters: Mean characters of chosen and rejected.
        longer_wins: Share of pairs of unequal length (in characters) whose longer response was chosen; None without.
        equal: Pairs of equal length.
    """

    chosen_words: tuple[int, ...]
    rejected_words: tuple[int, ...]
    chosen: Mean
    rejected: Mean
    characters: tuple[Mean, Mean]
    longer_wins: Mean | None
    equal: int


@dataclass(frozen=True, slots=True)
class Pairs:
    """The books of the pair room.

    Attributes:
        outcomes: kept, tie, incomplete, identical, filtered → count; zeros are listed.
        strategies: Strategy → kept pairs.
        instructions: Instructions that have at least one pair.
        lengths: None where there is no pair.
    """

    outcomes: dict[str, int]
    strategies: dict[str, int]
    instructions: int
    lengths: Lengths | None

    @property
    def possible(self) -> int:
        """Pairs that could be formed."""
        return sum(self.outcomes.values())


def pairs(run: Artefacts) -> Pairs | None:
    """Sum up the pairs; None where none were formed yet."""
    import polars as pl

    table = run.frame("pairs", ["instruction_id", "chosen_id", "rejected_id", "strategy"])
    if table is None:
        return None
    dropped = run.dropped()
    reasons: dict[str, int] = {}
    if dropped is not None:
        reasons = dict(dropped.filter(pl.col("room") == "pair")["reason"].value_counts().iter_rows())
    outcomes = {"kept": len(table)} | {reason: reasons.pop(reason, 0) for reason in NOT_KEPT} | reasons
    return Pairs(
        outcomes=outcomes,
        strategies=dict(sorted(table["strategy"].value_counts().iter_rows())),
        instructions=table["instruction_id"].n_unique(),
        lengths=_lengths(run, table),
    )


def _lengths(run: Artefacts, table: Any) -> Lengths | None:
    import polars as pl

    responses = run.frame("responses", ["id", "text"])
    if responses is None or table.is_empty():
        return None
    sizes = responses.select(
        "id", words=pl.col("text").str.count_matches(r"\S+").cast(pl.Int64),
        characters=pl.col("text").str.len_chars().cast(pl.Int64),
    )  # fmt: skip
    joined = table.join(sizes, left_on="chosen_id", right_on="id", maintain_order="left").join(
        sizes, left_on="rejected_id", right_on="id", suffix="_rejected", maintain_order="left"
    )
    if joined.is_empty():
        return None
    unequal = joined.filter(pl.col("characters") != pl.col("characters_rejected")).with_columns(
        longer=(pl.col("characters") > pl.col("characters_rejected")).cast(pl.Int64)
    )
    return Lengths(
        chosen_words=tuple(joined["words"].to_list()),
        rejected_words=tuple(joined["words_rejected"].to_list()),
        chosen=_mean(joined, "words"),
        rejected=_mean(joined, "words_rejected"),
        characters=(_mean(joined, "characters"), _mean(joined, "characters_rejected")),
        longer_wins=None if unequal.is_empty() else _mean(unequal, "longer"),
        equal=len(joined) - len(unequal),
    )


def _mean(frame: Any, value: str) -> Mean:
    """Mean over pairs; the pairs of one instruction share responses and are one unit."""
    return clustered_means(frame.with_columns(every=0), ["every"], value)[0][1]
