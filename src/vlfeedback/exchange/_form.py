"""Which preference format the rows of a file are in, by their columns, for callers who did not say it."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

from vlfeedback.exchange._rows import Json, Row, rows

ASKED = {
    "question": "rlaif_v",
    "conversations": "llama_factory",
    "messages": "llama_factory",
    "query": "",
    "instruction": "",
}
"""Columns of other formats that hold what was asked, and the format that reads them; empty for none."""

_LOOKED_AT = 100
"""Damaged rows at the beginning of a file that are looked past."""


def form_of(path: Path, split: str = "") -> str:
    """Name of the format of the first row that says something; `trl` where its columns fit no other.

    Args:
        path: File or folder.
        split: As for `rows`.
    Raises:
        ConfigError, DataError: as of `rows`.
    """
    first = next((row for row in islice(rows(path, split=split), _LOOKED_AT) if isinstance(row, Row)), None)
    return "trl" if first is None else _by_columns(first.fields)


def unread_question(fields: dict[str, Json]) -> str:
    """What to do about a row without a prompt whose question stands in a column of another format; empty if in none."""
    name = next((name for name in ASKED if fields.get(name)), "")
    if not name:
        return ""
    reader = ASKED[name]
    mend = f"the format {reader} reads it (`--format {reader}`, `import {reader}`)" if reader else "call it prompt"
    return f"the row has no prompt, and its column {name} is not read as one: {mend}"


def _by_columns(fields: dict[str, Json]) -> str:
    chosen, rejected = fields.get("chosen"), fields.get("rejected")
    if fields.get("prompt") is not None:
        return "trl"
    if isinstance(fields.get("question"), str) and isinstance(chosen, str) and isinstance(rejected, str):
        return "rlaif_v"
    talk = fields.get("conversations") or fields.get("messages")
    if isinstance(talk, list) and isinstance(chosen, dict) and isinstance(rejected, dict):
        return "llama_factory"
    return "rlaif_v" if chosen is None and _packed(fields.get("text")) else "trl"


def _packed(text: Json) -> bool:
    """Whether a column is RLHF-V's, which keeps all three texts as JSON."""
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return False
    try:
        found: Json = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {"question", "chosen", "rejected"} <= found.keys()
