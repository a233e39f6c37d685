"""Formats of others that state a preference: RLAIF-V and LLaMA-Factory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from exchange import released as r

from vlfeedback import tables
from vlfeedback.commands.import_ import import_data
from vlfeedback.exchange import Item, Pictures, Tally, llama_factory, rlaif_v, trl
from vlfeedback.exchange._form import form_of
from vlfeedback.records import Dropped, PreferencePair

CASES = [(module, *case) for module in (rlaif_v, llama_factory) for case in module.EXAMPLES]


@pytest.mark.parametrize(("module", "row", "expected"), CASES)
def test_examples_of_the_formats(tmp_path: Path, module: Any, row: dict[str, Any], expected: tuple[str, ...]) -> None:
    path = r.write(tmp_path / "a.jsonl", [row])
    (item,) = module.load().read(path, Pictures(tmp_path / "images", None), Tally())
    assert isinstance(item, Item)
    assert (item.prompt, *(one.text for one in item.completions)) == expected  # type: ignore[union-attr]
    assert item.preferences[0][:2] == (0, 1)


@pytest.mark.parametrize(
    ("module", "row"), [(one, case[0]) for one in (trl, rlaif_v, llama_factory) for case in one.EXAMPLES]
)
def test_columns_say_which_format_it_is(tmp_path: Path, module: Any, row: dict[str, Any]) -> None:
    path = r.write(tmp_path / "a.jsonl", ["a row that is none", row])
    assert form_of(path) == module.__name__.rpartition(".")[2]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"question": "Which way is north?"}, "column question is not read as one: the format rlaif_v reads it"),
        ({"messages": [{"role": "user", "content": "Which way?"}]}, "the format llama_factory reads it"),
        ({"query": "Which way is north?"}, "column query is not read as one: call it prompt"),
    ],
)
def test_a_question_that_trl_does_not_read_is_never_cut_out_of_the_answers(
    tmp_path: Path, asked: dict[str, Any], words: str
) -> None:
    answers = {"chosen": "The arrow points up.", "rejected": "The arrow points down."}
    rows = [{"prompt": "q", **answers}, {**asked, **answers}, {"prompt": None, **asked, **answers}, answers]
    summary = import_data("trl", r.write(tmp_path / "a.jsonl", rows), out=tmp_path / "run")
    assert summary.dropped == {"bad_record": 1, "empty_prompt": 1} and summary.books.pairs == 2
    dropped = tables.read(tmp_path / "run" / "dropped" / "exchange.parquet", Dropped)
    assert words in next(one.detail for one in dropped if one.reason == "bad_record")


def pair(**changes: Any) -> dict[str, Any]:
    return {
        "question": "q",
        "chosen": "a",
        "rejected": "b",
        "image": {"path": "a.jpg"},
        "origin_dataset": "own",
    } | changes


def test_rlaif_v(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(r.picture())
    rows = [
        pair(),
        pair(image=None, image_path="a.jpg", chosen="c"),
        pair(image=None),
        pair(question=3),
        pair(image={"path": "b.jpg"}),
    ]
    path = r.write(tmp_path / "a.jsonl", rows)
    summary = import_data("rlaif_v", path, images=tmp_path / "pictures", out=tmp_path / "run")
    assert summary.dropped == {"missing_image": 2, "bad_record": 1}
    assert (summary.books.instructions, summary.books.merged, summary.books.pairs) == (1, 1, 2)
    assert r.instructions(tmp_path / "run")[0].category == "own"


def test_rlaif_v_counts_its_words_for_pictures_and_drops_what_is_no_picture(tmp_path: Path) -> None:
    rows = [pair(question="<image>\nhow many?"), pair(), pair(question="r", videos=["a.mp4"])]
    summary = import_data("rlaif_v", r.write(tmp_path / "a.jsonl", rows), out=tmp_path / "run")
    assert summary.notes == {"rows that say <image>, which is read as a word and as no place of a picture": 1}
    assert summary.dropped == {"bad_record": 1} and summary.books.pairs == 2


@pytest.mark.parametrize(
    "text", ["{", "[1]", '"q"', '{"question": "\\ud83d", "chosen": "a", "rejected": "b"}', "[" * 9**5]
)
def test_a_column_of_rlhf_v_that_holds_no_texts_is_dropped(tmp_path: Path, text: str) -> None:
    rows = [{"text": text, "image_path": "a.jpg"}, pair()]
    summary = import_data("rlaif_v", r.write(tmp_path / "a.jsonl", rows), out=tmp_path / "run")
    assert summary.dropped == {"bad_record": 1} and summary.books.pairs == 1


def talk(**changes: Any) -> dict[str, Any]:
    user, good, bad = ({"from": who, "value": text} for who, text in (("human", "q"), ("gpt", "a"), ("gpt", "b")))
    return {"conversations": [user], "chosen": good, "rejected": bad} | changes


def test_llama_factory(tmp_path: Path) -> None:
    user, other = {"from": "human", "value": "<image> is a tag"}, {"from": "gpt", "value": "hm"}
    rows = [
        talk(),
        talk(conversations=[user]),
        talk(conversations=[user], images=["a.jpg", "b.jpg"]),
        talk(conversations=[user], images=["a.jpg"]),
        talk(conversations=[{"from": "human", "value": "<image><image> differ?"}], images=["a.jpg"]),
        talk(conversations=[user, other, user]),
        talk(system="You are terse."),
        talk(chosen="a"),
        talk(conversations=[]),
    ]
    summary = import_data("llama_factory", r.write(tmp_path / "a.jsonl", rows), out=tmp_path / "run")
    assert summary.dropped == {"bad_record": 4, "missing_image": 1} and summary.books.pairs == 4
    assert summary.notes == {
        "rows that say <image> where there is no picture for it: read as a word": 2,
        "instructions without a picture": 2,
    }
    prompts = [(one.prompt, len(one.images)) for one in r.instructions(tmp_path / "run")]
    assert prompts == [("q", 0), ("<image> is a tag", 0), ("<image> is a tag", 2), ("is a tag", 1)]
    assert len(list(tables.read(tmp_path / "run" / "pairs.parquet", PreferencePair))) == 4


def asks(text: str, *pictures: str, **changes: Any) -> dict[str, Any]:
    return talk(conversations=[{"from": "human", "value": text}], images=list(pictures), **changes)


def test_llama_factory_counts_what_it_moves_and_shows_without_a_place(tmp_path: Path) -> None:
    rows = [
        asks("what <image> is there?", "a.jpg"),
        asks("<image> is it, or <image>?", "a.jpg", "b.jpg"),
        asks("no place", "a.jpg"),
        asks("two columns <image>", "a.jpg", image="b.jpg"),
        asks(" <image>\n<image> at the start", "a.jpg", "b.jpg"),
        asks("no picture"),
        asks("<image>what?", "a.jpg", chosen={"from": "gpt", "value": "<image> yes"}),
    ]
    summary = import_data("llama_factory", r.write(tmp_path / "a.jsonl", rows), out=tmp_path / "run")
    assert summary.notes == {
        "rows with pictures amid or after the text: they are shown before it": 3,
        "rows with more pictures than places for them: all are shown": 1,
        "rows with images and another image: the column image is not read": 1,
        "rows that say <image> where there is no picture for it: read as a word": 1,
        "instructions without a picture": 1,
    }
    assert not summary.dropped and not any("<image>" in one.prompt for one in r.instructions(tmp_path / "run"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tools": '[{"name": "look"}]'}, "the row has tools"),
        ({"videos": ["a.mp4"]}, "the row has videos"),
        ({"chosen": {"from": "human", "value": "a"}}, "one of 'human'"),
        ({"rejected": {"from": "function_call", "value": "{}"}}, "one of 'function_call'"),
    ],
)
def test_llama_factory_drops_what_no_assistant_said_or_no_instruction_holds(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    path = r.write(tmp_path / "a.jsonl", [talk(), talk(**changes), asks("q2", tools="[]", system="")])
    summary = import_data("llama_factory", path, out=tmp_path / "run")
    assert summary.dropped == {"bad_record": 1} and summary.books.pairs == 2
    (gone,) = tables.read(tmp_path / "run" / "dropped" / "exchange.parquet", Dropped)
    assert words in gone.detail
