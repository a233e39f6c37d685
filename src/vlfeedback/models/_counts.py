"""What an endpoint says beside its words: how many tokens it counted, and how probable they were.

The words are what was paid for. A count or a probability that cannot be read is left out, and never takes them along:
what is not counted is charged at its upper bound (`_ledgered`).
"""

from __future__ import annotations

import math
from typing import Any, cast

from vlfeedback._ledger_rows import LEAST_LOGPROB
from vlfeedback.records import TokenLogprobs, Usage

MOST_TOKENS = 1 << 48
"""A larger count is nonsense, and sums of many would leave 64 bits."""


def usage_of(value: Any) -> Usage:
    """The `usage` of a reply; 0 for what is not counted, or is no number of tokens."""
    fields = _fields(value)
    entered, left = _fields(fields.get("prompt_tokens_details")), _fields(fields.get("completion_tokens_details"))
    read, thought = _count(fields.get("prompt_tokens")), _count(left.get("reasoning_tokens"))
    # Some endpoints, Gemini's for one, leave the thoughts out of the completion; they are in the total, and billed.
    beside = max(0, _count(fields.get("total_tokens")) - read) if read else 0
    return Usage(
        input=read,
        output=max(_count(fields.get("completion_tokens")), thought, beside),
        cached=min(read, _count(entered.get("cached_tokens")) or _count(fields.get("prompt_cache_hit_tokens"))),
        image=_count(entered.get("image_tokens")),
        reasoning=thought,
    )


def _fields(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    try:
        found = int(value)
    except (TypeError, ValueError, OverflowError):
        return 0
    return found if 0 <= found <= MOST_TOKENS else 0


def logprobs_of(value: Any) -> tuple[TokenLogprobs, ...] | None:
    """The `logprobs` of a choice; None where they are missing, or those of the reply's own tokens cannot be read."""
    content = _fields(value).get("content")
    if not isinstance(content, list):
        return None
    try:
        return tuple(_token(entry) for entry in cast("list[Any]", content))
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
        return None


def _token(entry: dict[str, Any]) -> TokenLogprobs:
    others = ((str(other["token"]), _logprob(other.get("logprob"))) for other in entry.get("top_logprobs") or ())
    own = _logprob(entry["logprob"])
    if own is None:
        raise ValueError("a token without a probability")
    return TokenLogprobs(str(entry["token"]), own, tuple((name, one) for name, one in others if one is not None))


def _logprob(value: Any) -> float | None:
    """A logarithm of a probability; None for what is none."""
    found = math.nan if value is None else float(value)
    if math.isnan(found) or found == math.inf:
        return None
    return max(found, LEAST_LOGPROB)
