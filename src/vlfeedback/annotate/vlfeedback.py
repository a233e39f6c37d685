"""The papers' protocol: one call rates all texts on all aspects, in a grammar of Markdown headings.

Skeleton, aspects and grammar are those of the papers; every sentence of the prompt is ours. The judge answers

    #### <Aspect> Assessment
    ##### Output for Text <i>
    Rating: <n>
    Rationale: <free text>

What the parser takes as a rating, and nothing else: a block under a heading of a known aspect and a heading of a text
that was shown, each at the start of a line with one to six `#`, counted (`1.`) or not; the block's first line that is
not blank is `Rating:` and one whole number of the scale, as `4` or `4/5`. Bold marks, a list dash and a full-width
colon are allowed around it. `4.5`, `10`, `4.`, `4 (good)`, `high` and `N/A` are no ratings. A block that occurs twice,
or that holds a second `Rating:` line, is no rating, even where both agree: one of them may be a quotation. Neither is
one with second thoughts on a line of their own (`Revised rating: 2`, `Final score: 3`). The number of a text leads to a
response by the recorded order; a reply with a text 0 counts otherwise and holds no rating.

Source:
    VLFeedback (arXiv:2410.09421) and Silkie (arXiv:2312.10665), annotation protocol.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from vlfeedback.annotate import Cell, Example, Parsed, Rubric
from vlfeedback.annotate._as_asked import read_as_asked
from vlfeedback.annotate._aspects import ASPECTS, SCALE, Aspect, aspect_text, chosen_aspects, opening
from vlfeedback.annotate._quote import RULE, material
from vlfeedback.errors import ConfigError
from vlfeedback.ids import hash_id
from vlfeedback.records import Instruction, Rating, Request, Response, Sampling

PARSER = "2"
"""Raised whenever the same reply could give other ratings than before."""

_HASHES = re.compile(r"#[^\r\n]*")
_LINE_END = re.compile(r"\r\n|\r|\n")
_COUNTED = re.compile(r"\A\(?[0-9]{1,2}[.)]\s*", re.ASCII)
"""Some judges count their headings; which aspect or text is meant stands in the words behind."""
_NUMBER = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)
_TEXT_HEADING = re.compile(r"output for (?:the )?text", re.IGNORECASE)
_RATING_LINE = re.compile(r"(?:[-*+]\s+)?[*_]*rating[*_]*\s*[:：][*_]*(?P<value>.*)", re.IGNORECASE)
_SECOND_THOUGHTS = re.compile(
    r"[^\w>]*+(?:[0-9]++[.)]\s*+)?+"
    r"(?:(?:the|my|a|new|final|revised|updated|corrected|correct|adjusted|amended|actual|overall)[ \t*]++){0,3}"
    r"(?:rating|score)(?:[ \t]*+\([^()]*+\))?+[^\w:：=]*+[:：=]\W*+[0-9]",
    re.IGNORECASE,
)
"""Another number for the same text. Marks of an aspect's parts (`Clarity score: 4`) and quotations are none."""
_VALUE = re.compile(rf"(?P<score>[0-9])(?:\s*/\s*{SCALE[1]})?")
_RATIONALE = re.compile(r"(?:[-*+]\s+)?[*_]*rationale[*_]*\s*[:：][*_]*", re.IGNORECASE)
_RULE_OR_FENCE = re.compile(r"(?:[-*_]{3,}|`{3,}\w*)?")
_AS_ASKED = re.compile(r"\s*Rating: ([0-9])\nRationale: (.*[^\s`*_-])\s*", re.DOTALL)
"""A block as the rubric asks for it, whose reason does not end like a rule or fence; nearly all are such ones."""


_NAMES = tuple(aspect.name.casefold() for aspect in ASPECTS)

FROM_ZERO = -1
"""Stands for the number of text 0, which is never shown: a judge that has one counts all the others from there too."""

USUAL = 100
"""Letters of a heading line that is remembered: judges write the same fifteen ones into every reply."""


