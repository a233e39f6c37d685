"""When an endpoint may be sent the next call, and how long to wait after a failure."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

FIRST_WAIT = 0.5
LONGEST_WAIT = 20.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0


def backoff(attempt: int) -> float:
    """Seconds to wait before the next attempt: doubling, capped, with jitter so that callers spread out.

    Args:
        attempt: Attempts made so far, ≥ 1.
    """
    most = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (attempt - 1))
    return most * random.uniform(0.5, 1.0)


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that an endpoint asks to be left alone: `retry-after-ms`, or `Retry-After` as seconds or as a date.

    Args:
        headers: Response headers, names in any case if the mapping ignores case.
        now: Seconds since 1970, for tests.
    Returns:
        ≥ 0, or None where the endpoint asked nothing readable.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if not value:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
            except (TypeError, ValueError):
                continue
        if seconds == seconds and seconds != float("inf"):
            return max(0.0, seconds)
    return None


@dataclass(slots=True)
class Gate:
    """The clock of one endpoint: a common pause after 429, and an even pace where one is set.

    Attributes:
        pace: Seconds between two sends; 0 for no limit.
    """

    pace: float = 0.0
    _open_at: float = field(default=0.0, init=False)
    _next: float = field(default=0.0, init=False)
    _streak: int = field(default=0, init=False)

    def closed_for(self) -> float:
        """Seconds until the common pause ends; 0 if there is none."""
        return max(0.0, self._open_at - time.monotonic())

    def pause(self, asked: float | None) -> float:
        """Close the gate for everybody who uses this endpoint.

        Args:
            asked: What the endpoint asked for, in seconds; None lets the pause double with each one in a row.
        Returns:
            The pause in seconds.
        """
        now = time.monotonic()
        if now >= self._open_at:  # the calls in flight together are refused together: one step, not thirty-two
            self._streak += 1
        seconds = asked or min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (self._streak - 1))  # an asked 0 would spin
        self._open_at = max(self._open_at, now + seconds)
        return seconds

    def answered(self) -> None:
        """The endpoint served a call: the next pause starts short again."""
        self._streak = 0

    async def keep_pace(self) -> None:
        """Wait for this call's turn in the pace of the endpoint."""
        if self.pace > 0:
            now = time.monotonic()
            slot = max(now, self._next)
            self._next = slot + self.pace
            if slot > now:
                await asyncio.sleep(slot - now)
