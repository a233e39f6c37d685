"""The same questions for endpoints with structured output: one JSON object per text, with a strict schema.

Labels are constant (`text_1`, `text_2`, …), so that the schema is too: endpoints compile a schema once and keep it in
the cached prefix. A rating is an object under its text's label, never an entry of a list, so that none can slip to its
neighbour.

What the parser takes as a rating, and nothing else: the reply is one JSON object, alone or in one code fence; under a
label that was shown and an aspect that was asked for is an object whose `score` is a JSON integer of the scale (`4.0`,
`"4"` and `true` are none). A key that occurs twice in an object makes everything under it missing. Line ends inside a
rationale may stand there as they are, as endpoints without structured output write them. A reply with a `text_0` counts
from there and holds no rating. One that was cut off keeps the texts whose objects are complete.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from vlfeedback.annotate import Cell, Example, Parsed, Rubric
from vlfeedback.annotate._aspects import SCALE, Aspect, aspect_text, chosen_aspects, opening
from vlfeedback.annotate._quote import RULE, material
from vlfeedback.ids import hash_id
from vlfeedback.records import Instruction, Rating, Request, Response, Sampling

PARSER = "2"
"""Raised whenever the same reply could give other ratings than before."""

_FENCE = re.compile(r"```(?:json)?[ \t]*\r?\n(?P<inside>.*?)(?:\r?\n```\s*)?", re.DOTALL | re.IGNORECASE)


class _Twice:
    """Stands for the value of a key that occurs more than once."""


@dataclass(frozen=True, slots=True)
class SchemaRubric:
    """Rubric text in the system message, the shape of the reply in the request's schema."""

    asked: tuple[Aspect, ...]
    system: str
    rationale_first: bool
    name: str = "json_schema"
    parser: str = PARSER
    scale: tuple[int, int] = SCALE

    @property
    def version(self) -> str:
        """Digest of prompt and schema."""
        return hash_id("rubric", self.system, self.schema(1))[:8]

    @property
    def aspects(self) -> tuple[str, ...]:
        """Names of the aspects in the order in which they are asked for."""
        return tuple(aspect.name for aspect in self.asked)

    def schema(self, count: int) -> str:
        """JSON schema of the reply on `count` texts: every field required, no others, scores as an enumeration."""
        fields: dict[str, object] = {
            "score": {"type": "integer", "enum": list(range(SCALE[0], SCALE[1] + 1))},
            "rationale": {"type": "string"},
        }
        if self.rationale_first:
            fields = dict(reversed(fields.items()))
        text = _object({aspect: _object(fields) for aspect in self.aspects})
        return json.dumps(_object(dict.fromkeys(_labels(count), text)))

    def render(self, instruction: Instruction, responses: Sequence[Response], order: Sequence[str]) -> Request:
        """The question to the judge; texts are labelled from `text_1` in `order`."""
        parts = material(instruction, responses, order, _labels(len(order)))
        return Request(self.system, parts, Sampling(), schema=self.schema(len(order)), purpose="annotate")

    def parse(self, text: str, order: Sequence[str]) -> Parsed:
        """Ratings of a reply; total: any text gives a result."""
        reply = _read(text)
        if not isinstance(reply, dict):
            return Parsed((), problems=("the reply is no JSON object",))
        shown = dict(zip(_labels(len(order)), order, strict=True))
        texts = cast("dict[str, object]", reply)
        problems = [f"{label}: no such text" for label in texts if label not in shown]
        if "text_0" in texts:  # a judge that counts from zero means the second text by `text_1`
            return Parsed((), problems=tuple(problems))
        ratings: list[Rating] = []
        for label, response in shown.items():
            given = texts.get(label)
            aspects = cast("dict[str, object]", given) if isinstance(given, dict) else {}
            for aspect in self.aspects:
                rating = _rating(Cell(response, aspect), aspects.get(aspect))
                if rating.score is None:
                    problems.append(f"{label}, {aspect}: no rating")
                ratings.append(rating)
        return Parsed(tuple(ratings), problems=tuple(problems))

    def scores_at(self, text: str, order: Sequence[str]) -> dict[Cell, int]:
        """Where the scores stand; see `Located`."""
        shown = dict(zip(_labels(len(order)), order, strict=True))
        return {
            Cell(shown[label], aspect): place
            for (label, aspect, field), place in _places(text).items()
            if label in shown and field == "score"
        }


def load(*, aspects: list[str] | None = None, rationale_first: bool = False, rationale_words: int = 60) -> Rubric:
    """The papers' questions with a JSON schema for the reply.

    Args:
        aspects: Which aspects are asked for, in which order; all three in the papers' order if left out.
        rationale_first: Ask for the reason before the score; the papers ask for the score first.
        rationale_words: Longest rationale asked for, words; they are most of a judge's cost.
    Raises:
        ConfigError: an aspect is unknown.
    """
    asked = chosen_aspects(aspects)
    return SchemaRubric(asked, _system(asked, rationale_first, rationale_words), rationale_first)


def _system(asked: tuple[Aspect, ...], rationale_first: bool, rationale_words: int) -> str:
    blocks = "\n\n".join(f"## {aspect.name}\n\n{aspect_text(aspect)}" for aspect in asked)
    fields = '"rationale", then "score"' if rationale_first else '"score", then "rationale"'
    names = ", ".join(f'"{aspect.name}"' for aspect in asked)
    return f"""# Assessment Guidelines

{opening(asked)}

{blocks}

## Format

The pictures come first. Then follow a line `Instruction:` with the instruction, and a line `Texts:` with the texts,
each after its own line with its label: `- <text_1>`, `- <text_2>` and so on.

{RULE}

Reply with one JSON object and nothing else. Its keys are the labels of all texts. Under each stands an object with the
keys {names}, and under each of these an object with {fields}.
The rationale says in at most {rationale_words} words what in the text, and what in the picture, decided the score.
"""


