"""Thoughts that a reply says before its answer, apart from it: a judge that drafts in them would be read twice."""

from __future__ import annotations

from typing import NamedTuple

from vlfeedback.records import Finish

OPEN, CLOSE = "<think>", "</think>"


class Said(NamedTuple):
    """A reply in two parts; no thoughts are None."""

    thoughts: str | None
    text: str


def apart(text: str, finish: Finish) -> Said:
    """Take a leading block of thoughts off a reply.

    The templates of some models put the opening tag into the prompt: then all up to a lone closing tag is thought. A
    text that says both tags further on, or the closing one in quotation marks, speaks of them.

    Args:
        text: As the server gave it, which has no parser for thoughts.
        finish: How it ended; what was cut off within its thoughts has no answer.
    """
    if CLOSE not in text and OPEN not in text:  # nearly always
        return Said(None, text)
    begun = text.lstrip()
    opened = begun.startswith(OPEN)
    thoughts, closed, answer = begun.removeprefix(OPEN).partition(CLOSE)
    if opened and not closed:
        return Said(thoughts.strip(), "") if finish == "length" else Said(None, text)
    if not opened and (OPEN in text or text.count(CLOSE) > 1 or thoughts[-1:] in {"`", '"', "'"}):
        return Said(None, text)
    return Said(thoughts.strip(), answer.lstrip())
