"""ComVint: complex visual reasoning instructions, synthesised and made harder step by step.

Not seen. The release is a JSON Lines file; both layouts that such files have are read: conversations as for `llava`,
and flat records of a question and its answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vlfeedback.source import Example, Found, Named, Reader
from vlfeedback.source._conversations import alone, checked_turns, found_in_turns, name_of
from vlfeedback.source._fields import from_patterns, named, objects, optional_text, text
from vlfeedback.source._rows import Row, json_reader

TESTED_ON: tuple[str, ...] = ()

IMAGE_FILES = ("{}.jpg", "VG_100K/{}.jpg", "VG_100K_2/{}.jpg", "flickr30k-images/{}.jpg")
"""Where its pictures may lie: Visual Genome and Flickr30k."""


def load(path: Path, *, turns: str = "first", category: str = "", image_files: Sequence[str] = IMAGE_FILES) -> Reader:
    """Read a file of ComVint.

    Args:
        path: A JSON list or JSON lines.
        turns: `first` or `each`, as for `llava`.
        category: For all instructions.
        image_files: For records with `image_id`: paths below the root with `{}` for it; the first that exists is taken.
    Raises:
        ConfigError: `turns` is neither.
    """
    which = checked_turns(turns)
    patterns = tuple(image_files)

    def found_in(row: Row) -> Iterator[Found]:
        name, pictures = name_of(row.fields, row.name), named(row.fields, "image", "image_path")
        picture_id = optional_text(row.fields, "image_id")
        images = (from_patterns(picture_id, patterns),) if not pictures and picture_id else pictures
        if "conversations" in row.fields:
            yield from found_in_turns(name, objects(row.fields, "conversations"), images, which, category)
            return
        prompt = alone(text(row.fields, "question", "instruction"), len(images))
        reference = optional_text(row.fields, "answer", "output", "response") or None
        yield Found(name, prompt, images, category, reference=reference)

    return json_reader(path, found_in)


EXAMPLES = (
    Example(
        {
            "comvint.jsonl": '{"image": "1.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhy wet?"},'
            '{"from": "gpt", "value": "It rained."}]}\n'
            '{"image_id": "8", "question": "Which bag is heavier?", "answer": "The red one."}\n'
        },
        "comvint.jsonl",
        (
            Found("line 1", "Why wet?", (Named("1.jpg"),), "complex", reference="It rained."),
            Found("line 2", "Which bag is heavier?", (Named("8.jpg"),), "complex", reference="The red one."),
        ),
        {"category": "complex", "image_files": ["{}.jpg"]},
    ),
)
