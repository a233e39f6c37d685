"""JSON and text, fast: compact for what is written by the million, and forgiving for what strangers send."""

from __future__ import annotations

import json
from typing import Any

import orjson


def compact(value: Any) -> bytes:
    """A JSON value as UTF-8 without spaces, keys in their order.

    `orjson` takes a twentieth of the time of `json`; halves of characters, which it refuses, are kept as they came.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def read_json(text: str) -> Any:
    """What somebody else wrote as JSON; a byte order mark, halves of characters, NaN and long numbers are let pass.

    Raises:
        ValueError: it is no JSON, or nested so deeply that no honest program wrote it.
    """
    text = text.removeprefix("\ufeff")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            return json.loads(text)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


def storable(text: str) -> str:
    """Half a surrogate pair (a text cut inside an emoji) cannot be written as UTF-8: it becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
