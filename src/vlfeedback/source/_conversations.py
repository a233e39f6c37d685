"""Conversations in the format of LLaVA: turns of a person and a model, `<image>` marking the picture's place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import Literal, NamedTuple

from vlfeedback._images_names import shown as quoted
from vlfeedback.errors import ConfigError
from vlfeedback.source import Found, Picture
from vlfeedback.source._fields import objects, optional_text, pictures, text
from vlfeedback.source._rows import BadRecord, Fields, as_fields

Turns = Literal["first", "each"]
"""Which turns of the person become instructions."""

MARKER = "<image>"
_RUN = re.compile(r"(?:\s*+<image>)*+")
_RUN_BACKWARDS = re.compile(r"(?:\s*+>egami<)*+")
_ENDS = frozenset(".?!:;…。？！：；)]}\"”'’»")
"""Signs behind which a sentence may be over."""
_GOES_ON = frozenset(",.:;!?)'’-")
"""Signs that no text begins with: the marker before them is a word of it."""
_PLACE = re.compile(r"\s*<(image|video)>|.*<(image|video)>\s*\Z", re.DOTALL)
"""A prompt that marks the place of what was shown, where the format does."""
_PERSON = frozenset({"human", "user"})
_NO_REPLY = frozenset({"system", "developer", "tool", "function", "observation", "ipython", "environment"})
"""Roles that instruct the model, or tell it what a tool found."""


class Asked(NamedTuple):
    """A turn of the person, the model's reply to it if there is one, and the pictures that its parts show.

    None stands for a part without an address: the next picture of the record.
    """

    prompt: str
    reply: str | None
    pictures: tuple[Picture | None, ...] = ()


class _Said(NamedTuple):
    text: str
    pictures: tuple[Picture | None, ...] = ()


def checked_turns(turns: str) -> Turns:
    """Check the option `turns`.

    Raises:
        ConfigError: it is neither `first` nor `each`.
    """
    if turns == "first" or turns == "each":
        return turns
    raise ConfigError(f"turns = {turns!r}: use 'first' (the first turn of the person) or 'each' (every one of them)")


def asked(turns: Sequence[Fields]) -> list[Asked]:
    """Turns of the person with the replies that follow them.

    Args:
        turns: With `from` and `value`, or `role` and `content`; other roles than the person's reply, but for `system`,
            `tool` and their like. A content may be a list of parts of type `text`, `image` or `image_url`; texts that
            no blank parts are lines of their own.
    Raises:
        BadRecord: nobody asks, or a turn of the person has no text; a reply without one is none. Or the person shows
            the record's next picture where somebody else has shown one of them before.
    """
    found: list[Asked] = []
    waiting = elsewhere = False
    for turn in turns:
        role = text(turn, "from", "role").strip().lower()
        if role in _PERSON:
            said = _said(turn)
            if elsewhere and None in said.pictures:
                raise BadRecord("a turn that is not the person's has shown a picture of the record before")
            found.append(Asked(said.text, None, said.pictures))
            waiting = True
        else:
            reply = _reply(turn)
            elsewhere = elsewhere or (reply is not None and None in reply.pictures)
            if role not in _NO_REPLY and waiting and reply is not None and reply.text:
                found[-1] = found[-1]._replace(reply=reply.text)
                waiting = False
    if not found:
        raise BadRecord("no turn of its conversation is a person's")
    return found


def _reply(turn: Fields) -> _Said | None:
    """A turn that is not the person's, which an instruction does not need."""
    try:
        return _said(turn)
    except BadRecord:
        return None


def _said(turn: Fields) -> _Said:
    """Text and pictures of a turn, whose content may be a list of typed parts."""
    content = turn.get("value") if turn.get("value") is not None else turn.get("content")
    if not isinstance(content, list):
        return _Said(text(turn, "value", "content"))
    if not content:
        raise BadRecord("a turn has no content")
    words: list[str] = []
    shown: list[Picture | None] = []
    for part in objects(turn, "value" if turn.get("value") is not None else "content"):
        kind = text(part, "type")
        if kind == "text":
            words.append(text(part, "text", "value"))
        elif kind in ("image", "image_url"):
            shown += _pictures_of(part)
        else:
            raise BadRecord(f"a part of type {quoted(kind)} is neither text nor a picture")
    return _Said(_joined(words), tuple(shown))


def _joined(texts: list[str]) -> str:
    """Texts of several parts as one, in which no words grow together."""
    some = [text for text in texts if text]
    between = ["" if one[-1].isspace() or two[0].isspace() else "\n" for one, two in pairwise(some)]
    return "".join(chain.from_iterable(zip(some, [*between, ""], strict=False)))


def _pictures_of(part: Fields) -> tuple[Picture | None, ...]:
    """What a part shows: where it says, or without an address the next picture of the record.

    A part of a table has all keys of all parts, most of them null.
    """
    entry = as_fields(part.get("image_url")) or part
    for key in ("url", "value", "image", "path", "bytes", "image_url"):
        if found := pictures(entry.get(key), key):
            return found
    return (None,)