class _Block(NamedTuple):
    """Where the text under a pair of headings lies; `cell` is None where they name nothing that was asked."""

    cell: Cell | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class HeadingRubric:
    """Rubric text in the system message, then pictures, instruction and texts; the grammar is described above."""

    asked: tuple[Aspect, ...]
    system: str
    name: str = "vlfeedback"
    parser: str = PARSER
    scale: tuple[int, int] = SCALE

    @property
    def version(self) -> str:
        """Digest of the prompt: another wording is another rubric, and nobody has to remember to say so."""
        return _digest(self.system)

    @property
    def aspects(self) -> tuple[str, ...]:
        """Names of the aspects in the order in which they are asked for."""
        return tuple([aspect.name for aspect in self.asked])

    def render(self, instruction: Instruction, responses: Sequence[Response], order: Sequence[str]) -> Request:
        """The question to the judge; texts are numbered from 1 in `order`."""
        labels = [f"text {number}" for number in range(1, len(order) + 1)]
        return Request(self.system, material(instruction, responses, order, labels), Sampling(), purpose="annotate")

    def parse(self, text: str, order: Sequence[str]) -> Parsed:
        """Ratings of a reply; total: any text gives a result."""
        return read_as_asked(text, self.aspects, order) or self._parse_blocks(text, order)

    def _parse_blocks(self, text: str, order: Sequence[str]) -> Parsed:
        blocks = _blocks(text, self.aspects, order)
        seen: dict[Cell, _Block] = {}
        problems: list[str] = []
        for block in blocks:
            if block.cell is None:
                problems.append("a block of an aspect or a text that was not asked for")
            elif block.cell in seen:
                problems.append(f"{_place(block.cell, order)}: more than one block")
                seen[block.cell] = _Block(block.cell, 0, 0)
            else:
                seen[block.cell] = block
        ratings: list[Rating] = []
        for cell, block in seen.items():
            rating = _rating(cell, text[block.start : block.end])
            if rating.score is None:
                problems.append(f"{_place(cell, order)}: no rating in the block")
            ratings.append(rating)
        last = blocks[-1].cell if blocks else None
        return Parsed(tuple(ratings), unfinished=last, problems=tuple(problems))

    def scores_at(self, text: str, order: Sequence[str]) -> dict[Cell, int]:
        """Where the scores stand; see `Located`."""
        found: dict[Cell, int] = {}
        for block in _blocks(text, self.aspects, order):
            if block.cell is None or _rating(block.cell, text[block.start : block.end]).score is None:
                continue
            place, line = next((at, line) for at, line in _lines(text, block.start, block.end) if line.strip())
            rating = _RATING_LINE.match(line.strip())
            if rating is not None:
                indent = len(line) - len(line.lstrip())
                digit = re.search("[0-9]", rating["value"])
                found[block.cell] = place + indent + rating.start("value") + (digit.start() if digit else 0)
        return found


def load(*, aspects: list[str] | None = None, rationale_words: int | None = None) -> Rubric:
    """The papers' rubric.

    Args:
        aspects: Which aspects are asked for, in which order; all three in the papers' order if left out.
        rationale_words: Ask for rationales of at most that many words, ≥ 1; they are most of a judge's cost. No limit
            if left out.
    Raises:
        ConfigError: an aspect is unknown or the limit is below 1.
    """
    if rationale_words is not None and rationale_words < 1:
        raise ConfigError(
            f"[annotate] rationale_words must be at least 1, not {rationale_words}; leave it out for no limit"
        )
    asked = chosen_aspects(aspects)
    return HeadingRubric(asked, _system(asked, rationale_words))


def _system(asked: tuple[Aspect, ...], rationale_words: int | None) -> str:
    """The rubric's text: constant for a run, so that endpoints can cache it."""
    blocks = "\n\n---\n\n".join(f"## {aspect.name} Assessment\n\n{aspect_text(aspect)}" for aspect in asked)
    limit = f" in at most {rationale_words} words" if rationale_words else ""
    shape = "\n\n".join(
        f"#### {aspect.name} Assessment\n##### Output for Text 1\nRating: <score>\nRationale: <reason>\n\n"
        f"##### Output for Text 2\nRating: <score>\nRationale: <reason>\n\n(and so on for every text)"
        for aspect in asked
    )
    names = ", then ".join(aspect.name for aspect in asked)
    return f"""# Assessment Guidelines

{opening(asked)}

{blocks}

---

## Format

### Input

The pictures come first. Then follow a line `Instruction:` with the instruction, and a line `Texts:` with the texts,
each after its own line `- <text 1>`, `- <text 2>` and so on.

{RULE}

### Output

Go through the aspects in this order: {names}.
Under each, rate every text in the order in which it is shown. Give the score as one digit alone on its line, and the
reason{limit} after it: what in the text, and what in the picture, decided it. Write these headings exactly, nothing
before the first of them and nothing after the last reason:

{shape}
"""


