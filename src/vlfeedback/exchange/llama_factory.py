"""LLaMA-Factory's ranking data: a conversation, chosen, rejected, images; in its ShareGPT and its OpenAI spelling.

The place of a picture is the word `<image>` inside the text. Where a row has exactly as many of them as pictures, they
are places and are taken out. Where it has pictures and more places than them, it is dropped: one of them is missing. In
all other rows they are text, which is counted; so are places amid the text, and pictures without any place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vlfeedback.errors import ImageError
from vlfeedback.exchange._items import Completion, Importer, Item, Pictures, Preference, Tally
from vlfeedback.exchange._pictures import BOTH, LATE, MORE, images_of, is_second
from vlfeedback.exchange._rows import Json, Row, rows
from vlfeedback.records import Dropped

_PLACE = "<image>"
_LEADING = re.compile(rf"\A(?:\s*{_PLACE})+")
_USERS = ("human", "user")
_ASSISTANTS = ("gpt", "assistant")

EXAMPLES = (
    (
        {
            "conversations": [{"from": "human", "value": "<image>How many cups?"}],
            "chosen": {"from": "gpt", "value": "Three."},
            "rejected": {"from": "gpt", "value": "Four."},
            "images": ["cups.jpg"],
        },
        ("How many cups?", "Three.", "Four."),
    ),
    (
        {
            "messages": [{"role": "user", "content": "How many cups?"}],
            "chosen": {"role": "assistant", "content": "Three."},
            "rejected": {"role": "assistant", "content": "Four."},
        },
        ("How many cups?", "Three.", "Four."),
    ),
)
"""A row, and its prompt, chosen and rejected text."""


class _Turn(NamedTuple):
    role: str
    text: str


def load(*, chosen_model: str = "unknown", rejected_model: str = "unknown", split: str = "") -> Importer:
    """LLaMA-Factory's ranking format.

    Args:
        chosen_model: Who wrote the better text.
        rejected_model: Who wrote the worse one.
        split: Of a folder with several splits, the one to read; empty for the training split and what is held out.
    """
    return _LlamaFactory(chosen_model, rejected_model, split)


class _LlamaFactory:
    judge = ""
    prefers = True

    def __init__(self, chosen_model: str, rejected_model: str, split: str) -> None:
        self._split = split
        self._chosen_model, self._rejected_model = chosen_model, rejected_model

    def read(self, path: Path, pictures: Pictures, tally: Tally) -> Iterator[Item | Dropped]:
        """Items of a file or folder, one per row; see `Importer.read`."""
        for row in rows(path, split=self._split, tally=tally):
            found = row if isinstance(row, Dropped) else self._item(row, pictures, tally)
            if isinstance(found, Item) and any(_PLACE in text for text in _texts(found)):
                tally[f"rows that say {_PLACE} where there is no picture for it: read as a word"] += 1
            yield found

    def _item(self, row: Row, pictures: Pictures, tally: Tally) -> Item | Dropped:
        try:
            prompt = _prompt(row.fields)
            chosen, rejected = (_answer(row.fields.get(name)) for name in ("chosen", "rejected"))
            images = images_of(row.fields, pictures)
        except ImageError as error:
            return Dropped("exchange", row.where, error.reason, error.detail)
        except ValueError as error:
            return Dropped("exchange", row.where, "bad_record", str(error))
        places = prompt.count(_PLACE)
        if 0 < len(images) < places:
            detail = f"the text has places for {places} pictures, the row has {len(images)}"
            return Dropped("exchange", row.where, "missing_image", detail)
        if images and places == len(images):
            tally[LATE] += _PLACE in _LEADING.sub("", prompt)
            prompt = prompt.replace(_PLACE, "")
        tally[MORE] += bool(images) and not places
        tally[BOTH] += is_second(row.fields)
        completions = (
            Completion(self._chosen_model, chosen.text, chosen.text),
            Completion(self._rejected_model, rejected.text, rejected.text),
        )
        return Item(row.where, prompt, images, "", completions, (Preference(0, 1),), row.side)


def _texts(item: Item) -> Iterator[str]:
    yield item.prompt
    yield from (one.text for one in item.completions if isinstance(one, Completion))


def _prompt(fields: dict[str, Json]) -> str:
    given = fields.get("conversations", fields.get("messages"))
    turns = [_turn(one) for one in given] if isinstance(given, list) else []
    if fields.get("system") or [turn.role in _USERS for turn in turns] != [True]:
        raise ValueError("one turn of the user was expected; an instruction holds no system message and no more turns")
    return turns[0].text


def _answer(given: Json) -> _Turn:
    turn = _turn(given)
    if turn.role not in _ASSISTANTS:
        raise ValueError(f"an answer of the assistant was expected, found one of {turn.role!r}")
    return turn


def _turn(given: Json) -> _Turn:
    if isinstance(given, dict):
        role, text = given.get("from", given.get("role")), given.get("value", given.get("content"))
        if isinstance(role, str) and isinstance(text, str):
            return _Turn(role, text)
    raise ValueError("a message has no sender or no text")
