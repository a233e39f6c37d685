"""A judge's reply in exactly the grammar that was asked for, read by one pattern.

Whatever deviates by a letter is left to the reading heading by heading and line by line (`vlfeedback.py`), which takes
three times as long and which decides what a reply means: where this module reads a reply, both read the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import product

from vlfeedback.annotate._aspects import SCALE
from vlfeedback.annotate._contract import Cell, Parsed
from vlfeedback.records import Rating

_PLAIN = re.compile("[\x00-\x7f‘’“”–—…]*+")
"""Letters among which none counts as another one in another case; some beyond ASCII do (`ı` for `i`)."""

_REASON = r"([^\r\n#`]*[^\s#`*_-])[ \t]*+"
"""A reason of one line that does not end like a rule or a fence."""


def read_as_asked(text: str, aspects: tuple[str, ...], order: Sequence[str]) -> Parsed | None:
    """All ratings of a reply, or None where it is not in the very shape of the rubric.

    Args:
        text: The reply.
        aspects: Names in the order in which they were asked for.
        order: Response ids as shown; the reply has one block for each under each aspect.
    """
    blocks = len(aspects) * len(order)
    # A second line that looks like a rating makes a block none: here the word stands in each block once.
    if text.lower().count("rating") != blocks or len(set(order)) < len(order):
        return None
    if not text.isascii() and not _PLAIN.fullmatch(text):
        return None
    found = _shape(aspects, len(order)).fullmatch(text)
    if found is None:
        return None
    given = found.groups()
    ratings = [
        Rating(response, aspect, int(score), reason.strip())
        for (aspect, response), score, reason in zip(product(aspects, order), given[::2], given[1::2], strict=True)
    ]
    last = Cell(ratings[-1].response_id, ratings[-1].aspect) if ratings else None
    return Parsed(tuple(ratings), unfinished=last)


@lru_cache(maxsize=64)
def _shape(aspects: tuple[str, ...], texts: int) -> re.Pattern[str]:
    """The reply on so many texts; what may repeat never gives back, so that the time is that of one reading."""
    low, high = SCALE
    lines: list[str] = []
    for aspect in aspects:
        lines.append(rf"#### {re.escape(aspect)} Assessment")
        for number in range(1, texts + 1):
            lines.append(rf"##### Output for Text {number}")
            lines.append(rf"Rating: ([{low}-{high}])\nRationale: {_REASON}")
    return re.compile(r"\n*+" + r"\n++".join(lines) + r"\n*+")
