"""M3IT: academic vision-language tasks as instruction, input and output, with the pictures inside as base64.

Not seen. The layout is taken from its project page: `instruction`, `inputs`, `outputs`, and `image_base64_str`, a list.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vlfeedback.records import Dropped
from vlfeedback.source import Embedded, Example, Found, Reader
from vlfeedback.source._conversations import name_of
from vlfeedback.source._fields import embedded, optional_text, text, texts
from vlfeedback.source._rows import Row, json_reader

TESTED_ON: tuple[str, ...] = ()


def load(path: Path, *, category: str = "") -> Reader:
    """Read a file of M3IT; pictures of kept records go to the run folder.

    The prompt is the instruction, and the input after an empty line where there is one.

    Args:
        path: JSON lines or a JSON list.
        category: For all instructions: the name of the task.
    """

    def found_in(row: Row) -> Iterator[Found]:
        instruction = text(row.fields, "instruction").strip()
        inputs = (optional_text(row.fields, "inputs", "input") or "").strip()
        yield Found(
            record_id=name_of(row.fields, row.name),
            prompt=f"{instruction}\n\n{inputs}".strip(),
            images=tuple(embedded(encoded) for encoded in texts(row.fields, "image_base64_str", "image_str", "image")),
            category=optional_text(row.fields, "task") or category,
            reference=optional_text(row.fields, "outputs", "output") or None,
        )

    return json_reader(path, found_in)


EXAMPLES = (
    Example(
        {
            "vqa.jsonl": '{"instruction": "Answer briefly.", "inputs": "What is it?", "outputs": "A pen.",'
            ' "image_base64_str": ["R0lG\\nODlh"]}\n'
            '{"instruction": "Caption it.", "inputs": "", "outputs": "Rain.", "image_base64_str": "R0lGODlh"}\n'
            '{"instruction": "Caption it.", "outputs": "Rain.", "image_base64_str": ["%"]}\n'
        },
        "vqa.jsonl",
        (
            Found("line 1", "Answer briefly.\n\nWhat is it?", (Embedded(b"GIF89a"),), "vqa", reference="A pen."),
            Found("line 2", "Caption it.", (Embedded(b"GIF89a"),), "vqa", reference="Rain."),
            Dropped("source", "line 3", "bad_image"),
        ),
        {"category": "vqa"},
    ),
)
