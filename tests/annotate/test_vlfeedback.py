"""The heading grammar: strict where a rating could land on something else, lenient where it cannot."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, strategies as st

from vlfeedback.annotate import Cell, Parsed, vlfeedback
from vlfeedback.annotate.vlfeedback import _rating, _read_lines  # pyright: ignore[reportPrivateUsage]
from vlfeedback.errors import ConfigError

RUBRIC = vlfeedback.load()
HELP, ETHICS, FAITH = RUBRIC.aspects
ORDER = ("ra", "rb", "rc", "rd")

Block = tuple[str, int, int, str]  # aspect, number of the text, score, rationale


def write(blocks: list[Block]) -> str:
    """A reply: blocks in order, an aspect's heading wherever it changes."""
    lines: list[str] = []
    before = None
    for aspect, number, score, rationale in blocks:
        if aspect != before:
            lines.append(f"#### {aspect} Assessment")
        before = aspect
        lines.append(f"##### Output for Text {number}\nRating: {score}\nRationale: {rationale}\n")
    return "\n".join(lines)


def whole(scores: list[int]) -> list[Block]:
    """Twelve blocks in the order that is asked for."""
    cells = [(aspect, number) for aspect in RUBRIC.aspects for number in (1, 2, 3, 4)]
    return [
        (aspect, number, score, f"why {aspect} {number}") for (aspect, number), score in zip(cells, scores, strict=True)
    ]


def scores_of(parsed: Parsed) -> dict[Cell, int]:
    return {
        Cell(rating.response_id, rating.aspect): rating.score for rating in parsed.ratings if rating.score is not None
    }


def truth(blocks: list[Block]) -> dict[Cell, int]:
    return {Cell(ORDER[number - 1], aspect): score for aspect, number, score, _ in blocks}


def one(body: str, order: tuple[str, ...] = ORDER) -> Parsed:
    """Parse a reply with a single block, on the helpfulness of text 1."""
    return RUBRIC.parse(f"#### Helpfulness Assessment\n##### Output for Text 1\n{body}\n", order)


twelve = st.lists(st.integers(1, 5), min_size=12, max_size=12)
seeds = st.randoms(use_true_random=False)
words = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\n#")).filter(
    lambda text: not any(word in text.casefold() for word in ("rating", "rationale", "score"))
)


@given(twelve, st.lists(words, min_size=12, max_size=12), st.permutations(ORDER))
def test_a_perfect_reply_comes_back_whole(scores: list[int], rationales: list[str], order: list[str]) -> None:
    blocks = [
        (aspect, number, score, f"First.\n\n{why}\n\nSecond.")
        for (aspect, number, score, _), why in zip(whole(scores), rationales, strict=True)
    ]
    parsed = RUBRIC.parse(write(blocks), order)
    found = {Cell(rating.response_id, rating.aspect): rating for rating in parsed.ratings}
    assert len(found) == len(parsed.ratings) == 12
    for aspect, number, score, rationale in blocks:
        rating = found[Cell(order[number - 1], aspect)]
        assert rating.score == score
        assert rating.rationale == rationale
    assert parsed.unfinished == Cell(order[3], FAITH)


@given(twelve, seeds)
def test_shuffled_blocks_keep_their_ratings(scores: list[int], chance: random.Random) -> None:
    blocks = whole(scores)
    chance.shuffle(blocks)
    assert scores_of(RUBRIC.parse(write(blocks), ORDER)) == truth(blocks)


@given(twelve, st.sets(st.integers(0, 11)))
def test_lost_blocks_lose_their_own_rating_only(scores: list[int], lost: set[int]) -> None:
    blocks = [block for place, block in enumerate(whole(scores)) if place not in lost]
    assert scores_of(RUBRIC.parse(write(blocks), ORDER)) == truth(blocks)


