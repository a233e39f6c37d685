"""PCA-EVAL: what to do next, in traffic, in a household and in a game; a question with lettered actions.

Tested on: `meta_data.json` and `end2end_prompts.json` of all three domains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from string import ascii_uppercase

from vlfeedback.records import Dropped
from vlfeedback.source import Example, Found, Named, Reader
from vlfeedback.source._fields import optional_text, text, texts
from vlfeedback.source._files import files_of, named_by_file
from vlfeedback.source._rows import BadRecord, Fields, Row, json_reader

TESTED_ON: tuple[str, ...] = ("PCA-EVAL meta_data.json", "PCA-EVAL end2end_prompts.json")


def load(path: Path) -> Reader:
    """Read one domain of PCA-EVAL, or all.

    `end2end_prompts.json` holds ready prompts. `meta_data.json` holds questions, actions and the right one; the prompt
    is then the question and the actions with letters, and the reference the right action and its reason. A picture is
    looked for as named, in `imgs/`, and in `imgs/` of the domain's folder, so that the root may be either folder.

    Args:
        path: `meta_data.json` or `end2end_prompts.json` in the folder of its domain; or the folder of all domains, of
            which every `meta_data.json` is read.
    """

    def read() -> Iterator[Found | Dropped]:
        for file in files_of(path, ("meta_data.json",)):
            domain = file.resolve().parent.name
            items = json_reader(file, lambda row, domain=domain: found_in(row, domain))()
            yield from named_by_file(items, file, path)

    def found_in(row: Row, domain: str) -> Iterator[Found]:
        fields = row.fields
        picture = text(fields, "image")
        prompt = optional_text(fields, "prompt")
        yield Found(
            record_id=f"{domain}-{text(fields, 'index')}",
            prompt=_question(fields) if prompt is None else prompt,
            images=(Named(picture, or_else=(f"imgs/{picture}", f"{domain}/imgs/{picture}")),),
            category=domain,
            reference=_answer(fields) if prompt is None else None,
        )

    return read


def _question(fields: Fields) -> str:
    actions = _lettered(texts(fields, "actions"))
    return "\n".join([text(fields, "question").strip(), *actions])


def _answer(fields: Fields) -> str:
    actions = _lettered(texts(fields, "actions"))
    index = fields.get("answer_index")
    if not isinstance(index, int) or not 0 <= index < len(actions):
        raise BadRecord(f"answer_index {index!r} names none of its {len(actions)} actions")
    return f"{actions[index]}\n{text(fields, 'reason').strip()}"


def _lettered(actions: Sequence[str]) -> list[str]:
    return [f"({letter}) {action}" for letter, action in zip(ascii_uppercase, actions, strict=False)]


_PICTURE = Named("a.png", or_else=("imgs/a.png", "Kitchen/imgs/a.png"))

EXAMPLES = (
    Example(
        {
            "Game/meta_data.json": '[{"index": 0, "image": "a.png", "question": "Now?", "actions": ["Wait", "Run"],'
            ' "answer_index": 0, "reason": "Night."}]',
            "Game/end2end_prompts.json": '[{"index": 0, "image": "a.png", "prompt": "not read"}]',
            "Car/meta_data.json": '[{"index": 0, "image": "a.png", "question": "And now?", "actions": ["Stop"],'
            ' "answer_index": 0, "reason": "Red."}]',
        },
        "",
        (
            Found(
                "Car-0",
                "And now?\n(A) Stop",
                (Named("a.png", or_else=("imgs/a.png", "Car/imgs/a.png")),),
                "Car",
                None,
                "(A) Stop\nRed.",
            ),
            Found(
                "Game-0",
                "Now?\n(A) Wait\n(B) Run",
                (Named("a.png", or_else=("imgs/a.png", "Game/imgs/a.png")),),
                "Game",
                None,
                "(A) Wait\nNight.",
            ),
        ),
    ),
    Example(
        {
            "Kitchen/meta_data.json": '[{"index": 0, "image": "a.png", "question": "What next?", "actions": ["Wait",'
            ' "Stir"], "answer_index": 1, "reason": "It boils."},'
            '{"index": 1, "image": "a.png", "question": "What next?", "actions": ["Wait"], "answer_index": 5,'
            ' "reason": ""}]'
        },
        "Kitchen/meta_data.json",
        (
            Found("Kitchen-0", "What next?\n(A) Wait\n(B) Stir", (_PICTURE,), "Kitchen", None, "(B) Stir\nIt boils."),
            Dropped("source", "record 2", "bad_record"),
        ),
    ),
    Example(
        {"Kitchen/end2end_prompts.json": '[{"index": 3, "image": "a.png", "prompt": "What next? A. Wait B. Stir."}]'},
        "Kitchen/end2end_prompts.json",
        (Found("Kitchen-3", "What next? A. Wait B. Stir.", (_PICTURE,), "Kitchen"),),
    ),
)
