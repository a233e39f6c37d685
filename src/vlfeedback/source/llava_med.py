"""LLaVA-Med: questions on biomedical figures in the format of LLaVA.

Not seen: the instruction files; their layout is taken from general knowledge of the release, in which `conversations`
is spelt `conversatons` and `domain` maps kinds of figure to true or false.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vlfeedback.source import Example, Found, Named, Reader
from vlfeedback.source._conversations import checked_turns, found_in_turns, name_of, question
from vlfeedback.source._fields import named, objects
from vlfeedback.source._rows import Fields, Row, as_fields, json_reader

TESTED_ON: tuple[str, ...] = ()


def load(path: Path, *, turns: str = "first") -> Reader:
    """Read LLaVA-Med's conversations or questions; the category is the kind of figure that `domain` marks as true.

    Args:
        path: A JSON list or JSON lines.
        turns: `first` or `each`, as for `llava`.
    Raises:
        ConfigError: `turns` is neither.
    """
    which = checked_turns(turns)

    def found_in(row: Row) -> Iterator[Found]:
        name, pictures = name_of(row.fields, row.name), named(row.fields, "image")
        kind = _domain(row.fields)
        if "conversations" in row.fields or "conversatons" in row.fields:
            talk = objects(row.fields, "conversations", "conversatons")
            yield from found_in_turns(name, talk, pictures, which, kind)
        else:
            yield question(name, row.fields, pictures, kind)

    return json_reader(path, found_in)


def _domain(fields: Fields) -> str:
    kinds = as_fields(fields.get("domain")) or {}
    return "+".join(sorted(kind for kind, holds in kinds.items() if holds is True))


EXAMPLES = (
    Example(
        {
            "med.json": '[{"id": "100_1", "image": "100_1.jpg", "domain": {"mri": false, "ct_scan": true},'
            '"conversatons": [{"from": "human", "value": "What does the arrow show?\\n<image>"},'
            '{"from": "gpt", "value": "A cyst."}]}]'
        },
        "med.json",
        (Found("100_1", "What does the arrow show?", (Named("100_1.jpg"),), "ct_scan", reference="A cyst."),),
    ),
)
