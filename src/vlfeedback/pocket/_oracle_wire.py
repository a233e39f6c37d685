"""The judge's side of the wire: what a chat-completions request asks, and a reply in the form it asks for.

The judge reads what any judge reads: the rubric's headings, quoted lines, a picture. It shares no code with rubrics.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from dataclasses import dataclass
from typing import Any

from PIL import Image as Pillow, UnidentifiedImageError

from vlfeedback.pocket._oracle_ratings import ETHICS, FAITHFULNESS, HELPFULNESS

PAPER_ASPECTS = (HELPFULNESS, ETHICS, FAITHFULNESS)
_ASPECT = re.compile(r"^#{1,6} (?P<name>.+?) Assessment\s*$", re.MULTILINE)
_LABEL = re.compile(r"^- <(?P<label>text[ _]\d+)>$")
_QUOTE = "> "


class BadQuestion(ValueError):
    """The request cannot be judged; the endpoint answers 400 with these words."""


@dataclass(frozen=True, slots=True)
class Question:
    """A judging request as the judge understands it.

    Attributes:
        instruction: The prompt, quotation marks removed.
        texts: The texts in the order shown.
        aspects: What to rate, in the order asked for.
        picture: Bytes of the picture, or None where there is none.
        schema: The wanted JSON object's schema, or None for headings.
        tokens: Estimated size of the question, tokens.
    """

    instruction: str
    texts: tuple[str, ...]
    aspects: tuple[str, ...]
    picture: bytes | None
    schema: dict[str, Any] | None
    tokens: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """One cell of the judge's reply."""

    score: int
    why: str


def read_question(body: dict[str, Any]) -> Question:
    """Read the body of a request.

    Raises:
        BadQuestion: there are no texts to judge, or the picture is not one.
    """
    system, texts, pictures = "", list[str](), list[bytes]()
    try:
        for message in body["messages"]:
            content = message["content"]
            parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
            for part in parts:
                if part["type"] == "image_url":
                    pictures.append(_picture(part["image_url"]["url"]))
                elif message["role"] == "system":
                    system += part["text"]
                else:
                    texts.append(part["text"])
    except (KeyError, TypeError) as error:
        raise BadQuestion(f"messages are not of the chat-completions form: {error}") from error
    instruction, shown = _material("\n".join(texts))
    schema = _schema(body)
    tokens = (len(system) + sum(map(len, texts))) // 4 + 85 * len(pictures)
    return Question(instruction, shown, _aspects(system, schema), pictures[0] if pictures else None, schema, tokens)


def _picture(url: str) -> bytes:
    head, _, payload = url.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise BadQuestion("the picture must be a data URL")
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadQuestion(f"the picture is not base64: {error}") from error


def open_picture(data: bytes) -> Pillow.Image:
    """Decode a picture.

    Raises:
        BadQuestion: it is none.
    """
    try:
        picture = Pillow.open(io.BytesIO(data))
        picture.load()
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise BadQuestion(f"the picture cannot be decoded: {error}") from error
    return picture


def _material(message: str) -> tuple[str, tuple[str, ...]]:
    """Instruction and texts: quoted lines after a line of their own that says what they are."""
    instruction: list[str] = []
    texts: list[list[str]] = []
    into: list[str] | None = None
    for line in message.split("\n"):
        if line.startswith(_QUOTE):
            if into is not None:
                into.append(line.removeprefix(_QUOTE))
        elif line == "Instruction:":
            into = instruction
        elif _LABEL.match(line):
            texts.append([])
            into = texts[-1]
        elif line.strip():
            into = None
    if not texts:
        raise BadQuestion("there is no text to judge: `- <text 1>` with quoted lines after it is expected")
    return "\n".join(instruction), tuple("\n".join(lines) for lines in texts)


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    asked: Any = body.get("response_format")
    try:
        return asked["json_schema"]["schema"] if asked and asked["type"] == "json_schema" else None
    except (KeyError, TypeError) as error:
        raise BadQuestion("response_format has no schema") from error


def _aspects(system: str, schema: dict[str, Any] | None) -> tuple[str, ...]:
    """Aspects that the reply must have: of the schema's first text, else of the rubric's headings."""
    if schema is not None:
        try:
            first: Any = next(iter(schema["properties"].values()))
            return tuple(first["properties"])
        except (KeyError, TypeError, StopIteration, AttributeError) as error:
            raise BadQuestion("the schema has no texts with aspects") from error
    named = dict.fromkeys(found["name"].strip() for found in _ASPECT.finditer(system))
    return tuple(named) or PAPER_ASPECTS


def write_reply(question: Question, verdicts: list[dict[str, Verdict]]) -> str:
    """The judge's words: headings, or the JSON object that the schema wants.

    Args:
        question: What was asked.
        verdicts: One mapping from aspect per text, in the order shown.
    """
    if question.schema is not None:
        return _json(question.schema, verdicts)
    blocks: list[str] = []
    for aspect in question.aspects:
        blocks.append(f"#### {aspect} Assessment")
        for number, marks in enumerate(verdicts, 1):
            mark = marks[aspect]
            blocks.append(f"##### Output for Text {number}\nRating: {mark.score}\nRationale: {mark.why}\n")
    return "\n".join(blocks)


def _json(schema: dict[str, Any], verdicts: list[dict[str, Verdict]]) -> str:
    """The reply object with its keys in the schema's order."""
    labels: dict[str, Any] = schema["properties"]
    reply: dict[str, Any] = {}
    for (label, inner), marks in zip(labels.items(), verdicts, strict=False):
        reply[label] = {}
        for aspect, fields in inner["properties"].items():
            mark = marks[aspect]
            values: dict[str, int | str] = {"score": mark.score, "rationale": mark.why}
            reply[label][aspect] = {name: values[name] for name in fields["properties"] if name in values}
    return json.dumps(reply)
