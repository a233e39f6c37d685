"""RLAIF-V's and RLHF-V's pairs: question, chosen, rejected and one picture, as the Parquet files of both have them.

RLAIF-V has a column for each text; RLHF-V keeps all three as JSON in its column `text`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from vlfeedback.errors import ImageError
from vlfeedback.exchange._items import Completion, Importer, Item, Pictures, Preference, Tally
from vlfeedback.exchange._pictures import image_of, refuse_unread
from vlfeedback.exchange._rows import Json, Row, rows
from vlfeedback.records import Dropped

_PLACE = "<image>"

EXAMPLES = (
    (
        {"question": "How many cups?", "chosen": "Three.", "rejected": "Four.", "image": {"path": "cups.jpg"}},
        ("How many cups?", "Three.", "Four."),
    ),
    (
        {
            "text": '{"question": "How many cups?", "chosen": "Three.", "rejected": "Four."}',
            "image_path": "cups.jpg",
            "ds_name": "RLHF-V",
        },
        ("How many cups?", "Three.", "Four."),
    ),
)
"""A row, and its prompt, chosen and rejected text."""


def load(*, chosen_model: str = "unknown", rejected_model: str = "unknown", split: str = "") -> Importer:
    """RLAIF-V's format.

    Args:
        chosen_model: Who wrote the better text; one column of the data set names the origin of both texts in free form.
        rejected_model: Likewise for the worse one.
        split: Of a folder with several splits, the one to read; empty for the training split and what is held out.
    """
    return _RlaifV(chosen_model, rejected_model, split)


class _RlaifV:
    judge = ""
    prefers = True

    def __init__(self, chosen_model: str, rejected_model: str, split: str) -> None:
        self._split = split
        self._chosen_model, self._rejected_model = chosen_model, rejected_model

    def read(self, path: Path, pictures: Pictures, tally: Tally) -> Iterator[Item | Dropped]:
        """Items of a file or folder, one per row; see `Importer.read`."""
        for row in rows(path, split=self._split, tally=tally):
            found = row if isinstance(row, Dropped) else self._item(row, pictures)
            if isinstance(found, Item) and _PLACE in found.prompt:
                tally[f"rows that say {_PLACE}, which is read as a word and as no place of a picture"] += 1
            yield found

    def _item(self, row: Row, pictures: Pictures) -> Item | Dropped:
        try:
            said = _texts(row.fields)
        except (ValueError, RecursionError) as error:
            return Dropped("exchange", row.where, "bad_record", f"the column text: {error}")
        question, chosen, rejected = (said.get(name) for name in ("question", "chosen", "rejected"))
        if not isinstance(question, str) or not isinstance(chosen, str) or not isinstance(rejected, str):
            return Dropped("exchange", row.where, "bad_record", "question, chosen and rejected must be text")
        given = row.fields.get("image") or row.fields.get("image_path")
        if given is None:
            return Dropped("exchange", row.where, "missing_image", "the row has no picture")
        try:
            refuse_unread(row.fields)
            image = image_of(given, pictures)
        except ImageError as error:
            return Dropped("exchange", row.where, error.reason, error.detail)
        except ValueError as error:
            return Dropped("exchange", row.where, "bad_record", str(error))
        completions = (
            Completion(self._chosen_model, chosen, chosen),
            Completion(self._rejected_model, rejected, rejected),
        )
        return Item(row.where, question, (image,), _category(row.fields), completions, (Preference(0, 1),), row.side)


def _category(fields: dict[str, Json]) -> str:
    """The data set that the question comes from."""
    name = fields.get("origin_dataset") or fields.get("ds_name")
    return name if isinstance(name, str) else ""


def _texts(fields: dict[str, Json]) -> dict[str, Json]:
    """The object that has the three texts: the row itself, or what its column `text` holds.

    Raises:
        ValueError: that column is no JSON object, or holds half a character.
    """
    packed = fields.get("text")
    if not isinstance(packed, str) or "question" in fields:
        return fields
    found: Json = json.loads(packed)
    if not isinstance(found, dict):
        raise ValueError(f"an object was expected, found {type(found).__name__}")
    json.dumps(found, ensure_ascii=False).encode("utf-8")  # half a surrogate pair could not be stored
    return found
