"""When an endpoint may be sent the next call, and how long to wait after a failure."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

FIRST_WAIT = 0.5
LONGEST_WAIT = 20.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0

TRUSTED = 3
"""Pauses in a row that may be as short as the endpoint asks; if they were too short, it does not know better."""

OUT_AFTER = 10
"""Failures in a row, of any calls, after which an endpoint counts as out: then one call at a time looks whether it is
back. Of calls that fail at random three times in ten, ten in a row are one in 170,000."""

NAP = 0.5
"""Seconds between two looks while waiting for a turn: the user may have stopped us."""

A_WEEK = 7 * 86_400.0


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
        0 to a week, or None where the endpoint asked nothing readable.
    """
    date = _clock(headers.get("date", ""))
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if not value:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            until = _clock(value)
            if until is None:
                continue
            # By the endpoint's own clock where it tells it: ours may be wrong, or have been set a moment ago.
            seconds = until - (date if date is not None else time.time() if now is None else now)
        if seconds == seconds and seconds != float("inf"):
            return min(A_WEEK, max(0.0, seconds))
    return None


def _clock(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


@dataclass(slots=True)
class Gate:
    """The clock of one endpoint: a common pause after 429 and while it is out, and an even pace where one is set.

    Attributes:
        pace: Seconds between two sends; 0 for no limit.
        token_pace: Seconds per token; 0 for no limit.
    """

    pace: float = 0.0
    token_pace: float = 0.0
    _open_at: float = field(default=0.0, init=False)
    _next: float = field(default=0.0, init=False)
    _next_tokens: float = field(default=0.0, init=False)
    _streak: int = field(default=0, init=False)
    _failures: int = field(default=0, init=False)
    _failing_since: float = field(default=0.0, init=False)
    _resting: float = field(default=0.0, init=False)
    _in_vain: float = field(default=0.0, init=False)

    def closed_for(self) -> float:
        """Seconds until the common pause ends; 0 if there is none."""
        return max(0.0, self._open_at - time.monotonic())

    def pause(self, asked: float | None) -> float:
        """Close the gate for everybody who uses this endpoint.

        Args:
            asked: What the endpoint asked for, in seconds, if it did. Each further pause in a row lasts at least twice
                as long as the one before: an endpoint that asks for a millisecond is not asked a thousand times.
        Returns:
            The pause in seconds.
        """
        now = time.monotonic()
        if now >= self._open_at:  # the calls in flight together are refused together: one step, not thirty-two
            self._streak += 1
        own = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(30, self._streak - 1))
        seconds = asked if asked and self._streak <= TRUSTED else max(asked or 0.0, own)  # an asked 0 would spin
        self._open_at = max(self._open_at, now + seconds)
        return seconds

    def rest(self, asked: float | None) -> float:
        """The same after a 429: something was answered, so the endpoint is not out."""
        self._failures = 0
        if time.monotonic() >= self._open_at:  # the rest before is over, and nothing was served after it
            self._in_vain += self._resting
            self._resting = 0.0
        seconds = self.pause(asked)
        self._resting = max(self._resting, seconds)
        return seconds

    @property
    def in_vain(self) -> float:
        """Seconds of rests that were kept since something was served, the present one not counted.

        Not the time since the first of them: an endpoint that nobody asked for an hour has refused nothing meanwhile.
        """
        return self._in_vain

    def answered(self) -> None:
        """The endpoint served a call: the next pause starts short again."""
        self._streak = self._failures = 0
        self._resting = self._in_vain = 0.0

    def failed(self) -> bool:
        """A call was not answered, or with nothing that is an answer.

        Returns:
            Whether the endpoint now counts as out; then the gate has been closed for a while.
        """
        if not self._failures:
            self._failing_since = time.monotonic()
        self._failures += 1
        if self._failures < OUT_AFTER:
            return False
        self.pause(None)
        return True

    def out_for(self) -> float:
        """Seconds since the first of the failures in a row by which it counts as out; 0 if it does not."""
        return time.monotonic() - self._failing_since if self._failures >= OUT_AFTER else 0.0

    async def keep_pace(self, tokens: float, stop: Callable[[], bool]) -> bool:
        """Wait for this call's turn in the pace of the endpoint.

        Args:
            tokens: What the call is expected to take.
            stop: Whether to wait no longer.
        Returns:
            False if the waiting was given up.
        """
        if self.pace <= 0 and self.token_pace <= 0:
            return True
        now = time.monotonic()
        slot = max(now, self._next, self._next_tokens)
        self._next = slot + self.pace
        self._next_tokens = slot + tokens * self.token_pace
        while (left := slot - time.monotonic()) > 0:
            if stop():
                return False
            await asyncio.sleep(min(left, NAP))
        return True

    def took(self, expected: float, tokens: int) -> None:
        """Correct the pace by what a call really took."""
        self._next_tokens += (tokens - expected) * self.token_pace
