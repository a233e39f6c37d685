"""What the ledger keeps of a question is the question, however it was compressed."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, strategies as st

from vlfeedback._ledger_rows import LEAST_SHARED, expand, squeeze_question
from vlfeedback.ids import request_json
from vlfeedback.records import Image, Part, Request, Sampling

TEXT = st.text(st.characters()) | st.sampled_from(['],"recipe":', '\\"],"recipe":', "\ud800", "ä" * 500])


@given(TEXT, TEXT, st.integers(0, 3))
def test_a_question_comes_back(system: str, text: str, index: int) -> None:
    picture = Part(image=Image("a" * 64, "p:1.jpg", 1, 1))
    rubric = "Rate each text and say why. " * (LEAST_SHARED // 20) + system
    for said in (system, rubric):
        question = request_json(Request(said, (picture, Part(text=text)), Sampling(sample_index=index)))
        stored = squeeze_question(question)
        assert expand(stored) == question
        if isinstance(stored, bytes):
            plain = zlib.decompress(stored)  # by any reader of such streams
            assert plain.decode("utf-8", "surrogatepass") == question


@pytest.mark.parametrize("text", ["", "x", '],"recipe":', "x" * 2000, '],"recipe":' + "x" * 2000])
def test_any_text_at_all_comes_back(text: str) -> None:
    assert expand(squeeze_question(text)) == text


def test_the_rubric_is_compressed_once() -> None:
    rubric = "".join(f"Rule {number}: say what can be seen. " for number in range(200))
    stored = [squeeze_question(request_json(Request(rubric, (Part(text=text),), Sampling()))) for text in ("a", "b")]
    shared = zip(reversed(stored[0][:-4]), reversed(stored[1][:-4]), strict=False)
    assert sum(1 for one, other in shared if one == other) > 500