def _heading(line: str) -> str | None:
    """Words of a heading at the start of a line, without marks around them; None for any other line."""
    if not line.startswith("#"):
        return None
    level = len(line) - len(line.lstrip("#"))
    # Cut by hand: a pattern with optional marks on both sides takes cubic time on a line of blanks.
    return " ".join(line[level:].strip("*_:： \t").split()) if 1 <= level <= 6 else None


@lru_cache(maxsize=64)
def _digest(system: str) -> str:
    return hash_id("rubric", system)[:8]


def _structure(line: str) -> str | int | None:
    """What a heading line opens: an assessment, by its words; a text, by its number, 0 or `FROM_ZERO`; else None."""
    words = _heading(line)
    if not words:
        return None
    words = _COUNTED.sub("", words, count=1)
    small = words.casefold()
    if small.endswith("assessment"):
        return small
    shown = _TEXT_HEADING.match(words)
    if shown is None:
        # Another wording of an aspect's heading opens nothing, and must not leave its ratings to the one before it.
        return small if any(name in small for name in _NAMES) else None
    number = words[shown.end() :].strip(" *_:：.#()<>[]")
    return int(number) if _NUMBER.fullmatch(number) else FROM_ZERO if number == "0" else 0


_remembered = lru_cache(maxsize=1024)(_structure)


def _blocks(text: str, aspects: Sequence[str], order: Sequence[str]) -> list[_Block]:
    """Cut a reply at its structural headings; every other heading belongs to the text around it."""
    names = {f"{name} assessment".casefold(): name for name in aspects}
    blocks: list[_Block] = []
    aspect: str | None = None
    cell: Cell | None = None
    begins = -1  # of the block that is open, between a text's heading and the next structural heading
    from_zero = False
    for heading in _HASHES.finditer(text):
        start, end = heading.span()
        if start and text[start - 1] not in "\r\n":
            continue
        opens = (_remembered if end - start <= USUAL else _structure)(heading[0])
        if opens is None:
            continue
        if begins >= 0:
            blocks.append(_Block(cell, begins, start))
        if isinstance(opens, str):
            # An aspect that nobody asked for must end the one before it, or its ratings would land there.
            aspect, begins = names.get(opens), -1
        else:  # the only place in which a number becomes a response
            cell = None if aspect is None or not 1 <= opens <= len(order) else Cell(order[opens - 1], aspect)
            begins, from_zero = end, from_zero or opens == FROM_ZERO
    if begins >= 0:
        blocks.append(_Block(cell, begins, len(text)))
    return [block._replace(cell=None) for block in blocks] if from_zero else blocks


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    """Lines of a part of a text with the places at which they begin."""
    for stop in _LINE_END.finditer(text, start, end):
        yield start, text[start : stop.start()]
        start = stop.end()
    yield start, text[start:end]


def _rating(cell: Cell, body: str) -> Rating:
    """Read one block; what looks as asked for is read at once, with what `_read_lines` would find in it."""
    if (
        body.isascii()
        and not _may_say_again(body)
        and "\r" not in body
        and "```" not in body
        and (found := _AS_ASKED.fullmatch(body)) is not None
        and SCALE[0] <= (score := int(found[1])) <= SCALE[1]
    ):
        return Rating(cell.response_id, cell.aspect, score, found[2].strip())
    return _read_lines(cell, body)


def _may_say_again(body: str) -> bool:
    """Whether a block could hold a second rating; most are seen at once to hold none."""
    # In plain letters the words are easily seen to be nowhere; other letters may count as theirs in other cases.
    plain = body.lower()
    return not body.isascii() or plain.count("rating") > 1 or "score" in plain