def _in_order(given: tuple[Picture, ...], questions: Sequence[Asked]) -> tuple[Picture, ...]:
    """All pictures of a conversation: those of the record in the places of the parts without an address.

    Raises:
        BadRecord: there are more such parts than pictures.
    """
    shown = [picture for question in questions for picture in question.pictures]
    places = shown.count(None)
    if not places:
        return (*given, *(picture for picture in shown if picture is not None))
    if places > len(given):
        raise BadRecord(f"its parts show {places} of its pictures, and it names {len(given)}", "missing_image")
    left = iter(given)
    return (*(next(left) if picture is None else picture for picture in shown), *left)


def without_markers(prompt: str, pictures: int) -> str:
    """Remove the format's own `<image>` at the beginning or the end, at most one per picture.

    One that is a word of its sentence (`What is the mood of <image>`), or stands further in, or more than there are
    pictures, is what somebody wrote, and stays.
    """
    first = _end(_RUN, prompt)
    last = len(prompt) - _end(_RUN_BACKWARDS, prompt[::-1])
    last = len(prompt) if last < first else last  # markers alone: all of them stand at the beginning
    begin, inside, end = prompt[:first], prompt[first:last], prompt[last:]
    before = min(pictures, _apart_before(begin, inside))
    after = min(pictures - before, _apart_after(inside, end))
    if before:
        inside, begin = (begin.split(MARKER, before)[-1] + inside).lstrip(), ""
    if after:
        inside, end = (inside + end.rsplit(MARKER, after)[0]).rstrip(), ""
    return begin + inside + end


def _end(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.match(text)
    return found.end() if found else 0


def _apart_before(begin: str, inside: str) -> int:
    """How many of the markers before a text are no words of it: those on lines of their own, or before a sentence."""
    words = inside.strip()
    gap = inside[: len(inside) - len(inside.lstrip())]
    if words and "\n" not in gap and (words[0] in _GOES_ON or (words[0].islower() and MARKER in words)):
        begin = begin[: begin.rfind("\n") + 1]
    return begin.count(MARKER)


def _apart_after(inside: str, end: str) -> int:
    """The same of those behind it."""
    words = inside.rstrip()
    if words and "\n" not in inside[len(words) :] and words[-1] not in _ENDS:
        end = end[end.find("\n") :] if "\n" in end else ""
    return end.count(MARKER)


def alone(prompt: str, pictures: int) -> str:
    """A prompt as it stands without the format: see `without_markers`.

    Raises:
        BadRecord: it marks the place of a picture or video, and the record names no picture.
    """
    if not pictures and (match := _PLACE.match(prompt)):
        raise BadRecord(f"it has <{match[1] or match[2]}> in its text and names no picture", "missing_image")
    return without_markers(prompt, pictures)


def found_in_turns(
    record_id: str, turns: Sequence[Fields], pictures: tuple[Picture, ...], which: Turns, category: str = ""
) -> Iterator[Found]:
    """Instructions of one conversation.

    Args:
        record_id: Of the record; with `each`, `#1`, `#2`, … is appended.
        pictures: Of the record. Where it has one marker for each, a turn sees the pictures marked up to it, else all.
        which: `first` or `each`; later turns stand alone then, although they may refer to earlier ones.
    Raises:
        BadRecord: the conversation cannot be read, or is about a picture that it does not name.
    """
    questions = asked(turns)
    shown = _in_order(pictures, questions)
    marked = sum(map(_places, questions)) == len(shown)
    # the pictures of parts need no marker: one beside them is text
    unplaced = len(shown) - sum(len(question.pictures) for question in questions)
    so_far = 0
    for number, question in enumerate(questions, 1):
        name = record_id if which == "first" else f"{record_id}#{number}"
        so_far += _places(question)
        seen = shown[:so_far] if marked else shown
        prompt = question.prompt if shown and not unplaced else alone(question.prompt, unplaced)
        yield Found(name, prompt, seen, category, reference=question.reply)
        if which == "first":
            break


def _places(question: Asked) -> int:
    """Places of pictures in a turn: parts that show one, and markers."""
    return len(question.pictures) + question.prompt.count(MARKER)


def name_of(fields: Fields, otherwise: str) -> str:
    """A record's own id, or the place where it stands."""
    return optional_text(fields, "id", "question_id") or otherwise


def question(record_id: str, fields: Fields, pictures: tuple[Picture, ...], category: str = "") -> Found:
    """The instruction of a record that is no conversation, as the question files of these datasets have it.

    Raises:
        BadRecord: it has no question, or one about a picture that it does not name; or it is what a model said.
    """
    if said := next((key for key in ("answer_id", "review_id") if fields.get(key) is not None), ""):
        raise BadRecord(
            f"it has {said!r}, so it is what a model said and no instruction: give the file of the questions"
        )
    asked_for = text(fields, "text", "instruction", "question", "conversations")
    reference = optional_text(fields, "output", "answer", "gpt4_answer") or None
    kind = optional_text(fields, "category", "type") or ""
    return Found(record_id, alone(asked_for, len(pictures)), pictures, kind or category, reference=reference)
