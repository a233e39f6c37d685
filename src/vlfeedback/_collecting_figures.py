"""The line of figures while calls are made: cost, tokens, cached share, calls a second, errors by class."""

from __future__ import annotations

import time
from collections import deque

from vlfeedback.run_models import Access

WINDOW = 30.0
"""Seconds over which the pace is taken."""


class Figures:
    """Called a few times a second; gives one line."""

    def __init__(self, reach: Access) -> None:
        self._reach = reach
        self._past: deque[tuple[float, int]] = deque([(time.monotonic(), reach.counters.made)])

    def __call__(self) -> str:
        done, purse = self._reach.counters, self._reach.book.purse
        if not (done.made or done.reused or purse.held):
            return ""  # nothing was asked yet: what comes before the calls has no figures
        parts = [f"{self._reach.table.currency} {purse.settled:,.2f}"]
        if purse.limit is not None:
            parts[0] += f" of {purse.limit:,.2f}"
        if purse.held:
            parts[0] += f", {purse.held:,.2f} set aside"
        used = done.usage
        cached = f" ({used.cached / used.input:.0%} cached)" if used.input else ""
        parts.append(f"{_short(used.input)} tokens in{cached}, {_short(used.output)} out")
        parts.append(f"{self._pace(done.made):.1f} calls/s, {done.made:,} made, {done.reused:,} reused")
        if done.again:
            parts.append(f"{done.again:,} sent again")
        if done.errors:
            parts.append("errors: " + ", ".join(f"{count:,} {name}" for name, count in done.errors.most_common()))
        return " · ".join(parts)

    def _pace(self, made: int) -> float:
        now = time.monotonic()
        self._past.append((now, made))
        while len(self._past) > 2 and self._past[1][0] < now - WINDOW:
            self._past.popleft()
        began, before = self._past[0]
        return (made - before) / max(now - began, 1e-3)


def _short(number: int) -> str:
    if number >= 10_000_000:
        return f"{number / 1e6:,.1f}M"
    return f"{number / 1e3:,.1f}k" if number >= 10_000 else f"{number:,}"
