"""LRV-Instruction: questions on Visual Genome pictures, many of them about things that are not there.

Tested on: `evaluation_set.json` (`image_id`, `question`). The instruction files, which add `answer` and `task`, were
not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vlfeedback.records import Dropped
from vlfeedback.source import Example, Found, Named, Reader
from vlfeedback.source._fields import from_patterns, optional_text, text
from vlfeedback.source._rows import Row, json_reader

TESTED_ON: tuple[str, ...] = ("LRV-Instruction evaluation_set.json",)

VISUAL_GENOME = ("{}.jpg", "VG_100K/{}.jpg", "VG_100K_2/{}.jpg")
"""Where a Visual Genome picture may lie: in one folder, or in the two that it is distributed in."""


def load(path: Path, *, category: str = "", image_files: Sequence[str] = VISUAL_GENOME) -> Reader:
    """Read a file of LRV-Instruction.

    Args:
        path: A JSON list or JSON lines.
        category: For instructions whose record names no `task`.
        image_files: Paths below the root with `{}` for the image id; the first that exists is taken.
    """
    patterns = tuple(image_files)

    def found_in(row: Row) -> Iterator[Found]:
        picture = from_patterns(text(row.fields, "image_id"), patterns)
        yield Found(
            record_id=row.name,  # image_id is not one: it repeats
            prompt=text(row.fields, "question"),
            images=(picture,),
            category=optional_text(row.fields, "task") or category,
            reference=optional_text(row.fields, "answer") or None,
        )

    return json_reader(path, found_in)


_PICTURE = Named("5.jpg", or_else=("VG_100K/5.jpg", "VG_100K_2/5.jpg"))

EXAMPLES = (
    Example(
        {
            "questions.json": '[{"image_id": "5", "question": "Do you see the kite?"},'
            '{"image_id": "5", "question": "Name the flowers.", "answer": "Tulips.", "task": "objects"},'
            '{"image_id": "5"}]'
        },
        "questions.json",
        (
            Found("record 1", "Do you see the kite?", (_PICTURE,)),
            Found("record 2", "Name the flowers.", (_PICTURE,), "objects", reference="Tulips."),
            Dropped("source", "record 3", "bad_record"),
        ),
    ),
)
