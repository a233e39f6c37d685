"""The room's books: of every group of k responses, k (k − 1) / 2 = pairs + dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from vlfeedback.errors import BooksError
from vlfeedback.records import Dropped, PreferencePair


@dataclass(frozen=True, slots=True)
class Books:
    """What became of every two responses.

    Attributes:
        pairs: Preferences.
        tie: Equal ratings.
        incomplete: A rating is missing.
        identical: The two texts are equal, whatever their ratings.
        filtered: The strategy leaves them out.
    """

    pairs: int
    tie: int
    incomplete: int
    identical: int
    filtered: int

    @property
    def dropped(self) -> int:
        """All that is no pair."""
        return self.tie + self.incomplete + self.identical + self.filtered

    def balance(self, possible: int) -> None:
        """Refuse books with a hole.

        Args:
            possible: Sum of `possible(k)` over the groups read.
        Raises:
            BooksError: pairs went missing, or there are too many.
        """
        if possible != self.pairs + self.dropped:
            raise BooksError(
                f"pair: {possible} times two responses, but {self.pairs} pairs + {self.dropped} dropped; pair again"
            )


def possible(responses: int) -> int:
    """How many pairs that many responses can form."""
    return responses * (responses - 1) // 2


def tally(records: Iterable[PreferencePair | Dropped]) -> Books:
    """Count what the stage gave."""
    counts = Counter(record.reason if isinstance(record, Dropped) else "pairs" for record in records)
    return Books(counts["pairs"], counts["tie"], counts["incomplete"], counts["identical"], counts["filtered"])
