"""Every rubric's own examples, and what the stage relies on in every rubric."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from annotate.judging import PICTURE, answered
from hypothesis import given, strategies as st

import vlfeedback.annotate
from vlfeedback.annotate import Cell, Example, read_reply
from vlfeedback.records import Generation

NAMES = sorted(path.stem for path in Path(vlfeedback.annotate.__file__).parent.glob("[!_]*.py"))
MODULES = {name: importlib.import_module(f"vlfeedback.annotate.{name}") for name in NAMES}
CASES = [pytest.param(name, each, id=f"{name}: {each.about}") for name in NAMES for each in MODULES[name].EXAMPLES]


def test_rubrics_are_found() -> None:
    assert NAMES == ["json_schema", "vlfeedback"]


@pytest.mark.parametrize(("name", "example"), CASES)
def test_examples(name: str, example: Example) -> None:
    rubric = MODULES[name].load(**example.options)
    instruction, responses = answered([f"text {row}" for row in range(len(example.scores))])
    order = [response.id for response in reversed(responses)]
    request = rubric.render(instruction, responses, order)
    generation = Generation(example.reply, example.finish)
    annotation = read_reply(rubric, instruction.id, "judge", request, order, generation)
    assert annotation is not None
    scores = {Cell(rating.response_id, rating.aspect): rating.score for rating in annotation.ratings}
    assert tuple(tuple(scores[Cell(name, aspect)] for aspect in rubric.aspects) for name in order) == example.scores
    assert annotation.status == example.status


@pytest.mark.parametrize("name", NAMES)
def test_a_rubric_says_what_it_is(name: str) -> None:
    rubric = MODULES[name].load()
    assert rubric.name == name
    assert set(rubric.aspects) == {"Helpfulness", "Ethical Considerations", "Visual Faithfulness"}
    assert rubric.scale == (1, 5)
    other = MODULES[name].load(aspects=["Helpfulness"])
    assert other.aspects == ("Helpfulness",)
    assert other.version != rubric.version, "another prompt is another version, without anybody raising a number"


@pytest.mark.parametrize("name", NAMES)
def test_the_request_holds_pictures_instruction_and_texts_in_order(name: str) -> None:
    instruction, responses = answered(["first text", "second text"])
    request = MODULES[name].load().render(instruction, responses, [responses[1].id, responses[0].id])
    assert request.parts[0].image == PICTURE
    assert request.images == instruction.images
    words = "\n".join(part.text or "" for part in request.parts)
    assert words.index(instruction.prompt) < words.index("second text") < words.index("first text")
    assert instruction.prompt not in request.system, "the system message is the same for a whole run"


@pytest.mark.parametrize("name", NAMES)
def test_two_orders_share_everything_up_to_the_texts(name: str) -> None:
    instruction, responses = answered(["first text", "second text"])
    names = [response.id for response in responses]
    one, other = (MODULES[name].load().render(instruction, responses, order) for order in (names, names[::-1]))
    assert (one.system, one.parts[:-1], one.schema) == (other.system, other.parts[:-1], other.schema)
    assert one.parts[-1] != other.parts[-1]


@pytest.mark.parametrize("name", NAMES)
@given(text=st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_reply_parses(name: str, text: str) -> None:
    parsed = MODULES[name].load().parse(text, ["r1", "r2"])
    assert all(rating.score is None for rating in parsed.ratings)


@pytest.mark.parametrize("name", NAMES)
def test_a_rubric_never_reads_its_own_prompt_as_a_reply(name: str) -> None:
    """Seen elsewhere: the pattern matched the prompt's template, and every score was 5."""
    rubric = MODULES[name].load()
    instruction, responses = answered(["first text", "second text"])
    order = [response.id for response in responses]
    request = rubric.render(instruction, responses, order)
    prompt = "\n".join([request.system, *(part.text or "" for part in request.parts)])
    assert all(rating.score is None for rating in rubric.parse(prompt, order).ratings)
