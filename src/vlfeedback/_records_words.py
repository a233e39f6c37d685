"""The closed vocabularies of the records: every word that a state, a reason or a purpose may be."""

from __future__ import annotations

from typing import Literal, get_args

Conduct = Literal["answer", "caution", "refuse"]
Split = Literal["train", "eval"]
Finish = Literal["stop", "length", "content_filter", "refused", "error"]
ErrorClass = Literal["bad_request", "rate_limited", "timeout", "connection", "server"]
CallState = Literal["intent", "done", "failed"]
AnnotationStatus = Literal["ok", "partial", "unparsed", "refused", "truncated"]
ItemState = Literal["scored", "unparsable", "failed"]
Choice = Literal["left", "right", "tie", "neither"]
Purpose = Literal["decode", "annotate", "evaluate", "grade", "probe"]
Room = Literal["source", "decode", "annotate", "pair", "train", "evaluate", "exchange"]

Reason = Literal[
    # source, exchange
    "duplicate", "split_conflict", "repeated_id", "not_sampled", "empty_prompt", "bad_record", "missing_image",
    "bad_image", "image_too_large", "refused_path", "refused_uri",
    # decode, annotate
    "call_failed", "content_filter", "refused", "empty_response", "no_responses", "unparsed", "truncated",
    "missing_rating", "interrupted", "waiting",
    # pair
    "tie", "incomplete", "identical", "filtered",
    # train
    "too_long", "image_tokens", "no_image", "held_out",
]  # fmt: skip

ANSWERED: frozenset[str] = frozenset({"stop", "length", "content_filter", "refused"})
"""Ways a call can end that are answers and are kept; `error` is kept only for a `bad_request`."""

CUT_OFF: frozenset[str] = frozenset({"length", "content_filter"})
"""Ways a reply can stop before its end: its words are the model's, where they stop is not."""

ASKED_AGAIN: frozenset[str] = frozenset({"rate_limited", "timeout", "connection", "server"})
"""Error classes that say nothing of the question: the call is asked again by the next run."""

REASONS: frozenset[str] = frozenset(get_args(Reason))
