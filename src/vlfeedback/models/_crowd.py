"""How many calls an endpoint is sent at a time: more until latency or errors say stop.

Growth is quick until the first trouble and a tenth per round after it. Trouble is a round (as many calls as are allowed
at a time) whose latency is twice the best one seen, or whose share of failures is above what is known to be this
endpoint's weather. Then the crowd is cut, and the next round tells whether that helped: where it did not, the calls
have become longer or the failures are nobody's fault, and the cut is taken back. Without that look an endpoint that
fails at random, or one that is asked for longer answers than before, would be starved to one call at a time.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass

FEWEST = 16
"""Calls in the shortest round; twice as many where a cut is judged."""

SLOW = 2.0
"""Latency over the best one that counts as a queue at the endpoint."""

ROUGH = 0.1
"""Share of failures above the usual, beyond what chance does in a round, that counts as trouble."""

CUT = 0.7
LOOKS = 4
"""Cuts in a row (to a quarter in all) before failures that stay are taken to have another cause than the crowd."""

ALL = 0.8
"""Share of failures that is nobody's weather: the crowd is cut until it is one call."""

MOST = 0.5
"""Share of failures with which a crowd that was cut in vain stays as small as it is: it is begun large enough."""


@dataclass(slots=True)
class _Trouble:
    """What led to a cut: the limit before it, the mean latency in seconds (0 if unknown), the share of failures."""

    limit: float
    latency: float
    share: float
    slow: bool
    cuts: int = 1


class Crowd:
    """Places at one endpoint; belongs to one event loop.

    Attributes:
        places: Calls that may be under way now.

    Args:
        most: Upper bound, ≥ 1.
        start: Places at first.
        adaptive: Without it there are always `most` places.
    """

    def __init__(self, most: int, *, start: int | None = None, adaptive: bool = True) -> None:
        self.most = most
        self._allow(float(max(1, min(most, start or most)) if adaptive else most))
        self.active = 0
        self.round = 0
        self._adaptive = adaptive
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._quick = True
        self._best = 0.0
        self._usual = 0.0
        self._trouble: _Trouble | None = None
        self._before_outage = 0.0
        self._begin()

    @property
    def full(self) -> bool:
        """Whether the next one has to wait."""
        return self.active >= self.places or bool(self._waiting)

    async def enter(self) -> int:
        """Wait for a place.

        Returns:
            The number of the round, for `leave`.
        """
        if self.full:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.active -= 1  # the place was given to somebody who has gone
                self._wake()
                raise
        else:
            self.active += 1
        self._peak = max(self._peak, self.active)
        return self.round

    def leave(self, round_: int, latency: float = 0.0, *, failed: bool = False) -> None:
        """Give the place back.

        Args:
            round_: What `enter` returned; calls that began before the last cut say nothing of it.
            latency: Seconds of a reply; 0 for a place that was not used.
            failed: The call ended in a way that may be the crowd's fault.
        """
        self.active -= 1
        if self._adaptive and round_ == self.round and (failed or latency > 0):
            self._failed += failed
            self._good += not failed
            self._seconds += 0.0 if failed else latency
            if self._good + self._failed >= max(FEWEST if self._trouble is None else 2 * FEWEST, self.places):
                self._end_round()
        self._wake()

    def outage(self) -> None:
        """Nothing is answered any more: one call at a time until something is."""
        if not self._before_outage:
            self._before_outage = self._trouble.limit if self._trouble else self.limit
            self._trouble = None
            self._set(1.0)

    def answered(self) -> None:
        """The endpoint answers: an outage is over, and half of what it bore before is let in at once."""
        if self._before_outage:
            self._set(self._before_outage / 2 if self._adaptive else self.most)
            self._before_outage, self._quick = 0.0, True
            self._wake()

    def _begin(self) -> None:
        self._good = self._failed = self._peak = 0
        self._seconds = 0.0

    def _allow(self, limit: float) -> None:
        self.limit = limit
        self.places = max(1, int(limit + 1e-9))

    def _set(self, limit: float) -> None:
        self._allow(min(float(self.most), max(1.0, limit)))
        self.round += 1
        self._begin()

    def _wake(self) -> None:
        while self._waiting and self.active < self.places:
            turn = self._waiting.popleft()
            if not turn.done():
                self.active += 1
                turn.set_result(None)

    def _end_round(self) -> None:
        seen = self._good + self._failed
        share = self._failed / seen
        latency = self._seconds / self._good if self._good else 0.0
        full = self._peak >= self.places
        if self._trouble is not None:
            self._look(self._trouble, latency, share, seen)
        elif share > self._weather(seen):
            self._cut(_Trouble(self.limit, latency, share, slow=False))
        elif self._best and latency > SLOW * self._best and full:
            self._cut(_Trouble(self.limit, latency, share, slow=True))
        else:
            self._best = min(self._best or latency, latency) if latency else self._best
            self._usual += 0.3 * (share - self._usual)
            if full and self.limit < self.most:
                # Calls of the round so far began in a smaller crowd: they say nothing of the larger one.
                self._set(self.limit + (2 * self.limit if self._quick else max(1.0, self.limit / 10)))
            else:
                self._begin()

    def _weather(self, seen: int) -> float:
        """The largest share of failures that the usual one and chance explain."""
        usual = max(self._usual, 0.02)
        return self._usual + ROUGH + 2 * math.sqrt(usual * (1 - usual) / seen)

    def _cut(self, trouble: _Trouble) -> None:
        self._trouble, self._quick = trouble, False
        share = CUT if not trouble.slow else max(0.5, 1.25 * self._best / trouble.latency)
        self._set(self.limit * share)

    def _look(self, trouble: _Trouble, latency: float, share: float, seen: int) -> None:
        """After a cut: has it helped?"""
        if trouble.slow:
            helped = 0 < latency < 0.85 * trouble.latency
        else:
            helped = share <= max(trouble.share / 2, self._weather(seen))
            if not helped and self.limit > 1 and (trouble.cuts < LOOKS or share >= ALL):
                trouble.cuts += 1
                self._set(self.limit * CUT)
                return
        self._trouble = None
        if helped or share >= MOST:
            self._begin()
            return
        self._best = latency if trouble.slow and latency else self._best
        self._usual = max(self._usual, share)
        self._set(trouble.limit)
