"""LLaVAR: text-rich pictures with conversations written by GPT-4 from recognised text, in the format of LLaVA.

Tested on: `qa50_questions.jsonl` (`question_id`, `image`, `text`, `category`). The finetuning file with conversations
was not seen; it is read as `llava` reads its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vlfeedback.source import Example, Found, Named, Reader
from vlfeedback.source._conversations import checked_turns, found_in_turns, name_of, question
from vlfeedback.source._fields import named, objects, optional_text
from vlfeedback.source._rows import Row, json_reader

TESTED_ON: tuple[str, ...] = ("LLaVAR qa50_questions.jsonl",)


def load(path: Path, *, turns: str = "first", category: str = "") -> Reader:
    """Read LLaVAR's conversations or its question file.

    Args:
        path: A JSON list or JSON lines.
        turns: `first` or `each`, as for `llava`.
        category: For instructions whose record names none.
    Raises:
        ConfigError: `turns` is neither.
    """
    which = checked_turns(turns)

    def found_in(row: Row) -> Iterator[Found]:
        name, pictures = name_of(row.fields, row.name), named(row.fields, "image")
        kind = optional_text(row.fields, "category") or category
        if "conversations" in row.fields:
            yield from found_in_turns(name, objects(row.fields, "conversations"), pictures, which, kind)
        else:
            yield question(name, row.fields, pictures, category)

    return json_reader(path, found_in)


EXAMPLES = (
    Example(
        {
            "chat.json": '[{"id": "9", "image": "poster.png", "conversations": ['
            '{"from": "human", "value": "What does the poster announce?\\n<image>"},'
            '{"from": "gpt", "value": "A concert."}]}]'
        },
        "chat.json",
        (Found("9", "What does the poster announce?", (Named("poster.png"),), reference="A concert."),),
    ),
    Example(
        {"questions.jsonl": '{"question_id": 0, "image": "1.png", "text": "Who wrote it?", "category": "read"}\n'},
        "questions.jsonl",
        (Found("0", "Who wrote it?", (Named("1.png"),), "read"),),
    ),
)
