"""M3IT: academic vision-language tasks as instruction, input and output, with the pictures inside as base64.

Not seen. The layout is taken from its project page: `instruction`, `inputs`, `outputs`, and `image_base64_str`, a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from vlfeedback.records import Dropped
from vlfeedback.source import Embedded, Example, Found, Picture, Reader
from vlfeedback.source._conversations import name_of
from vlfeedback.source._fields import embedded, optional_text, pictures, text, texts
from vlfeedback.source._rows import Fields, Row, json_rows, row_reader
from vlfeedback.source._table_rows import table_rows
from vlfeedback.table_files import is_parquet, parquet_rows

TESTED_ON: tuple[str, ...] = ()

_PICTURES = ("image_base64_str", "image_str", "image")
_COLUMNS = ("instruction", "inputs", "input", "outputs", "output", "id", "question_id", "task", *_PICTURES)


def load(path: Path, *, category: str = "") -> Reader:
    """Read a file of M3IT; pictures of kept records go to the run folder.

    The prompt is the instruction, and the input after an empty line where there is one.

    Args:
        path: JSON lines, a JSON list, or Parquet.
        category: For all instructions: the name of the task.
    """

    def found_in(row: Row) -> Iterator[Found]:
        instruction = text(row.fields, "instruction").strip()
        inputs = (optional_text(row.fields, "inputs", "input") or "").strip()
        yield Found(
            record_id=name_of(row.fields, row.name),
            prompt=f"{instruction}\n\n{inputs}".strip(),
            images=_pictures(row.fields),
            category=optional_text(row.fields, "task") or category,
            reference=optional_text(row.fields, "outputs", "output") or None,
        )

    def rows() -> Iterator[Row | Dropped]:
        return table_rows(parquet_rows(path, _COLUMNS)) if is_parquet(path) else json_rows(path)

    return row_reader(rows, found_in)


def _pictures(fields: Fields) -> tuple[Picture, ...]:
    """Base64 wherever there is text, so that text which is none is a broken picture and not a path."""
    key = next((key for key in _PICTURES if fields.get(key) is not None), _PICTURES[0])
    value = fields.get(key)
    if isinstance(value, Mapping | bytes) or (
        isinstance(value, list) and value and isinstance(value[0], Mapping | bytes)
    ):
        return pictures(cast("object", value), key)
    return tuple(embedded(encoded) for encoded in texts(fields, key))


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
