"""Which keys were given to a new ledger: most questions are asked for the first time and need not be looked up."""

from __future__ import annotations

SIZE = 1 << 22
"""Bytes of the table, one for a mark: with a million keys one stranger in seven is taken for known."""

_MASK = SIZE - 1


class Asked:
    """A filter of two marks for a key: it may take a stranger for known, never one that is known for a stranger.

    Marks are bytes and not bits: a byte is written at once, whatever other threads write beside it.
    """

    def __init__(self) -> None:
        self._marks = bytearray(SIZE)

    def add(self, key: str) -> None:
        """From now on it is known."""
        number = hash(key)
        self._marks[number & _MASK] = 1
        self._marks[number >> 32 & _MASK] = 1

    def __contains__(self, key: str) -> bool:
        number = hash(key)
        return bool(self._marks[number & _MASK] and self._marks[number >> 32 & _MASK])
