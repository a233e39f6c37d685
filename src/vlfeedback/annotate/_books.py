"""The room's books: instructions × judges × orders = annotations + dropped, ratings + missing = responses × aspects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vlfeedback.errors import BooksError
from vlfeedback.records import Annotation, Dropped


@dataclass(frozen=True, slots=True)
class Books:
    """What a run of the room gave.

    Attributes:
        annotations: Replies that were read, whatever was in them.
        dropped: Questions without a reply.
        ok: Annotations by status, here and in the next four.
        wanted: Ratings asked for in the annotations: responses × aspects, summed.
        ratings: Of these, with a score.
        missing: Of these, without.
    """

    annotations: int
    dropped: int
    ok: int
    partial: int
    unparsed: int
    refused: int
    truncated: int
    wanted: int
    ratings: int
    missing: int

    def balance(self, *, instructions: int, judges: int, orders: int) -> None:
        """Refuse books with a hole.

        Args:
            instructions: How many were read.
            judges: How many were asked about each.
            orders: In how many orders.
        Raises:
            BooksError: something went missing; says what.
        """
        asked = instructions * judges * orders
        if asked != self.annotations + self.dropped:
            raise BooksError(
                f"annotate: {instructions} instructions × {judges} judges × {orders} orders = {asked} questions, but "
                f"{self.annotations} annotations + {self.dropped} dropped; run the room again"
            )
        if self.wanted != self.ratings + self.missing:
            raise BooksError(
                f"annotate: {self.wanted} ratings asked for (responses × aspects), but {self.ratings} given + "
                f"{self.missing} missing; the rubric's plug-in or the stage lost some"
            )


def tally(records: Iterable[Annotation | Dropped], aspects: Sequence[str]) -> Books:
    """Count what the stage gave.

    Args:
        records: All of it; annotations with an unknown order count the responses they rate.
        aspects: Of the rubric.
    """
    statuses: dict[str, int] = {}
    dropped = wanted = ratings = missing = 0
    for record in records:
        if isinstance(record, Dropped):
            dropped += 1
            continue
        statuses[record.status] = statuses.get(record.status, 0) + 1
        shown = record.order if record.order is not None else {rating.response_id for rating in record.ratings}
        wanted += len(shown) * len(aspects)
        scored = sum(rating.score is not None for rating in record.ratings)
        ratings += scored
        missing += len(record.ratings) - scored
    return Books(
        annotations=sum(statuses.values()),
        dropped=dropped,
        ok=statuses.get("ok", 0),
        partial=statuses.get("partial", 0),
        unparsed=statuses.get("unparsed", 0),
        refused=statuses.get("refused", 0),
        truncated=statuses.get("truncated", 0),
        wanted=wanted,
        ratings=ratings,
        missing=missing,
    )
