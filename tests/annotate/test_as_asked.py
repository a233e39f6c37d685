"""Replies in the very shape of the rubric are read by one pattern, with what the reading by headings finds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, strategies as st

from vlfeedback.annotate import Cell, vlfeedback
from vlfeedback.annotate._as_asked import read_as_asked
from vlfeedback.records import Rating

RUBRIC = vlfeedback.load()
ORDER = ("ra", "rb", "rc", "rd")
SPOILS = [
    "",
    " ",
    "\n",
    "\n\n",
    "\r",
    "\r\n",
    "\t",
    "\x0c",
    "\x1c",
    "\u2028",
    "#",
    "`",
    "```",
    "*",
    "_",
    "-",
    "---",
    "’",
    "ı",
    "é",
    "7",
    "4.5",
    "Rating: 5",
    "Ratıng: 5",
    "\nRatıng: 5",
    "\n**Rating** : 5",
    "\n- Rationale: no",
    "rating",
    "Rationale:",
    "#### Style Assessment\n",
    "##### Output for Text 2\n",
    "#### Helpfulness Assessment\n",
]


def reply(scores: list[int], reasons: list[str], between: str = "\n") -> str:
    lines: list[str] = []
    for place, (score, why) in enumerate(zip(scores, reasons, strict=True)):
        if place % 4 == 0:
            lines.append(f"#### {RUBRIC.aspects[place // 4]} Assessment")
        lines.append(f"##### Output for Text {place % 4 + 1}\nRating: {score}\nRationale: {why}{between}")
    return "\n".join(lines)


def slow(text: str, order: tuple[str, ...] = ORDER) -> object:
    return RUBRIC._parse_blocks(text, order)  # type: ignore[attr-defined]  # pyright: ignore


twelve = st.lists(st.integers(1, 5), min_size=12, max_size=12)
plain = st.text("abz,.;:!?()[]'\"’–… \t", min_size=1).filter(str.strip)


@given(twelve, st.lists(plain, min_size=12, max_size=12), st.sampled_from(["", "\n", "\n\n"]))
def test_it_reads_what_is_as_asked(scores: list[int], reasons: list[str], between: str) -> None:
    found = read_as_asked(reply(scores, reasons, between), RUBRIC.aspects, ORDER)
    cells = [(response, aspect) for aspect in RUBRIC.aspects for response in ORDER]
    assert found is not None
    assert found.ratings == tuple(
        Rating(*cell, score, why.strip()) for cell, score, why in zip(cells, scores, reasons, strict=True)
    )
    assert found.unfinished == Cell("rd", RUBRIC.aspects[-1])
    assert found == slow(reply(scores, reasons, between))


@given(twelve, st.lists(plain, min_size=12, max_size=12), st.lists(st.sampled_from(SPOILS), max_size=3), st.randoms())
def test_where_it_reads_both_read_the_same(
    scores: list[int], reasons: list[str], spoils: list[str], chance: random.Random
) -> None:
    text = reply(scores, reasons)
    for spoil in spoils:
        start = chance.choice([place for place, letter in enumerate(text) if letter in "\n :"] + [len(text)])
        end = start + chance.choice([0, 0, 1, 5])
        text = text[:start] + spoil + text[end:]
    found = read_as_asked(text, RUBRIC.aspects, ORDER)
    assert found is None or found == slow(text)


@pytest.mark.parametrize(
    "spoilt",
    [
        reply([3] * 12, ["so"] * 12).replace("Rating: 3", "Rating: 6", 1),
        reply([3] * 12, ["so"] * 12).replace("Text 2", "Text 3", 1),
        reply([3] * 12, ["a good rating"] + ["so"] * 11),
        reply([3] * 12, ["so", "Ratıng: 4"] + ["so"] * 10),
        reply([3] * 12, ["so"] * 12) + "#### Helpfulness Assessment",
        reply([3] * 12, ["so"] * 12)[:-4],
        reply([3] * 12, ["so"] * 12)[4:],
    ],
)
def test_whatever_deviates_is_left_to_the_careful_reading(spoilt: str) -> None:
    assert read_as_asked(spoilt, RUBRIC.aspects, ORDER) is None


def test_a_response_that_is_shown_twice_is_left_to_it_too() -> None:
    text = reply([3] * 12, ["so"] * 12)
    assert read_as_asked(text, RUBRIC.aspects, ("ra", "rb", "rc", "ra")) is None
