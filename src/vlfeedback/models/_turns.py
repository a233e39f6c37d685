"""Turns of a conversation through a checkpoint's chat template, also through one that knows words only."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from vlfeedback.errors import ModelUnavailable
from vlfeedback.models._shown import first_line

Turn = Mapping[str, Any]
"""`role`, and `content` as a list of parts: `{"type": "image"}` or `{"type": "text", "text": …}`."""

DAY = datetime(2024, 7, 26, tzinfo=UTC)
"""Today, to templates that write the date (Mistral's, Llama's): a question asked tomorrow is the same question, and a
policy that is trained today was asked the same yesterday. It is the day that Llama's write where no clock is given."""

_NOW = re.compile(r"strftime_now\(\s*(?P<quote>['\"])(?P<form>.*?)(?P=quote)\s*\)")

_BLANKS = " \n\t\r\u3000"


class Edges(NamedTuple):
    """Blanks that a template takes off the ends of a text: letters as for `str.lstrip`, None for blanks of any kind."""

    left: str | None = ""
    right: str | None = ""

    def cut(self, text: str) -> str:
        """What the template leaves of a text."""
        return text.lstrip(self.left).rstrip(self.right)


def edges(write: Callable[[str], str], word: str) -> Edges:
    """What a template takes off the ends of a text (`trim`, `strip()`, `lstrip('\\n')`), seen by what it writes.

    Args:
        write: What the template makes of a conversation with a text in the place that is asked about.
        word: A text without blanks that the template writes nowhere else.
    """
    bare = write(word)
    if word not in bare:
        return Edges()
    before, _, after = bare.partition(word)
    blank_by_blank = [(blank, write(blank + word + blank).partition(word)) for blank in _BLANKS]
    left = "".join(blank for blank, found in blank_by_blank if found[0] == before)
    right = "".join(blank for blank, found in blank_by_blank if found[2] == after)
    return Edges(None if left == _BLANKS else left, None if right == _BLANKS else right)


def _on_one_day(template: Any) -> dict[str, str]:
    """A template that asks for the time, with the answer in place of the question; nothing for any other."""
    if not isinstance(template, str) or "strftime_now" not in template:
        return {}
    return {"chat_template": _NOW.sub(lambda found: repr(DAY.strftime(found["form"])), template)}


def rendered(processor: Any, turns: Sequence[Turn], *, header: bool) -> str:
    """The text of a conversation.

    A template made for words joins a turn's content to other words, or writes the list of its parts out: it gets plain
    words, where there is no picture among them.

    Args:
        processor: Has a chat template, or its tokenizer has.
        turns: At least one.
        header: Whether the assistant's header stands at the end.
    Raises:
        ModelUnavailable: the template takes them in neither form.
    """
    import jinja2

    owner = processor if getattr(processor, "chat_template", None) else processor.tokenizer
    dated = _on_one_day(getattr(owner, "chat_template", None))

    def through(given: Sequence[Turn]) -> str:
        return str(owner.apply_chat_template(list(given), tokenize=False, add_generation_prompt=header, **dated))

    problem = "it writes the list of a turn's parts out"
    try:
        made = through(turns)
        if not any(str(part) in made for turn in turns for part in turn["content"]):
            return made
    except (jinja2.TemplateError, TypeError) as error:
        problem = first_line(error)
    if any(part["type"] != "text" for turn in turns for part in turn["content"]):
        raise ModelUnavailable(
            f"the checkpoint's chat template cannot show pictures: {problem}. Put the template of its vision-language "
            "model beside it as chat_template.jinja"
        )
    try:
        return through([{**turn, "content": "".join(part["text"] for part in turn["content"])} for turn in turns])
    except (jinja2.TemplateError, TypeError) as error:
        raise ModelUnavailable(f"the checkpoint's chat template cannot be used: {first_line(error)}") from error
