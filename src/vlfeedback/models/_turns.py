"""Turns of a conversation through a checkpoint's chat template, also through one that knows words only."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlfeedback.errors import ModelUnavailable
from vlfeedback.models._shown import first_line

Turn = Mapping[str, Any]
"""`role`, and `content` as a list of parts: `{"type": "image"}` or `{"type": "text", "text": …}`."""


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

    def through(given: Sequence[Turn]) -> str:
        return str(owner.apply_chat_template(list(given), tokenize=False, add_generation_prompt=header))

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
