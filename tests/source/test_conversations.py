"""Markers of the LLaVA format are removed where the format put them, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies as st

from vlfeedback.errors import ConfigError
from vlfeedback.source import Embedded, Found, Named, hugging_face, llava, llava_med, llavar, svit
from vlfeedback.source._conversations import Asked, alone, asked, found_in_turns, question, without_markers
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
        ("Is <image> the same as <image>", 2, "Is <image> the same as <image>"),
        ("What is the mood of <image>", 1, "What is the mood of <image>"),
        ("What is the mood?\n<image>", 1, "What is the mood?"),
        ("What is the mood\n<image>", 1, "What is the mood"),
        ("这是什么？<image>", 1, "这是什么？"),
        ("<image> and <image>: which is older?", 2, "<image> and <image>: which is older?"),
        ("<image>\n<image> and <image>: which is older?", 3, "<image> and <image>: which is older?"),
        ("<image>what is it?", 1, "what is it?"),
        ("<image>: what is it?", 1, "<image>: what is it?"),
        ("<image> what is it? <image>", 2, "what is it?"),
        ("Who?\n<image>\n<image> ", 1, "Who?\n<image>"),
        ("<image>\n", 1, ""),
        ("<image> <image>", 1, "<image>"),
    ],
)
def test_markers(prompt: str, pictures: int, expected: str) -> None:
    assert without_markers(prompt, pictures) == expected


@given(st.text(alphabet="ab<>imge \n", max_size=20), st.integers(0, 3))
def test_without_a_marker_a_prompt_stays_as_it_is(prompt: str, pictures: int) -> None:
    if "<image>" not in prompt:
        assert without_markers(prompt, pictures) == prompt
        assert without_markers(f"<image>\n{prompt}", 1) == prompt.lstrip()


@given(st.lists(st.sampled_from(["<image>", "Who?", "and where", " "]), max_size=6), st.integers(0, 4))
def test_markers_on_lines_of_their_own_are_cut_from_both_ends(lines: list[str], pictures: int) -> None:
    left = "\n".join(lines)
    for _ in range(pictures):
        if (begin := left.lstrip()).startswith("<image>"):
            left = begin.removeprefix("<image>").lstrip()
        elif (end := left.rstrip()).endswith("<image>"):
            left = end.removesuffix("<image>").rstrip()
    assert without_markers("\n".join(lines), pictures) == left


def test_replies_belong_to_the_question_before_them() -> None:
    turns = [
        {"from": "system", "value": "Be kind."},
        {"from": "human", "value": "A?"},
        {"from": "human", "value": "B?"},
        {"from": "gpt", "value": "b"},
        {"from": "gpt", "value": "more"},
    ]
    assert asked(turns) == [Asked("A?", None), Asked("B?", "b")]


@pytest.mark.parametrize("reply", [{"value": None}, {}, {"value": []}, {"value": {"text": "b"}}])
def test_a_question_needs_no_reply(reply: dict[str, object]) -> None:
    turns = [{"from": "human", "value": "A?"}, {"from": "gpt", **reply}, {"from": "system", "value": None}]
    assert asked(turns) == [Asked("A?", None)]


@pytest.mark.parametrize("prompt", ["<image>\nWho?", "Who?\n <image> ", "<video>\nWho?", "Who?\nAnd where?<video>\n"])
def test_a_question_on_a_picture_that_is_not_named_is_dropped(prompt: str) -> None:
    kind = "video" if "video" in prompt else "image"
    with pytest.raises(BadRecord, match=f"it has <{kind}> in its text and names no picture") as caught:
        alone(prompt, 0)
    assert caught.value.reason == "missing_image"
    with pytest.raises(BadRecord):
        question("x", {"text": prompt}, ())
    turns = [{"role": "user", "content": "A?"}, {"role": "user", "content": prompt}]
    assert [one.prompt for one in found_in_turns("x", turns, (), "first")] == ["A?"]
    with pytest.raises(BadRecord):
        list(found_in_turns("x", turns, (), "each"))
    assert len(list(found_in_turns("x", turns, (Named("a.png"),), "each"))) == 2


@pytest.mark.parametrize("name", ["answer_id", "review_id"])
def test_what_a_model_said_is_no_instruction(name: str) -> None:
    with pytest.raises(BadRecord, match=f"it has '{name}', so it is what a model said"):
        question("x", {"question_id": 1, name: "3oW4", "text": "Here are some tips."}, ())
    assert question("x", {"question_id": 1, name: None, "text": "Who?"}, ()) == Found("x", "Who?")


@pytest.mark.parametrize("prompt", ["What does <image> mean in HTML?", "Is <video> a tag?", "<images> of what?"])
def test_a_question_about_markers_is_text(prompt: str) -> None:
    assert alone(prompt, 0) == prompt


@pytest.mark.parametrize(
    "turns",
    [[], [{"from": "gpt", "value": "x"}], [{"from": "human"}], [{"value": "x"}], [{"from": "human", "value": []}]],
)
def test_conversations_that_cannot_be_read(turns: list[dict[str, object]]) -> None:
    with pytest.raises(BadRecord):
        asked(turns)


@pytest.mark.parametrize("role", ["tool", "system", "function", "developer"])
def test_what_a_tool_says_is_no_reply(role: str) -> None:
    person, told = {"role": "user", "content": "How warm?"}, {"role": role, "content": "21"}
    called, reply = {"role": "assistant", "content": ""}, {"role": "assistant", "content": "21 degrees."}
    assert asked([person, told]) == [Asked("How warm?", None)]
    assert asked([person, called, told, reply]) == [Asked("How warm?", "21 degrees.")]


@pytest.mark.parametrize(
    ("texts", "prompt"),
    [
        (["Look.", None, "What is it?"], "Look.\nWhat is it?"),
        (["Question one", "and two"], "Question one\nand two"),
        (["First:", None, " second:", None, " Compare."], "First: second: Compare."),
        ([None, "Explain <image>", ""], "Explain <image>"),
    ],
)
def test_parts_make_one_text_without_markers(texts: list[str | None], prompt: str) -> None:
    parts = [part("text", one) if one is not None else part("image") for one in texts]
    pictures = tuple(Named(f"{number}.png") for number in range(texts.count(None)))
    (found,) = found_in_turns("x", [{"role": "user", "content": parts}], pictures, "first")
    assert found == Found("x", prompt, pictures)


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


def part(kind: str, text: str | None = None, **more: object) -> dict[str, object]:
    """As a table has it: all keys of all parts, most of them null."""
    return {"type": kind, "text": text, "index": None if text else 0, "url": None, **more}


class TestPartsWithoutAnAddress:
    PICTURES = (Named("a.png"), Named("b.png"))

    def test_each_takes_the_next_picture_of_the_record(self) -> None:
        turns = [
            {"role": "user", "content": [part("text", "Who?"), part("image")]},
            {"role": "assistant", "content": [part("text", "You.")]},
            {"role": "user", "content": [part("image"), part("text", "And here?")]},
        ]
        assert list(found_in_turns("x", turns, self.PICTURES, "each")) == [
            Found("x#1", "Who?", self.PICTURES[:1], reference="You."),
            Found("x#2", "And here?", self.PICTURES),
        ]

    def test_they_stand_between_those_with_one(self) -> None:
        parts = [part("image"), part("image_url", image_url={"url": "own.png"}), part("image"), part("text", "Same?")]
        (found,) = found_in_turns("x", [{"role": "user", "content": parts}], self.PICTURES, "each")
        assert found.images == (Named("a.png"), Named("own.png"), Named("b.png")) and found.prompt == "Same?"

    def test_bytes_in_a_part_are_its_picture(self) -> None:
        parts = [part("image", image={"bytes": b"GIF89a", "path": None}), part("text", "Who?")]
        (found,) = found_in_turns("x", [{"role": "user", "content": parts}], (), "first")
        assert found == Found("x", "Who?", (Embedded(b"GIF89a"),))

    def test_more_of_them_than_pictures_are_dropped(self) -> None:
        turns = [{"role": "user", "content": [part("image"), part("image"), part("text", "Who?")]}]
        for pictures in ((), self.PICTURES[:1]):
            with pytest.raises(BadRecord, match=f"show 2 of its pictures, and it names {len(pictures)}") as caught:
                list(found_in_turns("x", turns, pictures, "first"))
            assert caught.value.reason == "missing_image"

    def test_a_reply_that_shows_one_leaves_the_order_open(self) -> None:
        question = {"role": "user", "content": [part("image"), part("text", "Draw it.")]}
        reply = {"role": "assistant", "content": [part("image"), part("text", "Here.")]}
        assert len(asked([question, reply])) == 1
        with pytest.raises(BadRecord, match="not the person's"):
            asked([question, reply, question])

    def test_a_file_of_fine_tuning_is_read(self, tmp_path: Path) -> None:
        row = {
            "messages": [
                {"role": "user", "content": [part("text", "Who?"), part("image")]},
                {"role": "assistant", "content": [part("text", "You.")]},
            ],
            "images": [{"bytes": b"GIF89a", "path": None}],
        }
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
        (tmp_path / "a.json").write_text(json.dumps([{**row, "images": ["a.png"]}]))
        (table,) = hugging_face.load(tmp_path / "a.parquet", prompt="messages", image="images")()
        (listed,) = llava.load(tmp_path / "a.json")()
        assert table == Found("row 1", "Who?", (Embedded(b"GIF89a"),), reference="You.")
        assert listed == Found("record 1", "Who?", (Named("a.png"),), reference="You.")


@pytest.mark.parametrize("load", [llava.load, llavar.load, llava_med.load, svit.load])
def test_an_unknown_rule_for_turns_is_refused_before_reading(load: object) -> None:
    with pytest.raises(ConfigError, match=r"'first'.*'each'"):
        load(Path("no.json"), turns="last")
