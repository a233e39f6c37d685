"""A judge's reply as an official script keeps it: a chat completion, an error in its place, or nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from vlfeedback.errors import DataError


class JudgeReply(NamedTuple):
    """What a judge said.

    Attributes:
        text: None where there is no reply: the call failed. A refusal is a reply, which cannot be read.
        judge: Its name as the endpoint gave it; empty if unknown.
        date: Day of the reply, `2026-01-31`, UTC; empty if unknown.
    """

    text: str | None
    judge: str = ""
    date: str = ""


def completion(value: Any, where: str) -> JudgeReply:
    """Read one chat completion of the OpenAI API; a bare text is taken as its content.

    Null, an `error` object, no choices, and a content of null are no reply; an empty text and a refusal are one.

    Raises:
        DataError: it is something else.
    """
    if value is None:
        return JudgeReply(None)
    if isinstance(value, str):
        return JudgeReply(value)
    if not isinstance(value, dict):
        raise DataError(f"{where} is no chat completion (an object with `choices`), no text, and not null.")
    body = cast("dict[str, Any]", value)
    judge = body.get("model")
    judge, date = judge if isinstance(judge, str) else "", _day(body.get("created"))
    choices = body.get("choices")
    if body and not {"choices", "error"} & body.keys():
        raise DataError(f"{where} has neither `choices` nor `error`; it is no chat completion.")
    if not isinstance(choices, list) or not choices:
        return JudgeReply(None, judge, date)
    first: Any = cast("list[Any]", choices)[0]
    if not isinstance(first, dict):
        raise DataError(f"{where}: its first choice is no object.")
    choice = cast("dict[str, Any]", first)
    return JudgeReply(_content(choice, where), judge, date)


def _content(choice: dict[str, Any], where: str) -> str | None:
    message: Any = choice.get("message")
    said = cast("dict[str, Any]", message) if isinstance(message, dict) else {}
    content = said.get("content", choice.get("text"))
    if isinstance(content, list):  # content in parts
        parts = [cast("dict[str, Any]", part) for part in cast("list[Any]", content) if isinstance(part, dict)]
        content = "".join(str(part.get("text", "")) for part in parts)
    if isinstance(content, str):
        return content
    if content is not None:
        raise DataError(f"{where}: the content of the reply is no text.")
    refusal = said.get("refusal")
    if isinstance(refusal, str) and refusal:
        return refusal
    return "" if choice.get("finish_reason") == "content_filter" else None


def _day(created: object) -> str:
    if isinstance(created, bool) or not isinstance(created, int | float):
        return ""
    try:
        return datetime.fromtimestamp(created, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return ""