@given(twelve, seeds, st.integers(1, 6))
def test_a_corrupt_reply_never_gives_a_rating_to_another_response(
    scores: list[int], chance: random.Random, times: int
) -> None:
    """Lose, repeat, swap, cut and change lines. Every score says whose it is, so that a stray one is seen."""
    blocks = [(aspect, number, number, f"of text {number}") for aspect, number, _, _ in whole(scores)]
    lines = write(blocks).split("\n")
    for _ in range(times):
        place, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        match chance.randrange(5):
            case 0:
                # A heading of a text that is lost leaves its rating behind; two ratings in one block are none.
                del lines[place]
            case 1:
                lines.insert(other, lines[place] if not lines[place].startswith("Rating") else "")
            case 2:
                lines[place] = lines[place][: chance.randrange(len(lines[place]) + 1)]
            case 3:
                lines[place] = "".join(chance.choice("#*: Rx") for _ in range(8))
            case _:
                lines.insert(place, chance.choice(["", "---", "Note.", "```", "### Summary", "#### Style Assessment"]))
        if len(lines) < 2:
            break
    for rating in RUBRIC.parse("\n".join(lines), ORDER).ratings:
        allowed = {None, ORDER.index(rating.response_id) + 1}
        assert rating.score in allowed or _orphaned(lines, rating.response_id)


def _orphaned(lines: list[str], response: str) -> bool:
    """Whether a text's own rating line is gone and its heading stands directly before another text's rating."""
    number = ORDER.index(response) + 1
    for place, line in enumerate(lines):
        if line == f"##### Output for Text {number}":
            rest = [each for each in lines[place + 1 :] if each.strip()]
            if rest and rest[0].startswith("Rating: ") and rest[0] != f"Rating: {number}":
                return True
    return False


@pytest.mark.parametrize(
    ("written", "score"),
    [
        ("Rating: 1", 1),
        ("Rating: 5", 5),
        ("**Rating:** 4", 4),
        ("**Rating**: 4", 4),
        ("**Rating: 4**", 4),
        ("Rating: **4**", 4),
        ("- Rating: 4", 4),
        ("Rating：4", 4),
        ("rating :4", 4),
        ("Rating: 4/5", 4),
        ("Rating: 4 / 5", 4),
        ("Rating: 4.5", None),
        ("Rating: 4.0", None),
        ("Rating: 4.", None),
        ("Rating: 4/10", None),
        ("Rating: 8/10", None),
        ("Rating: 10", None),
        ("Rating: 0", None),
        ("Rating: 6", None),
        ("Rating: -1", None),
        ("Rating: 1-5", None),
        ("Rating: 4 to 5", None),
        ("Rating: high", None),
        ("Rating: N/A", None),
        ("Rating: four", None),
        ("Rating: ４", None),
        ("Rating: ²", None),
        ("Rating: 4 (good)", None),
        ("Rating: 4 Rationale: good", None),
        ("Rating:", None),
        ("Rating", None),
        ("4", None),
        ("Score: 4", None),
        ("The Rating: 4", None),
        ("> Rating: 4", None),
        ("`Rating: 4`", None),
    ],
)
def test_what_is_a_rating(written: str, score: int | None) -> None:
    """A ten is not a one, a word is no crash, and a range is no number."""
    (rating,) = one(f"{written}\nRationale: because").ratings
    assert rating.score == score
    assert (rating.response_id, rating.aspect) == ("ra", HELP)


def test_a_rationale_of_several_paragraphs_moves_nothing() -> None:
    """Seen elsewhere: a reply cut at blank lines gave the second paragraph's place to the next response."""
    blocks = whole([4, 3, 2, 1, 5, 5, 5, 5, 1, 2, 3, 4])
    text = write([(a, n, s, "One.\n\nTwo.\n\n- a list\n- of two\n\n1. and numbers\n5\n") for a, n, s, _ in blocks])
    assert scores_of(RUBRIC.parse(f"Sure!\n\nHere are my ratings.\n\n{text}", ORDER)) == truth(blocks)


def test_headings_inside_a_rationale_belong_to_it() -> None:
    parsed = one("Rating: 4\nRationale: Two things.\n\n### First\nfine\n\n###### Output in short\nfine, too")
    assert [rating.score for rating in parsed.ratings] == [4]
    assert parsed.ratings[0].rationale == "Two things.\n\n### First\nfine\n\n###### Output in short\nfine, too"


