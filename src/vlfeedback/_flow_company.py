"""How long what is done may wait for others, so that they go on together."""

from __future__ import annotations

LINGER = 0.01
"""Seconds at most: for each commit, and for each lump of answers, the interpreter changes threads several times."""

SHARE = 0.02
"""Of the time that a call takes, which it may wait so at most: calls of a quick local model do not wait."""


class Company:
    """Knows about how long calls take."""

    def __init__(self) -> None:
        self._took = 0.0

    def took(self, seconds: float) -> None:
        """A call took so long."""
        self._took += (seconds - self._took) / 8

    def wait(self) -> float:
        """Seconds that one may be made to wait for the next."""
        return min(LINGER, SHARE * self._took)
