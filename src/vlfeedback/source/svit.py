"""SVIT: conversations, reasoning and descriptions on Visual Genome pictures, written by GPT-4.

Not seen: the data files. Their layout is taken from general knowledge of the release: a list of `image_id` and
`conversations`, each of these with `content`, a list of turns of `user` and `gpt`. (Its `questions.txt` of description
prompts was seen; it holds no pictures.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vlfeedback.records import Dropped
from vlfeedback.source import Example, Found, Named, Reader
from vlfeedback.source._conversations import checked_turns, found_in_turns, name_of
from vlfeedback.source._fields import from_patterns, named, objects, optional_text, text
from vlfeedback.source._rows import BadRecord, Row, json_reader

TESTED_ON: tuple[str, ...] = ()

VISUAL_GENOME = ("{}.jpg", "VG_100K/{}.jpg", "VG_100K_2/{}.jpg")
"""Where a Visual Genome picture may lie: in one folder, or in the two that it is distributed in."""


def load(path: Path, *, turns: str = "first", category: str = "", image_files: Sequence[str] = VISUAL_GENOME) -> Reader:
    """Read a file of SVIT; each of an image's conversations gives an instruction, or is dropped alone.

    Args:
        path: A JSON list or JSON lines: `conversation.json`, `complex_reasoning.json`, `detail_description.json`, …
        turns: `first` or `each` turn of every conversation.
        category: For all instructions; SVIT keeps its kinds in different files.
        image_files: Paths below the root with `{}` for the image id; the first that exists is taken.
    Raises:
        ConfigError: `turns` is neither.
    """
    which = checked_turns(turns)
    patterns = tuple(image_files)

    def found_in(row: Row) -> Iterator[Found | Dropped]:
        picture_id = optional_text(row.fields, "image_id")
        pictures = (from_patterns(picture_id, patterns),) if picture_id else named(row.fields, "image")
        name = picture_id or name_of(row.fields, row.name)
        talks = objects(row.fields, "conversations")
        if not talks:
            raise BadRecord("it has no conversation")
        if not any("content" in talk for talk in talks):  # the release in LLaVA's own format
            yield from found_in_turns(name_of(row.fields, name), talks, pictures, which, category)
            return
        for number, talk in enumerate(talks, 1):
            label = f"{name}-{text(talk, 'id') if 'id' in talk else number}"
            try:
                yield from list(found_in_turns(label, objects(talk, "content"), pictures, which, category))
            except BadRecord as error:
                yield error.dropped(label)

    return json_reader(path, found_in)


_PICTURE = Named("12.jpg", or_else=("VG_100K/12.jpg", "VG_100K_2/12.jpg"))

EXAMPLES = (
    Example(
        {
            "conversation.json": '[{"image_id": 12, "conversations": ['
            '{"content": [{"from": "user", "value": "What is on the bench?"}, {"from": "gpt", "value": "A hat."}]},'
            '{"content": [{"from": "user", "value": "Is it raining?"}, {"from": "gpt", "value": "No."}]}]}]'
        },
        "conversation.json",
        (
            Found("12-1", "What is on the bench?", (_PICTURE,), reference="A hat."),
            Found("12-2", "Is it raining?", (_PICTURE,), reference="No."),
        ),
    ),
    Example(
        {
            "gaps.json": '[{"image_id": 12, "conversations": [{"content": []}, {"conversations": []},'
            ' {"content": [{"from": "user", "value": "Is it raining?"}]}]}, {"image_id": 13, "conversations": []}]'
        },
        "gaps.json",
        (
            Dropped("source", "12-1", "bad_record"),
            Dropped("source", "12-2", "bad_record"),
            Found("12-3", "Is it raining?", (_PICTURE,)),
            Dropped("source", "record 2", "bad_record"),
        ),
    ),
    Example(
        {
            "flat.json": '[{"id": "a", "image": "VG_100K/1.jpg", "conversations": ['
            '{"from": "human", "value": "<image>\\nDescribe it."}, {"from": "gpt", "value": "A street."}]}]'
        },
        "flat.json",
        (Found("a", "Describe it.", (Named("VG_100K/1.jpg"),), "detail", reference="A street."),),
        {"category": "detail"},
    ),
)
