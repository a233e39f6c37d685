"""TRL's preference format: prompt, chosen, rejected and images, as chat messages or plain text.

Read from Parquet, JSON lines or a folder saved by `datasets`; written as a folder that `datasets.load_dataset` and
TRL's trainers take as it is. One row is one pair; rows of one prompt and picture become one instruction again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import NamedTuple

from vlfeedback._images_names import shown
from vlfeedback.errors import DataError, ImageError
from vlfeedback.exchange._form import unread_question
from vlfeedback.exchange._items import Completion, Item, Pictures, Preference, Shape, Tally
from vlfeedback.exchange._pictures import BOTH, LATE, MORE, images_of, is_second
from vlfeedback.exchange._rows import Json, Row, rows
from vlfeedback.exchange._shards import Message, Pair, Part, Picture, Shards, card, file_name
from vlfeedback.records import Dropped, Group, Image

EXAMPLES = (
    (
        {
            "prompt": [{"role": "user", "content": [{"type": "text", "text": "How many cups?"}]}],
            "chosen": [{"role": "assistant", "content": "Three."}],
            "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "Four."}]}],
        },
        ("How many cups?", "Three.", "Four."),
    ),
    ({"prompt": "How many cups?", "chosen": "Three.", "rejected": "Four."}, ("How many cups?", "Three.", "Four.")),
    (
        {
            "chosen": [{"role": "user", "content": "How many cups?"}, {"role": "assistant", "content": "Three."}],
            "rejected": [{"role": "user", "content": "How many cups?"}, {"role": "assistant", "content": "Four."}],
        },
        ("How many cups?", "Three.", "Four."),
    ),
)
"""A row, and its prompt, chosen and rejected text."""

_PLACE = "<image>"
_SPLITS = {"train": "train", "eval": "test"}


class Texts(NamedTuple):
    """What a row says.

    Attributes:
        places: How many pictures the prompt's messages have places for; None where they do not say.
        late: One of them comes after text.
        answered: How many places there are in the answers.
        shared: The prompt is what both answers began with.
    """

    prompt: str
    chosen: str
    rejected: str
    places: int | None = None
    late: bool = False
    answered: int = 0
    shared: bool = False


def load(*, chosen_model: str = "unknown", rejected_model: str = "unknown", split: str = "") -> Trl:
    """TRL's format, in and out.

    Args:
        chosen_model: Who wrote the better text, where no column `chosen_model` says so.
        rejected_model: Likewise for the worse one.
        split: Of a folder with several splits, the one to read; empty for the training split and what is held out.
    """
    return Trl(chosen_model, rejected_model, split)


class Trl:
    """See `load`."""

    judge = ""
    prefers = True

    def __init__(self, chosen_model: str, rejected_model: str, split: str) -> None:
        self._models, self._split = (chosen_model, rejected_model), split

    def read(self, path: Path, pictures: Pictures, tally: Tally) -> Iterator[Item | Dropped]:
        """Items of a file or folder, one per row; see `Importer.read`."""
        for row in rows(path, split=self._split, tally=tally):
            yield row if isinstance(row, Dropped) else self.item(row, pictures, tally)

    def item(self, row: Row, pictures: Pictures, tally: Tally) -> Item | Dropped:
        """What one row says, or why it cannot be used; what of it is read otherwise than it stands is counted."""
        try:
            texts = read_texts(row.fields)
            images = images_of(row.fields, pictures)
            preference = Preference(0, 1, _margin(row.fields.get("margin")))
        except ImageError as error:
            return Dropped("exchange", row.where, error.reason, error.detail)
        except ValueError as error:
            return Dropped("exchange", row.where, "bad_record", str(error))
        if texts.places is not None and texts.places > len(images):
            detail = f"the messages have places for {texts.places} pictures, the row has {len(images)}"
            return Dropped("exchange", row.where, "missing_image", detail)
        tally.update(_noticed(row.fields, texts, len(images)))
        names = [
            name if isinstance(name := row.fields.get(column), str) and name else default
            for column, default in zip(("chosen_model", "rejected_model"), self._models, strict=True)
        ]
        completions = tuple(
            Completion(name.removeprefix("imported:"), text, text)
            for name, text in zip(names, (texts.chosen, texts.rejected), strict=True)
        )
        category = row.fields.get("category")
        named = category if isinstance(category, str) else ""
        return Item(row.where, texts.prompt, images, named, completions, (preference,), row.side)

    def write(self, groups: Iterable[Group], open_image: Callable[[Image], bytes], out: Path) -> Shape:
        """Write every pair as one row of Parquet shards; see `Exporter.write`."""
        left_out: Counter[str] = Counter()
        shards = {name: Shards(out / "data", name) for name in _SPLITS.values()}
        try:
            for group in groups:
                if not group.pairs:
                    left_out["instructions without a pair"] += 1
                    continue
                try:
                    pictures = [Picture(open_image(image), file_name(image)) for image in group.instruction.images]
                except ImageError as error:
                    left_out[f"pairs, picture is {error.reason}"] += len(group.pairs)
                    continue
                for pair in _pairs(group):
                    shards[_SPLITS[group.instruction.split]].add(pair, pictures)
            rows = {name: one.close() for name, one in shards.items()}
        except BaseException:
            for one in shards.values():
                one.discard()
            raise
        if not sum(rows.values()):
            why = ", ".join(f"{count:,} {what}" for what, count in left_out.items()) or "the run has no instruction"
            raise DataError(f"there is nothing to export: {why}. `vlfeedback pair DIR` makes pairs.")
        (out / "README.md").write_text(card(rows), encoding="utf-8")
        return Shape(rows, dict(left_out))


def _noticed(fields: dict[str, Json], texts: Texts, images: int) -> Iterator[str]:
    """What a usable row says that is not read as it stands."""
    if _PLACE in texts.prompt:
        yield f"rows that say {_PLACE}, which is read as a word and as no place of a picture"
    if texts.late:
        yield LATE
    if texts.places is not None and texts.places < images:
        yield MORE
    if texts.answered:
        yield "rows with a picture's place in an answer: the answer is read without it"
    if texts.shared:
        yield "rows without a prompt: what both texts begin with is taken for it"
    if is_second(fields):
        yield BOTH


def _pairs(group: Group) -> Iterator[Pair]:
    responses = {response.id: response for response in group.responses}
    instruction = group.instruction
    places = [Part("image", None)] * len(instruction.images)
    prompt = [Message("user", [*places, Part("text", instruction.prompt)])]
    for pair in group.pairs:
        chosen, rejected = responses[pair.chosen_id], responses[pair.rejected_id]
        yield Pair(
            prompt,
            [Message("assistant", [Part("text", chosen.text)])],
            [Message("assistant", [Part("text", rejected.text)])],
            chosen.model,
            rejected.model,
            pair.margin,
            pair.strategy,
            instruction.id,
            pair.id,
            instruction.source,
            instruction.category,
        )


def read_texts(fields: dict[str, Json]) -> Texts:
    """Prompt, better and worse text of a row, whichever of the format's shapes it has.

    Raises:
        ValueError: it has none of them, its question stands in a column of another format, or it is a conversation that
            an instruction cannot hold (a system message or several turns before the answer).
    """
    chosen, rejected = fields.get("chosen"), fields.get("rejected")
    prompt = fields.get("prompt")
    if isinstance(chosen, str) and isinstance(rejected, str):
        if prompt is None and "prompt" in fields:
            return Texts("", chosen, rejected)  # nothing was asked: dropped as `empty_prompt`
        if prompt is None and (unread := unread_question(fields)):
            raise ValueError(unread)
        if prompt is None:
            return _split(chosen, rejected)
        if isinstance(prompt, str):
            return Texts(prompt, chosen, rejected)
        said = _user(prompt)
        return Texts(said.text, chosen, rejected, said.places, said.late)
    if not isinstance(chosen, list) or not isinstance(rejected, list):
        raise ValueError("chosen and rejected must both be text or both be messages")
    if prompt is None:
        if not chosen or chosen[:-1] != rejected[:-1]:
            raise ValueError(
                "without a prompt, chosen and rejected must be the same conversation up to the last message"
            )
        prompt, chosen, rejected = chosen[:-1], chosen[-1:], rejected[-1:]
    sides = [_only(side, "assistant") for side in (chosen, rejected)]
    answered = sum(side.places or 0 for side in sides)
    asked = _Said(prompt, None) if isinstance(prompt, str) else _user(prompt)
    return Texts(asked.text, sides[0].text, sides[1].text, asked.places, asked.late, answered)


class _Said(NamedTuple):
    text: str
    places: int | None
    late: bool = False


def _user(messages: Json) -> _Said:
    if not isinstance(messages, list):
        raise ValueError("the prompt is neither text nor messages")
    return _only(messages, "user")


def _only(messages: Sequence[Json], role: str) -> _Said:
    """The one message of a side."""
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    if roles != [role]:
        raise ValueError(f"one {role} message was expected, found {roles}; an instruction holds a single turn")
    message = messages[0]
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return _Said(content, None)
    if not isinstance(content, list):
        raise ValueError(f"the {role} message has no content")
    texts = [""]  # parts are one text, as chat templates write them; a picture's place between them parts them
    places, late = 0, False
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("text") if isinstance(part, dict) else None
        if kind == "image":
            places += 1
            late = late or any(map(str.strip, texts))
            texts.append("")
        elif kind == "text" and isinstance(text, str):
            texts[-1] += text
        else:
            raise ValueError(f"a part of the {role} message is neither text nor image: {kind!r}")
    return _Said("\n".join(filter(None, texts)), places, late)


def _margin(given: Json | Real) -> float | None:
    """The distance of the two sides, if the row states one; rows in memory may have numpy's numbers.

    Raises:
        ValueError: it is no finite number.
    """
    if given is None:
        return None
    try:
        margin = math.nan if isinstance(given, bool) or not isinstance(given, int | float | Real) else float(given)
    except OverflowError:  # a whole number of JSON may have any number of digits
        margin = math.inf
    if not math.isfinite(margin):
        raise ValueError(f"margin must be a finite number, found {shown(repr(given))}")
    return margin


def _split(chosen: str, rejected: str) -> Texts:
    """Prompt and answers of two texts that begin alike.

    They part where TRL's `extract_prompt` does: at the first letter that differs, a blank before it going with the
    answers. TRL reads prompt and answer as one text, which needs that blank. Here a chat template stands between them,
    and an answer that began with a blank would be one that no model gives, so the blank goes.

    Raises:
        ValueError: one text is the beginning of the other, so that nothing says where the prompt ends.
    """
    pairs = zip(chosen, rejected, strict=False)
    length = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(chosen), len(rejected)))
    if chosen != rejected and length in (len(chosen), len(rejected)):
        raise ValueError("without a prompt, one text is the beginning of the other: nothing says where the prompt ends")
    return Texts(chosen[:length].removesuffix(" "), chosen[length:], rejected[length:], shared=True)
