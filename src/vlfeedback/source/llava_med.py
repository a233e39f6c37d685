"""LLaVA-Med: questions on biomedical figures in the format of LLaVA.

Seen: the questions of its evaluation, `text` with `<image>` at its end, `gpt4_answer`, and `domain`, which maps kinds
of figure to true or false. Not seen: the instruction files; their layout is taken from public readers of the release,
in which `conversations` is spelt `conversatons`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vlfeedback.source import Example, Found, Named, Reader
from vlfeedback.source._conversations import checked_turns, found_in_turns, name_of, question
from vlfeedback.source._fields import named, objects
from vlfeedback.source._rows import Fields, Row, as_fields, json_reader

TESTED_ON = ("LLaVA-Med llava_med_eval_qa50_qa.jsonl, two rows",)


def load(path: Path, *, turns: str = "first") -> Reader:
    """Read LLaVA-Med's conversations or questions; the category is the kind of figure that `domain` marks as true.

    A question without one has its `type` as category.

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
            found = question(name, row.fields, pictures)
            yield replace(found, category=kind or found.category)

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
    Example(
        {
            "qa.jsonl": '{"question_id": 7, "image": "1_F3.jpg", "pair_id": "1_F3", "text": "Which organ?\\n<image>",'
            ' "gpt4_answer": "A lung.", "domain": {"mri": false, "gross": true, "histology": true}, "type": "detail"}\n'
            '{"question_id": 8, "image": "1_F3.jpg", "text": "Which side?\\n<image>", "type": "detail"}\n'
        },
        "qa.jsonl",
        (
            Found("7", "Which organ?", (Named("1_F3.jpg"),), "gross+histology", reference="A lung."),
            Found("8", "Which side?", (Named("1_F3.jpg"),), "detail"),
        ),
    ),
)
