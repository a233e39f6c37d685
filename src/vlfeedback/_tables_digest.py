"""What a table is called by its rows, whatever their order."""

from __future__ import annotations

import hashlib
from typing import Any

from vlfeedback.compact import compact

OUTSIDE_DIGEST = frozenset({"latency", "cost", "time", "created", "finished"})
"""Fields that may differ between identical runs."""


class Digest:
    """A sum of row hashes: equal for equal rows in any order, and different when a row comes twice."""

    def __init__(self) -> None:
        self.total = 0
        self.rows = 0

    def add(self, row: dict[str, Any]) -> None:
        """Count a row in."""
        kept = {name: value for name, value in row.items() if name not in OUTSIDE_DIGEST}
        self.total += int.from_bytes(hashlib.sha256(compact(kept)).digest(), "big")
        self.rows += 1

    def merge(self, digest: str, rows: int) -> None:
        """Add the rows of another table, by its digest: a sum of sums."""
        self.total += int(digest, 16)
        self.rows += rows

    def hex(self) -> str:
        """64 digits."""
        return f"{self.total % (1 << 256):064x}"