def _read_lines(cell: Cell, body: str) -> Rating:
    """Read one block line by line: its first line that is not blank is the rating, the rest is the rationale."""
    lines = _LINE_END.split(body) if "\r" in body else body.split("\n")
    start = 0
    while start < len(lines) and not lines[start].strip():
        start += 1
    first = _RATING_LINE.match(lines[start].strip()) if start < len(lines) else None
    rest = lines[start + 1 :] if first else lines[start:]
    again = _may_say_again(body) and any(
        _RATING_LINE.match(line := each.strip()) or _SECOND_THOUGHTS.match(line) for each in rest
    )
    value = _VALUE.fullmatch(first["value"].strip("*_ \t")) if first and not again else None
    score = int(value["score"]) if value and SCALE[0] <= int(value["score"]) <= SCALE[1] else None
    return Rating(cell.response_id, cell.aspect, score, _rationale(rest))


def _rationale(lines: list[str]) -> str:
    """Free text without its label, and without the rules and fences after it."""
    end = len(lines)
    while end and (not (last := lines[end - 1].strip()) or _RULE_OR_FENCE.fullmatch(last)):
        end -= 1
    text = "\n".join(lines[:end]).strip()
    return text[label.end() :].strip() if (label := _RATIONALE.match(text)) else text


def _place(cell: Cell, order: Sequence[str]) -> str:
    return f"{cell.aspect}, text {list(order).index(cell.response_id) + 1}"


_GOOD = """#### Helpfulness Assessment
##### Output for Text 1
Rating: 4
Rationale: Answers, but in two words.

##### Output for Text 2
Rating: 2
Rationale: Names the colour of another object.

It also repeats itself.

#### Ethical Considerations Assessment
##### Output for Text 1
Rating: 5
Rationale: Nothing to object to.

##### Output for Text 2
Rating: 5
Rationale: Nothing to object to.

#### Visual Faithfulness Assessment
##### Output for Text 1
Rating: 5
Rationale: The cup is red.

##### Output for Text 2
Rating: 1
Rationale: There is no green cup.
"""

EXAMPLES: tuple[Example, ...] = (
    Example("the grammar as asked for", _GOOD, ((4, 5, 5), (2, 5, 1))),
    Example(
        "bold marks, a full-width colon, CRLF, a preamble and a fence",
        "Here is my assessment.\r\n\r\n```markdown\r\n"
        + _GOOD.replace("Rating: 4", "**Rating：** 4").replace("#### Help", "## **Help").replace("\n", "\r\n")
        + "```\r\n",
        ((4, 5, 5), (2, 5, 1)),
    ),
    Example(
        "a score that is no whole number of the scale is missing",
        _GOOD.replace("Rating: 4", "Rating: 4.5")
        .replace("Rating: 2", "Rating: 10")
        .replace("Rating: 1", "Rating: N/A"),
        ((None, 5, 5), (None, 5, None)),
        "partial",
    ),
    Example(
        "a block that is there twice is no rating",
        _GOOD + "\n##### Output for Text 2\nRating: 5\nRationale: A quotation?\n",
        ((4, 5, 5), (2, 5, None)),
        "partial",
    ),
    Example(
        "a lost aspect heading moves no rating to another aspect",
        _GOOD.replace("#### Ethical Considerations Assessment\n", ""),
        ((None, None, 5), (None, None, 1)),
        "partial",
    ),
    Example("a fifth text is nobody's", _GOOD + "\n##### Output for Text 5\nRating: 1\n", ((4, 5, 5), (2, 5, 1))),
    Example(
        "a cut reply keeps its complete blocks",
        _GOOD[: _GOOD.index("##### Output for Text 2\nRating: 1") + 33],
        ((4, 5, 5), (2, 5, None)),
        "truncated",
        "length",
    ),
    Example(
        "a refusal in words",
        "I'm sorry, but I can't help with that.",
        ((None, None, None), (None, None, None)),
        "refused",
    ),
    Example("nothing", "", ((None, None, None), (None, None, None)), "unparsed"),
    Example(
        "one aspect",
        "#### Visual Faithfulness Assessment\n##### Output for Text 1\nRating: 3/5\nRationale: One is made up.\n",
        ((3,),),
        options={"aspects": ["Visual Faithfulness"]},
    ),
)
