"""What models are called by default, from their options alone: a plan says the same as a run, and opens nothing."""

from __future__ import annotations

import json
from typing import Any


def of_endpoint(
    model: str, identity: str, revision: str, detail: str, reasoning: bool, extra: dict[str, Any] | None
) -> str:
    """The declared identity, or `openai:MODEL[@REVISION]` and the options that change the reply."""
    name = f"openai:{model}" + (f"@{revision}" if revision else "")
    options: dict[str, Any] = {"detail": detail, "extra": extra, "reasoning": reasoning}
    return identity or name + "".join(f";{key}={compact(value)}" for key, value in options.items() if value)


def compact(value: object) -> str:
    """A text as it is, anything else as JSON that is the same for equal values."""
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
