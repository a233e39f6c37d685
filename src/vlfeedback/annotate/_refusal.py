"""Replies in which a judge declines to judge, in words rather than by a flag of the endpoint."""

from __future__ import annotations

import re

LONGEST = 800
"""Characters; what is longer is no mere refusal."""

_DECLINES = re.compile(
    r"^\W*(?:(?:i['’]?m|i am|we['’]?re|we are)\s+(?:very\s+|so\s+)?(?:sorry|afraid|unable|not able)\b"
    r"|sorry\b"
    r"|(?:unfortunately,?\s+)?(?:i|we)\s+(?:cannot|can['’]?t|can not|won['’]?t|will not|must decline|have to decline)\b"
    r"|(?:my\s+)?apologies\b|i\s+apologi[sz]e\b)",
    re.IGNORECASE,
)


def declines(text: str) -> bool:
    """Whether a reply that holds no rating is a refusal; a guess from its first words, used for the status alone."""
    return len(text) <= LONGEST and _DECLINES.match(text) is not None
