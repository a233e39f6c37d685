"""What the ledger keeps of a question is the question, however it was compressed."""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given, strategies as st

from vlfeedback import _ledger_rows
from vlfeedback._ledger_rows import LEAST_SHARED, expand, squeeze, squeeze_question
from vlfeedback.ids import request_json
from vlfeedback.records import Image, Part, Request, Sampling


@pytest.fixture(autouse=True, params=["isal", "zlib"], scope="module")
def compressor(request: pytest.FixtureRequest) -> Iterator[None]:
    """With and without the faster one; both are to write what any zlib reads."""
    assert (_ledger_rows._fast is not None) == (importlib.util.find_spec("isal") is not None)
    if request.param == "isal" and _ledger_rows._fast is None:
        pytest.skip("there is no ISA-L for this processor")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "zlib":
            patch.setattr(_ledger_rows, "_fast", None)
        _ledger_rows._shared_blocks.cache_clear()
        yield


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


@given(TEXT, st.integers(0, 200))
def test_a_reply_comes_back(text: str, times: int) -> None:
    stored = squeeze(text * times)
    assert expand(stored) == text * times
    if isinstance(stored, bytes):
        assert zlib.decompress(stored).decode("utf-8", "surrogatepass") == text * times


@pytest.mark.parametrize("text", ["", "x", '],"recipe":', "x" * 2000, '],"recipe":' + "x" * 2000])
def test_any_text_at_all_comes_back(text: str) -> None:
    assert expand(squeeze_question(text)) == text


def test_the_rubric_is_compressed_once() -> None:
    rubric = "".join(f"Rule {number}: say what can be seen. " for number in range(200))
    stored = [squeeze_question(request_json(Request(rubric, (Part(text=text),), Sampling()))) for text in ("a", "b")]
    shared = zip(reversed(stored[0][:-4]), reversed(stored[1][:-4]), strict=False)
    assert sum(1 for one, other in shared if one == other) > 500
