"""Written characters of the pocket world: a 3 × 5 pixel face, one row of bits per line."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROWS: dict[str, str] = {
    "A": "010 101 111 101 101", "B": "110 101 110 101 110", "C": "011 100 100 100 011", "D": "110 101 101 101 110",
    "E": "111 100 110 100 111", "G": "011 100 101 101 011", "H": "101 101 111 101 101", "I": "111 010 010 010 111",
    "K": "101 101 110 101 101", "L": "100 100 100 100 111", "M": "101 111 111 101 101", "N": "110 101 101 101 101",
    "O": "010 101 101 101 010", "P": "110 101 110 100 100", "R": "110 101 110 110 101", "S": "011 100 010 001 110",
    "T": "111 010 010 010 010", "U": "101 101 101 101 111", "V": "101 101 101 101 010", "X": "101 101 010 101 101",
    "Y": "101 101 010 010 010", "Z": "111 001 010 100 111",
    "1": "010 110 010 010 111", "2": "110 001 010 100 111", "3": "110 001 010 001 110", "4": "101 101 111 001 001",
    "5": "111 100 110 001 110", "6": "011 100 111 101 111",
}  # fmt: skip


def write(word: str) -> NDArray[np.bool_]:
    """Set a word in the pixel face.

    Args:
        word: Letters and digits that `ROWS` has, at least one.
    Returns:
        True where there is ink, shape (5, 4 · letters − 1).
    Raises:
        KeyError: a letter is not in the face.
    """
    glyphs = [np.array([[bit == "1" for bit in row] for row in ROWS[letter].split()]) for letter in word]
    gap = np.zeros((5, 1), dtype=bool)
    columns = [glyphs[0]]
    for glyph in glyphs[1:]:
        columns += [gap, glyph]
    return np.concatenate(columns, axis=1)
