"""A judge whose replies hold no rating from the first one on: told while most of its bill can still be saved."""

from __future__ import annotations

from collections import Counter

from vlfeedback.records import Annotation

SILENT = 20
"""Replies of a judge without any rating after which that is told; a judge that can be read has one in nearly each."""


class Silent:
    """Looks at annotations as they come."""

    def __init__(self) -> None:
        self._statuses: dict[str, Counter[str]] = {}
        self._settled: set[str] = set()

    def add(self, annotation: Annotation) -> str:
        """What to tell the user after this annotation, once per judge; empty for nothing."""
        judge = annotation.judge
        if judge in self._settled:
            return ""
        if any(rating.score is not None for rating in annotation.ratings):
            self._settled.add(judge)
            return ""
        statuses = self._statuses.setdefault(judge, Counter())
        statuses[annotation.status] += 1
        if statuses.total() < SILENT:
            return ""
        self._settled.add(judge)
        how = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
        return (
            f"worth a look: none of the first {SILENT} replies of {judge} holds a rating that can be read ({how}). "
            "Ctrl-C stops here: no further one is paid for, and a mended parser reads those that are, at no call."
        )