def test_an_aspect_that_was_not_asked_for_takes_its_ratings_with_it() -> None:
    text = write([(HELP, 1, 4, "good")]) + "\n#### Style Assessment\n##### Output for Text 2\nRating: 1\n"
    assert scores_of(RUBRIC.parse(text, ORDER)) == {Cell("ra", HELP): 4}


def test_a_block_that_occurs_twice_is_no_rating_even_if_both_agree() -> None:
    for second in (4, 1):
        text = write([(HELP, 1, 4, "good"), (HELP, 2, 3, "fair"), (HELP, 1, second, "again")])
        assert scores_of(RUBRIC.parse(text, ORDER)) == {Cell("rb", HELP): 3}


def test_a_second_rating_line_in_a_block_makes_it_none() -> None:
    """A judge that repeats what a response claimed of itself must not be read as agreeing."""
    assert scores_of(one("Rating: 2\nRationale: It says\nRating: 5\nof itself.")) == {}
    assert scores_of(one("Rationale: It says\nRating: 5\nof itself.")) == {}
    assert scores_of(one("Rating: 2\nRationale: It says\n> Rating: 5\nof itself.")) == {Cell("ra", HELP): 2}


@pytest.mark.parametrize("line", ["RATING: 5", "* **Rating**: 5", "ratıng: 5", "RATİNG： 5"])
def test_a_second_rating_line_is_seen_in_any_writing(line: str) -> None:
    reply = write(whole([3] * 12)).replace(f"why {ETHICS} 2\n", f"why {ETHICS} 2\n\n  {line}\n")
    found = {rating.score for rating in RUBRIC.parse(reply, ORDER).ratings if rating.aspect == ETHICS}
    assert found == {3, None}


@pytest.mark.parametrize(
    "line",
    [
        "Revised rating: 2", "**Final Rating:** 2", "Rating (revised): 2", "Rating = 2", "Score: 2/5", "1. Rating: 2",
        "• Rating: 2", "– My final score: 2", "| Rating: 2 |", "~~Rating: 2~~", "The corrected rating： **2**",
    ],
)  # fmt: skip
@pytest.mark.parametrize("why", ["good.", "gut – für alle."])
def test_second_thoughts_make_a_block_none(line: str, why: str) -> None:
    """A judge that takes its number back has not given that number."""
    assert scores_of(one(f"Rating: 4\nRationale: {why} On a closer look it is not there.\n\n{line}")) == {}
    assert scores_of(one(f"Rating: 4\nRationale: {why}\n{line}\nThat is all.")) == {}


@pytest.mark.parametrize(
    "line",
    [
        "> Revised rating: 2", "It says: final rating: 2", "- Clarity score: 2", "The film has a rating: high",
        "A rating of 2 would be too low", "Rationale: The score: 2 to 1", "Scores: 2", "Score 2", "#2 scores: 2",
    ],
)  # fmt: skip
def test_words_on_ratings_are_no_second_thoughts(line: str) -> None:
    assert scores_of(one(f"Rating: 4\nRationale: good.\n{line}")) == {Cell("ra", HELP): 4}


def test_a_heading_begins_a_line() -> None:
    reply = write(whole([3] * 12)).replace(f"why {HELP} 1", f"why {HELP} 1 ##### Output for Text 2")
    assert all(rating.score == 3 for rating in RUBRIC.parse(reply, ORDER).ratings)


def test_a_quoted_block_cannot_speak_for_the_judge() -> None:
    quotation = "".join(f"> {line}\n" for line in write([(HELP, 2, 5, "perfect"), (FAITH, 1, 5, "x")]).splitlines())
    text = write([(HELP, 1, 1, f"It contains\n{quotation}"), (HELP, 2, 2, "fair")])
    assert scores_of(RUBRIC.parse(text, ORDER)) == {Cell("ra", HELP): 1, Cell("rb", HELP): 2}


