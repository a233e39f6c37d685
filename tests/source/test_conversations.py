"""Markers of the LLaVA format are removed where the format put them, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from vlfeedback.errors import ConfigError
from vlfeedback.source import Found, Named, llava, llava_med, llavar, svit
from vlfeedback.source._conversations import Asked, asked, found_in_turns, without_markers
from vlfeedback.source._rows import BadRecord


@pytest.mark.parametrize(
    ("prompt", "pictures", "expected"),
    [
        ("<image>\nWho?", 1, "Who?"),
        ("Who?\n<image>", 1, "Who?"),
        ("<image>Who <image> there?", 1, "Who <image> there?"),
        ("<image>\n<image> is a tag. Why?", 1, "<image> is a tag. Why?"),
        ("<image> <image>\nCompare.", 2, "Compare."),
        ("<image>\nCompare.\n<image>", 2, "Compare."),
        ("Write <image> here", 1, "Write <image> here"),
        ("<image>\nWho?", 0, "<image>\nWho?"),
        ("<Image> Who?", 1, "<Image> Who?"),
    ],
)
def test_markers(prompt: str, pictures: int, expected: str) -> None:
    assert without_markers(prompt, pictures) == expected


@given(st.text(alphabet="ab<>imge \n", max_size=20), st.integers(0, 3))
def test_without_a_marker_a_prompt_stays_as_it_is(prompt: str, pictures: int) -> None:
    if "<image>" not in prompt:
        assert without_markers(prompt, pictures) == prompt
        assert without_markers(f"<image>\n{prompt}", 1) == prompt.lstrip()


def test_replies_belong_to_the_question_before_them() -> None:
    turns = [
        {"from": "system", "value": "Be kind."},
        {"from": "human", "value": "A?"},
        {"from": "human", "value": "B?"},
        {"from": "gpt", "value": "b"},
        {"from": "gpt", "value": "more"},
    ]
    assert asked(turns) == [Asked("A?", None), Asked("B?", "b")]


@pytest.mark.parametrize(
    "turns",
    [[], [{"from": "gpt", "value": "x"}], [{"from": "human"}], [{"value": "x"}], [{"from": "human", "value": []}]],
)
def test_conversations_that_cannot_be_read(turns: list[dict[str, object]]) -> None:
    with pytest.raises(BadRecord):
        asked(turns)


def test_a_turn_sees_the_pictures_marked_up_to_it() -> None:
    turns = [
        {"role": "user", "content": "<image>Who?"},
        {"role": "assistant", "content": "You."},
        {"role": "user", "content": "And here?<image>"},
    ]
    pictures = (Named("a.png"), Named("b.png"))
    assert list(found_in_turns("x", turns, pictures, "each")) == [
        Found("x#1", "Who?", pictures[:1], reference="You."),
        Found("x#2", "And here?", pictures),
    ]


@pytest.mark.parametrize("load", [llava.load, llavar.load, llava_med.load, svit.load])
def test_an_unknown_rule_for_turns_is_refused_before_reading(load: object) -> None:
    with pytest.raises(ConfigError, match=r"'first'.*'each'"):
        load(Path("no.json"), turns="last")
