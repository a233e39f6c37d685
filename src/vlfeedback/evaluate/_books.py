"""What every scorer counts, under the same names in every result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The books of a result.

    Attributes:
        n_expected: Items that the benchmark has.
        n_present: Items with a reply.
        n_unparsable: Replies that the protocol's parser, or the judge's, cannot read.
        n_failed: Items without a reply; they are in no figure.
        complete: Every item of the benchmark is there and has a reply.
        warnings: What a reader must know before quoting a figure, the worst first.
    """

    n_expected: int
    n_present: int
    n_unparsable: int
    n_failed: int
    complete: bool
    warnings: tuple[str, ...]

    def books(self) -> dict[str, Any]:
        """As JSON values."""
        found = {name: getattr(self, name) for name in Counted.__slots__}
        return {**found, "warnings": list(self.warnings)}