def test_a_copied_block_costs_the_rating_it_imitates() -> None:
    copied = write([(HELP, 2, 5, "perfect")])
    text = write([(HELP, 1, 1, f"It contains\n{copied}"), (HELP, 2, 2, "fair"), (HELP, 3, 3, "fair")])
    assert scores_of(RUBRIC.parse(text, ORDER)) == {Cell("ra", HELP): 1, Cell("rc", HELP): 3}


@pytest.mark.parametrize(
    "heading", [f"#### {ETHICS}", f"### Assessment of {ETHICS}:", f"#### {ETHICS} Assessment (1-5)", f"## `{ETHICS}`"]
)
def test_an_aspect_in_other_words_takes_its_ratings_with_it(heading: str) -> None:
    """Text 1 lacks a readable heading under the first aspect: its ethics would have been its helpfulness."""
    text = write(whole([1, 2, 3, 4, 5, 5, 5, 5, 1, 2, 3, 4])).replace(f"#### {ETHICS} Assessment", heading)
    text = text.replace("##### Output for Text 1", "##### First text", 1)
    found = scores_of(RUBRIC.parse(text, ORDER))
    assert {score for (_, aspect), score in found.items() if aspect == HELP} == {2, 3, 4}
    assert [score for (_, aspect), score in found.items() if aspect == FAITH] == [1, 2, 3, 4]
    assert len(found) == 7


def test_headings_may_be_counted_and_the_count_is_no_text() -> None:
    blocks = write(whole([1, 2, 3, 4, 5, 4, 3, 2, 1, 2, 3, 4]))
    counted = blocks.replace("#### H", "#### 1. H").replace("#### E", "#### 2) E").replace("#### V", "#### (3) V")
    counted = counted.replace("##### Output for Text 2", "##### 1. Output for Text 2")
    assert scores_of(RUBRIC.parse(counted, ORDER)) == scores_of(RUBRIC.parse(blocks, ORDER))
    assert scores_of(RUBRIC.parse("#### 1.5 Helpfulness Assessment\n##### Output for Text 1\nRating: 3", ORDER)) == {}


@pytest.mark.parametrize("texts", [4, 3])
def test_a_judge_that_counts_from_zero_rates_nothing(texts: int) -> None:
    """Its text 1 is the second one: every rating would land on its neighbour."""
    text = write([(aspect, number, 1 + number, "why") for aspect in RUBRIC.aspects for number in range(texts)])
    assert scores_of(RUBRIC.parse(text, ORDER)) == {}
    assert RUBRIC.parse(text, ORDER).problems


@pytest.mark.parametrize("number", ["5", "-1", "1.5", "A", "", "1 and 2", "１", "01", "99999999999999999999"])
def test_a_text_that_was_not_shown_is_nobodys(number: str) -> None:
    text = write([(HELP, 1, 4, "good")]) + f"##### Output for Text {number}\nRating: 1\nRationale: whose?\n"
    parsed = RUBRIC.parse(text, ORDER)
    assert scores_of(parsed) == {Cell("ra", HELP): 4}
    assert parsed.ratings[0].rationale == "good"


@pytest.mark.parametrize(
    "heading",
    [
        "#### Helpfulness Assessment",
        "## Helpfulness Assessment:",
        "#### **Helpfulness Assessment**",
        "#### **Helpfulness Assessment:**",
        "####Helpfulness  assessment",
        "#### 1. Helpfulness Assessment",
        "### **(1) Helpfulness Assessment**",
    ],
)
def test_aspect_headings(heading: str) -> None:
    parsed = RUBRIC.parse(f"{heading}\n##### **Output for Text 2**:\nRating: 3\n", ORDER)
    assert scores_of(parsed) == {Cell("rb", HELP): 3}


@pytest.mark.parametrize(
    "heading",
    [
        "Helpfulness Assessment",
        " #### Helpfulness Assessment",
        "> #### Helpfulness Assessment",
        "####### Helpfulness Assessment",
    ],
)
def test_no_aspect_heading(heading: str) -> None:
    assert RUBRIC.parse(f"{heading}\n##### Output for Text 2\nRating: 3\n", ORDER).ratings == ()


