"""What is kept of pictures at the same time: pixels that are being decoded, and what was found lately."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Room:
    """Room for some number of pixels over all threads; a picture that is larger than all of it is decoded alone.

    Args:
        most: Pixels at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Generator[None]:
        """Wait until there is room for that many more, and hold it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._most)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()


def limited(kept: dict[K, V], most: int) -> dict[K, V]:
    """A dictionary with room for one more: the oldest entry goes."""
    if len(kept) >= most:
        del kept[next(iter(kept))]
    return kept