def _labels(count: int) -> list[str]:
    return [f"text_{number}" for number in range(1, count + 1)]


def _object(properties: dict[str, object]) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _rating(cell: Cell, given: object) -> Rating:
    """Read one object with a score; anything else is a rating without one."""
    if not isinstance(given, dict):
        return Rating(cell.response_id, cell.aspect, None)
    fields = cast("dict[str, object]", given)
    score, rationale = fields.get("score"), fields.get("rationale")
    # bool is a kind of int in Python; True is no score.
    sound = type(score) is int and SCALE[0] <= score <= SCALE[1]
    text = rationale.strip() if isinstance(rationale, str) else ""
    return Rating(cell.response_id, cell.aspect, cast("int", score) if sound else None, text)


def _read(text: str) -> object:
    """The JSON value of a reply, or what is complete of an object that was cut off; None where there is neither."""
    text = text.strip()
    fenced = _FENCE.fullmatch(text)
    body = (fenced["inside"] if fenced else text).strip()
    decoder = json.JSONDecoder(object_pairs_hook=_once, strict=False)
    try:
        return decoder.decode(body)
    except json.JSONDecodeError as error:
        # Only a text that ends too early was cut off; one that is broken before its end is not what was asked for.
        cut = error.pos >= len(body) or error.msg.startswith("Unterminated string")
        return _members(body, decoder) if cut else None
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets thousands deep
        return None


def _members(body: str, decoder: json.JSONDecoder) -> object:
    """Complete members of an object whose end is missing."""
    found: list[tuple[str, object]] = []
    key = re.compile(r'\s*[{,]\s*(?P<key>"text_[0-9]+")\s*:\s*', re.ASCII)
    place = 0
    while (match := key.match(body, place)) is not None and body.startswith("{"):
        try:
            value, place = decoder.raw_decode(body, match.end())
        except (ValueError, RecursionError):
            break
        found.append((json.loads(match["key"]), value))
    return _once(found) if found else None


def _places(text: str) -> dict[tuple[str, ...], int]:
    """Where the values begin that lie three keys deep, as far as the text is an object of objects of objects."""
    found: dict[tuple[str, ...], int] = {}
    decoder = json.JSONDecoder(strict=False)
    key = re.compile(r'[\s{,]*(?P<key>"(?:[^"\\]|\\.)*")\s*:\s*')
    path: list[str] = []
    place = text.find("{")
    try:
        while (match := key.match(text, place + (place >= 0) * (not path))) is not None:
            name, place = str(json.loads(match["key"], strict=False)), match.end()
            if len(path) < 2 and text[place : place + 1] == "{":
                path.append(name)
                continue
            if len(path) == 2:
                found[(*path, name)] = place
            place = decoder.raw_decode(text, place)[1]
            while path and (end := _END.match(text, place)) is not None:
                path.pop()
                place = end.end()
    except (ValueError, RecursionError):
        pass  # what was cut off has no scores behind the cut
    return found


_END = re.compile(r"\s*\}")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose keys that occur twice lead to nothing: one of the values may be a quotation."""
    found: dict[str, object] = {}
    for key, value in pairs:
        found[key] = _Twice() if key in found else value
    return found


_GOOD = """{"text_1": {"Helpfulness": {"score": 4, "rationale": "Short."},
"Ethical Considerations": {"score": 5, "rationale": ""},
"Visual Faithfulness": {"score": 5, "rationale": "The cup is red."}},
"text_2": {"Helpfulness": {"score": 2, "rationale": "Wrong object."},
"Ethical Considerations": {"score": 5, "rationale": ""},
"Visual Faithfulness": {"score": 1, "rationale": "No green cup."}}}"""
_NONE = ((None, None, None), (None, None, None))

EXAMPLES: tuple[Example, ...] = (
    Example("the object as asked for", _GOOD, ((4, 5, 5), (2, 5, 1))),
    Example("in a code fence", f"```json\n{_GOOD}\n```", ((4, 5, 5), (2, 5, 1))),
    Example("text beside the object is not what was asked for", f"{_GOOD} So text 1 wins.", _NONE, "unparsed"),
    Example(
        "only an integer of the scale is a score",
        _GOOD.replace('"score": 4', '"score": 4.0')
        .replace('"score": 2', '"score": "2"')
        .replace('"score": 1', '"score": 10'),
        ((None, 5, 5), (None, 5, None)),
        "partial",
    ),
    Example("true is no score", _GOOD.replace('"score": 1', '"score": true'), ((4, 5, 5), (2, 5, None)), "partial"),
    Example(
        "a text that is there twice is no rating",
        _GOOD[:-1] + ', "text_1": {"Helpfulness": {"score": 5, "rationale": ""}}}',
        ((None, None, None), (2, 5, 1)),
        "partial",
    ),
    Example(
        "a cut reply keeps its complete texts", _GOOD[:-40], ((4, 5, 5), (None, None, None)), "truncated", "length"
    ),
    Example("a list of numbers is nobody's", "[4, 2]", _NONE, "unparsed"),
    Example(
        "one aspect, reason first",
        '{"text_1": {"Helpfulness": {"rationale": "All there.", "score": 5}}}',
        ((5,),),
        options={"aspects": ["Helpfulness"], "rationale_first": True},
    ),
)