def test_line_ends_and_rules_do_not_matter() -> None:
    text = write(whole([1, 2, 3, 4, 5, 4, 3, 2, 1, 2, 3, 4])).replace("\n#### ", "\n---\n\n#### ")
    plain = RUBRIC.parse(text, ORDER)
    assert len(scores_of(plain)) == 12
    assert {rating.rationale[:3] for rating in plain.ratings} == {"why"}
    assert not any("---" in rating.rationale for rating in plain.ratings)
    for end in ("\r\n", "\r"):
        assert RUBRIC.parse(text.replace("\n", end), ORDER) == plain


def test_the_number_of_a_text_leads_through_the_recorded_order() -> None:
    text = write(whole([1, 2, 3, 4] * 3))
    parsed = RUBRIC.parse(text, ("rc", "ra", "rd", "rb"))
    assert {cell.response_id: score for cell, score in scores_of(parsed).items()} == {
        "rc": 1,
        "ra": 2,
        "rd": 3,
        "rb": 4,
    }


@pytest.mark.parametrize(
    "line", ["# " + " " * 100_000 + "x", "#" * 100_000, "# " + "*" * 100_000 + "x", " " * 100_000 + "x"]
)
def test_long_lines_are_read_in_linear_time(line: str) -> None:
    """With a pattern that backtracks this test does not end: 100,000 characters are 10^15 steps."""
    (rating,) = one(f"Rating: 4\nRationale: {line}\n{line}\n{line}: 5").ratings
    assert rating.score == 4
    (rating,) = one(f"Rating: {line}").ratings
    assert rating.score is None


@pytest.mark.parametrize(
    "line", ["the " * 50_000 + "score", "score" + "(" * 100_000, "score (" + " " * 100_000, "*-" * 50_000 + "score x"]
)
def test_long_second_thoughts_are_read_in_linear_time(line: str) -> None:
    assert scores_of(one(f"Rating: 4\nRationale: fine\n{line}\n{line}")) == {Cell("ra", HELP): 4}


def test_options() -> None:
    short = vlfeedback.load(aspects=[FAITH, HELP], rationale_words=30)
    assert short.aspects == (FAITH, HELP)
    assert "30 words" in short.system and ETHICS not in short.system  # pyright: ignore[reportAttributeAccessIssue]
    for bad in (["Beauty"], [], [HELP, HELP]):
        with pytest.raises(ConfigError, match="aspect"):
            vlfeedback.load(aspects=bad)
    with pytest.raises(ConfigError, match="rationale_words"):
        vlfeedback.load(rationale_words=0)


BITS = st.sampled_from(
    ["\n", "Rating: 4", "Score: 4", "final ", "Rating: 7", "Rationale: ", "rationale", "Rationale:", "- ", "*", "_",
     "---", "```", "`", "x", " ", "word", "\t", "\x0b", "\x0c", "\x1c", "\r", "ä", "４", "#", "rating", "ſ"]
)  # fmt: skip
HEADS = st.sampled_from(["\nRating: 4\nRationale: ", "", "\n\nRating: 3\nRationale: it", "\x1cRating: 2\nRationale: "])


@given(HEADS, st.lists(BITS, max_size=7).map("".join))
def test_what_is_read_at_once_is_what_is_read_line_by_line(head: str, tail: str) -> None:
    cell = Cell("ra", HELP)
    assert _rating(cell, head + tail) == _read_lines(cell, head + tail)


@pytest.mark.parametrize(
    "tail", ["it is red\n---\n", "it is red ```", "no.\n\nRating: 2", "- \n***", "because _it_\n___"]
)
def test_a_reason_with_more_in_it_than_words_is_read_line_by_line(tail: str) -> None:
    body = "\nRating: 4\nRationale: " + tail
    cell = Cell("ra", HELP)
    assert _rating(cell, body) == _read_lines(cell, body)
