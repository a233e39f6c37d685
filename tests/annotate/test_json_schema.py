"""The JSON rubric: labels instead of lists, whole numbers instead of whatever compares like one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from annotate.judging import answered
from hypothesis import given, strategies as st

from vlfeedback.annotate import Cell, json_schema
from vlfeedback.annotate._expected import Located
from vlfeedback.records import Rating

RUBRIC = json_schema.load()
HELP = RUBRIC.aspects[0]
ORDER = ("ra", "rb", "rc")


def reply(scores: dict[str, dict[str, Any]]) -> str:
    return json.dumps(
        {
            label: {aspect: {"score": score, "rationale": f"{label} {aspect}"} for aspect, score in given.items()}
            for label, given in scores.items()
        }
    )


table = st.fixed_dictionaries(
    {
        f"text_{number}": st.fixed_dictionaries({aspect: st.integers(1, 5) for aspect in RUBRIC.aspects})
        for number in (1, 2, 3)
    }
)


@given(table, st.permutations(["text_1", "text_2", "text_3"]), st.permutations(ORDER))
def test_round_trip_in_any_order_of_keys(scores: dict[str, dict[str, int]], keys: list[str], order: list[str]) -> None:
    parsed = RUBRIC.parse(reply({key: scores[key] for key in keys}), order)
    assert len(parsed.ratings) == 9
    for rating in parsed.ratings:
        label = f"text_{order.index(rating.response_id) + 1}"
        assert rating.score == scores[label][rating.aspect]
        assert rating.rationale == f"{label} {rating.aspect}"


@given(table, st.data())
def test_a_cut_reply_gives_what_is_complete_and_nothing_else(
    scores: dict[str, dict[str, int]], data: st.DataObject
) -> None:
    text = reply(scores)
    cut = data.draw(st.integers(0, len(text)))
    parsed = RUBRIC.parse(text[:cut], ORDER)
    found = {Cell(rating.response_id, rating.aspect): rating.score for rating in parsed.ratings if rating.score}
    for cell, score in found.items():
        assert score == scores[f"text_{ORDER.index(cell.response_id) + 1}"][cell.aspect]
    closed = text[:cut].count("}}")
    assert len(found) in {3 * closed, 3 * max(closed - 1, 0), 9 if cut == len(text) else 3 * closed}


@pytest.mark.parametrize("score", [0, 6, 10, -1, 4.0, 4.5, "4", "high", None, True, [4], {"value": 4}, "HUGE"])
def test_what_is_no_score(score: Any) -> None:
    text = '{"text_1": {"Helpfulness": {"score": SCORE, "rationale": "x"}}}'
    written = "1" * 5000 if score == "HUGE" else json.dumps(score)
    parsed = RUBRIC.parse(text.replace("SCORE", written), ORDER)
    assert all(rating.score is None for rating in parsed.ratings)


NO_REPLIES = [
    "",
    "[4, 2, 5]",
    "4",
    "null",
    '"text_1"',
    "NaN",
    "[" * 100_000,
    '{"text_1": ' * 100_000,
    "{",
    '{"ratings": [4, 2]}',
    '{"text_1": [4, 5, 5]}',
    '{"text_1": {"Helpfulness": 4}}',
    '{"text_9": {"Helpfulness": {"score": 4}}}',
    '{"Text_1": {"Helpfulness": {"score": 4}}}',
    '{"text_01": {"Helpfulness": {"score": 4}}}',
    '{"text_0": {"Helpfulness": {"score": 4}}, "text_1": {"Helpfulness": {"score": 4}}}',
    '{"text_0": {"Helpfulness": {"score": 4}}, "text_1": {"Helpfulness": {"score": 4}}, "te',
    'My ratings: {"text_1": {"Helpfulness": {"score": 4, "rationale": ""}}}',
    '{"text_1": {"Helpfulness": {"score": 4, "rationale": ""}}, broken, "text_2": {}}',
]


@pytest.mark.parametrize("text", NO_REPLIES, ids=lambda text: text[:40])
def test_what_is_no_reply(text: str) -> None:
    assert all(rating.score is None for rating in RUBRIC.parse(text, ORDER).ratings)


@pytest.mark.parametrize("cut", [False, True])
def test_a_rationale_of_several_lines_costs_no_rating(cut: bool) -> None:
    """Endpoints without structured output write line ends into strings as they are, which JSON forbids."""
    good = '{"score": 4, "rationale": "Short.\n\n\tAnd \\"sweet\\"."}'
    text = f'{{"text_1": {{"{HELP}": {good}}}' + (', "text_2": {' if cut else "}")
    found = {rating for rating in RUBRIC.parse(text, ORDER).ratings if rating.score is not None}
    assert found == {Rating(ORDER[0], HELP, 4, 'Short.\n\n\tAnd "sweet".')}
    assert isinstance(RUBRIC, Located) and RUBRIC.scores_at(text, ORDER) == {Cell(ORDER[0], HELP): text.index("4")}


def test_a_key_that_occurs_twice_leads_nowhere() -> None:
    good = '{"score": 4, "rationale": "x"}'
    twice = {
        "score": '{"text_1": {"Helpfulness": {"score": 4, "score": 4, "rationale": "x"}}}',
        "aspect": f'{{"text_1": {{"Helpfulness": {good}, "Helpfulness": {good}}}}}',
        "text": f'{{"text_1": {{"Helpfulness": {good}}}, "text_1": {{"Helpfulness": {good}}}}}',
        "cut": f'{{"text_1": {{"Helpfulness": {good}}}, "text_1": {{"Helpfulness": {good}}}, "text_2": ',
    }
    for what, text in twice.items():
        assert all(rating.score is None for rating in RUBRIC.parse(text, ORDER).ratings), what


def test_the_schema_is_strict_and_depends_on_the_number_of_texts_only() -> None:
    schemas: list[str] = []
    for texts in (["a", "b"], ["c", "d"]):
        instruction, responses = answered(texts)
        request = RUBRIC.render(instruction, responses, [response.id for response in responses])
        assert request.schema is not None
        schemas.append(request.schema)
    assert schemas[0] == schemas[1], "endpoints compile and cache a schema; it must not change with every call"

    def walk(schema: dict[str, Any]) -> None:
        if schema["type"] == "object":
            assert schema["required"] == list(schema["properties"])
            assert schema["additionalProperties"] is False
            for inner in schema["properties"].values():
                walk(inner)

    schema = json.loads(schemas[0])
    walk(schema)
    assert list(schema["properties"]) == ["text_1", "text_2"]
    field = schema["properties"]["text_1"]["properties"]["Helpfulness"]["properties"]
    assert field["score"] == {"type": "integer", "enum": [1, 2, 3, 4, 5]}
    assert list(field) == ["score", "rationale"]


def test_the_reason_can_come_first() -> None:
    turned = json_schema.load(rationale_first=True)
    assert list(json.loads(turned.schema(1))["properties"]["text_1"]["properties"]["Helpfulness"]["properties"]) == [
        "rationale",
        "score",
    ]
    assert turned.version != RUBRIC.version
