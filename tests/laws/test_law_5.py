"""Law 5: ids are hashes, and each says of what."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlfeedback.ids import annotation_id, call_key, hash_id, instruction_id, pair_id, request_json, response_id
from vlfeedback.records import Image, Part, Request, Sampling

PICTURE = Image("a" * 64, "coco:1.jpg", 4, 3)
REQUEST = Request("sys", (Part(image=PICTURE), Part(text="What?")), Sampling(seed=1))
TEXT = st.text(max_size=20)


def test_law_5_a_call_is_its_question() -> None:
    key = call_key("m", REQUEST)
    moved = replace(REQUEST, parts=(Part(image=replace(PICTURE, uri="other:2.jpg", width=0)), Part(text="What?")))
    assert call_key("m", moved) == key, "the place of a picture is no part of the question"
    assert call_key("m", replace(REQUEST, purpose="grade")) == key
    for other in (
        replace(REQUEST, system=""),
        replace(REQUEST, parts=REQUEST.parts[::-1]),
        replace(REQUEST, parts=(Part(image=replace(PICTURE, sha256="b" * 64)), Part(text="What?"))),
        replace(REQUEST, schema="{}"),
        replace(REQUEST, top_logprobs=5),
        replace(REQUEST, recipe="fit-512-jpeg90"),
        *(replace(REQUEST, sampling=replace(REQUEST.sampling, **change)) for change in (
            {"temperature": 0.1}, {"top_p": 0.5}, {"max_tokens": 7}, {"seed": 2}, {"sample_index": 1},
        )),
    ):  # fmt: skip
        assert call_key("m", other) != key
    assert call_key("n", REQUEST) != key


def test_law_5_a_text_cannot_pass_for_a_picture() -> None:
    fake = replace(REQUEST, parts=(Part(text="a" * 64), Part(text="What?")))
    assert call_key("m", fake) != call_key("m", REQUEST)


@given(TEXT, TEXT, TEXT, TEXT)
def test_law_5_a_response_holds_its_text(instruction: str, model: str, text: str, other: str) -> None:
    one = response_id(instruction, model, Sampling(), text)
    assert one == response_id(instruction, model, Sampling(), text)
    assert (one == response_id(instruction, model, Sampling(), other)) == (text == other)


def test_law_5_an_instruction_is_prompt_and_ordered_pictures() -> None:
    other = replace(PICTURE, sha256="b" * 64)
    assert instruction_id("p", (PICTURE, other)) != instruction_id("p", (other, PICTURE))
    assert instruction_id("p", (PICTURE,)) == instruction_id("p", (replace(PICTURE, uri="x:y"),))


def test_law_5_a_mended_parser_gives_a_new_annotation_of_the_same_call() -> None:
    assert len({annotation_id("k", "r1", "p1"), annotation_id("k", "r1", "p2"), annotation_id("k", "r2", "p1")}) == 3
    assert len({pair_id("a", "b", "s"), pair_id("b", "a", "s"), pair_id("a", "b", "t")}) == 3


@given(st.lists(TEXT, min_size=1, max_size=4), st.lists(TEXT, min_size=1, max_size=4))
def test_law_5_parts_do_not_run_together(one: list[str], other: list[str]) -> None:
    assert (hash_id("x", *one) == hash_id("x", *other)) == (one == other)


@given(TEXT | st.text(st.characters()), st.none() | TEXT)
def test_law_5_the_fast_way_to_an_id_gives_the_same(text: str, other: str | None) -> None:
    canonical = json.dumps(["x", text, other], ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    assert hash_id("x", text, other) == hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:32]


NUMBERS = st.sampled_from([0, 1, 1.0, 0.7, 1e-7, 1e22, float("inf")])
SAMPLINGS = st.builds(Sampling, NUMBERS, NUMBERS, st.sampled_from([5, 2**70]), st.none() | st.integers(), st.integers())


@given(SAMPLINGS, st.lists(TEXT | st.text(st.characters())), st.none() | TEXT, st.none() | st.integers(1, 20))
def test_law_5_a_question_is_canonical_json(
    sampling: Sampling, texts: list[str], schema: str | None, top: int | None
) -> None:
    """Written by hand because it is written by the million."""
    parts = tuple(Part(image=PICTURE) if text == "" else Part(text=text) for text in texts)
    request = Request("sys\ud800", parts, sampling, schema, top, recipe="jpeg")
    fields = [sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.seed, sampling.sample_index]
    plain = {
        "system": "sys\ud800",
        "parts": [["image", "a" * 64] if text == "" else ["text", text] for text in texts],
        "sampling": fields,
        "schema": schema,
        "top_logprobs": top,
        "recipe": "jpeg" if "" in texts else None,
    }
    canonical = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
    assert request_json(request) == canonical(plain)
    text = "".join(texts)
    assert response_id("i", "m", sampling, text) == hash_id("response", "i", "m", fields, text)


def test_law_5_one_and_one_point_zero_are_two_questions() -> None:
    """Equal samplings in Python; what was written for one may not be taken for the other."""
    for temperature in (1, 1.0, 1):
        assert f"[{temperature}," in request_json(replace(REQUEST, sampling=Sampling(temperature)))


def test_law_5_ids_do_not_change_between_versions() -> None:
    """A ledger outlives the version that wrote it: these values may never change."""
    assert instruction_id("What?", (PICTURE,)) == "ef00f879daeac76d4514f6de74fe8d06"
    assert call_key("m", REQUEST) == "2bb7ff15930730e0222681dc72d236ee"
    assert response_id("i", "imported:m", None, 'a "b"\n\x01é😀') == "6bbaf71b3e69275d91ee4cc8389030ef"
    assert pair_id("a", "b", "s") == "02bd3ecc85757628024efd9945823f1e"


def test_law_5_a_part_is_a_text_or_a_picture() -> None:
    with pytest.raises(ValueError, match="never both"):
        Part(text="x", image=PICTURE)
    with pytest.raises(ValueError, match="never both"):
        Part()
