"""The mean score is read from the token at the score's place, wherever a tokenizer cut the text."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from vlfeedback.annotate import Cell, json_schema, read_reply, vlfeedback
from vlfeedback.annotate._expected import expected_scores
from vlfeedback.records import Generation, TokenLogprobs

ORDER = ("a", "b")
HEADINGS = """#### Helpfulness Assessment
##### Output for Text 1
Rating: 4
Rationale: 5 cups, 1 red.

##### Output for Text 2
  **Rating**: **2/5**
Rationale: no.
"""
OBJECT = (
    '{"text_1": {"Helpfulness": {"score": 4, "rationale": "a \\"score\\": 5 {"}}, '
    '"text_2": {"Helpfulness": {"rationale": "1", "score": 2}}}'
)
RUBRICS = [(vlfeedback, HEADINGS), (json_schema, OBJECT)]


def tokens(text: str, cuts: set[int], alternatives: dict[int, dict[str, float]]) -> tuple[TokenLogprobs, ...]:
    """The text cut at those places; probabilities of scores for tokens that hold the character at a place."""
    edges = sorted({0, len(text), *(cut for cut in cuts if 0 < cut < len(text))})
    made: list[TokenLogprobs] = []
    for start, end in pairwise(edges):
        word = text[start:end]
        place = next((place for place in alternatives if start <= place < end), None)
        top = [(word, math.log(0.9))]
        if place is not None:
            one = place - start
            top = [(word[:one] + score + word[one + 1 :], math.log(p)) for score, p in alternatives[place].items()]
        made.append(TokenLogprobs(word, top[0][1], tuple(top)))
    return tuple(made)


@pytest.mark.parametrize(("module", "text"), RUBRICS)
def test_scores_are_found_where_they_stand(module: object, text: str) -> None:
    rubric = module.load(aspects=["Helpfulness"])  # type: ignore[attr-defined]
    places = rubric.scores_at(text, ORDER)
    assert {cell: text[place] for cell, place in places.items()} == {
        Cell("a", "Helpfulness"): "4",
        Cell("b", "Helpfulness"): "2",
    }


@pytest.mark.parametrize(("module", "text"), RUBRICS)
@given(near=st.sets(st.integers(0, 200), max_size=60))
def test_the_mean_is_that_of_the_token_of_the_score(module: object, text: str, near: set[int]) -> None:
    rubric = module.load(aspects=["Helpfulness"])  # type: ignore[attr-defined]
    places = rubric.scores_at(text, ORDER)
    first, second = places[Cell("a", "Helpfulness")], places[Cell("b", "Helpfulness")]
    cuts = near | {first, first + 1, second, second + 1}  # a digit is a token of its own
    made = tokens(text, cuts, {first: {"4": 0.6, "5": 0.3, "x": 0.1}, second: {"2": 0.5, "1": 0.5}})
    found = expected_scores(rubric, Generation(text, "stop", logprobs=made), ORDER, rubric.scale)
    assert found[Cell("a", "Helpfulness")] == pytest.approx((4 * 0.6 + 5 * 0.3) / 0.9)
    assert found[Cell("b", "Helpfulness")] == pytest.approx(1.5)


@given(st.text(max_size=120))
@pytest.mark.parametrize("module", [vlfeedback, json_schema])
def test_any_text_has_places_and_they_hold_digits(module: object, text: str) -> None:
    rubric = module.load(aspects=["Helpfulness"])  # type: ignore[attr-defined]
    assert all(0 <= place < len(text) for place in rubric.scores_at(text, ORDER).values())


def test_blanks_before_a_score_are_no_other_answer() -> None:
    rubric = vlfeedback.load(aspects=["Helpfulness"])
    text = "#### Helpfulness Assessment\n##### Output for Text 1\nRating: 4\nRationale: x"
    place = text.index("4")
    made = [
        TokenLogprobs(text[: place - 1], 0.0),
        TokenLogprobs(" 4", math.log(0.5)),
        TokenLogprobs(text[place + 1 :], 0.0),
    ]
    made[1] = TokenLogprobs(
        " 4", math.log(0.5), ((" 4", math.log(0.5)), ("3", math.log(0.4)), (" four", math.log(0.1)))
    )
    found = expected_scores(rubric, Generation(text, "stop", logprobs=tuple(made)), ("a",), rubric.scale)
    assert found == {Cell("a", "Helpfulness"): pytest.approx((4 * 0.5 + 3 * 0.4) / 0.9)}


def test_a_draft_of_the_same_words_in_the_thoughts_is_not_read() -> None:
    rubric = vlfeedback.load(aspects=["Helpfulness"])
    place = rubric.scores_at(HEADINGS, ORDER)[Cell("a", "Helpfulness")]
    draft = f"<think>{HEADINGS}</think>"
    at = place + len(draft)
    made = tokens(
        draft + HEADINGS, {place + 7, place + 8, at, at + 1}, {place + 7: {"4": 1.0}, at: {"4": 0.5, "5": 0.5}}
    )
    found = expected_scores(rubric, Generation(HEADINGS, "stop", logprobs=made), ORDER, rubric.scale)
    assert found[Cell("a", "Helpfulness")] == pytest.approx(4.5)


def test_too_little_probability_on_scores_is_no_mean() -> None:
    rubric = vlfeedback.load(aspects=["Helpfulness"])
    text = "#### Helpfulness Assessment\n##### Output for Text 1\nRating: 4\nRationale: x"
    place = text.index("4")
    made = tokens(text, {place, place + 1}, {place: {"4": 0.3, "x": 0.7}})
    assert not expected_scores(rubric, Generation(text, "stop", logprobs=made), ("a",), rubric.scale)


def test_a_reply_without_probabilities_has_none_and_one_with_them_keeps_its_scores() -> None:
    from vlfeedback.records import Part, Request, Sampling

    rubric, request = json_schema.load(aspects=["Helpfulness"]), Request("", (Part(text="?"),), Sampling())
    place = rubric.scores_at(OBJECT, ORDER)[Cell("a", "Helpfulness")]  # type: ignore[attr-defined]
    made = tokens(OBJECT, {place, place + 1}, {place: {"4": 0.5, "2": 0.5}})
    for logprobs, mean in ((None, None), (made, 3.0)):
        annotation = read_reply(rubric, "i", "judge", request, ORDER, Generation(OBJECT, "stop", logprobs=logprobs))
        assert annotation is not None
        assert (annotation.ratings[0].score, annotation.ratings[0].expected) == (4, mean)
