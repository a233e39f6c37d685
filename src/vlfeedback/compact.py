"""Compact JSON, fast: for what is written by the million."""

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
