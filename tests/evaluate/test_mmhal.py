"""MMHal-Bench's judge replies, parsers and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from vlfeedback.errors import DataError
from vlfeedback.evaluate._judge_files import JudgeReply, completion
from vlfeedback.evaluate._mmhal_result import STRICT, TYPES, official, read_replies, score_file, score_replies, strict


def chat(text: str | None, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "x", "object": "chat.completion", "created": 1_690_000_000, "model": "gpt-4-0314",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", **more}],
    }  # fmt: skip


def replies(ratings: list[int | None]) -> list[JudgeReply]:
    return [JudgeReply(None if rating is None else f"Analysis.\nRating: {rating}, informative") for rating in ratings]


# ── the parsers ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "rating", "readable", "strictly"),
    [
        ("Rating: 3, not informative", 3, True, 3), ("RATING: 6", 6, True, 6), ("rating: 0", 0, True, 0),
        ("Rating:3", 0, False, 3), ("Rating:  3", 0, False, 3), ("Rating 3", 0, False, None), ("", 0, False, None),
        ("**Rating:** 4", 0, False, 4), ("**Rating: 4**", 4, True, 4), ("Rating: **4**", 0, False, 4),
        ("Rating: 10", 1, True, None), ("Rating: 4.5", 4, True, None), ("Rating: 7", 0, False, None),
        ("Rating: 3. Rating: 3", 3, True, 3), ("Rating: 3 or rating: 4", 0, False, None),
        ("Operating: 5", 5, True, None),
        ("Rating: 5/6", 5, True, 5), ("Rating: 5/10", 5, True, None), ("Rating: 4-5", 4, True, None),
        ("Rating:\n3", 0, False, 3), ("Rating: -1", 0, False, None), ("I cannot rate this.", 0, False, None),
        ("Rating: five", 0, False, None), ("## Rating: 2\nvery informative", 2, True, 2), ("rating: 2.", 2, True, 2),
    ],
)  # fmt: skip
def test_awkward_replies(text: str, rating: int, readable: bool, strictly: int | None) -> None:
    assert official(text) == (rating, readable)
    assert strict(text) == (strictly, strictly is not None)


@given(st.text(), st.integers(0, 6))
def test_the_parsers_are_total_and_find_a_rating_in_front_of_other_text(text: str, rating: int) -> None:
    assert 0 <= (official(text).rating or 0) <= 6
    rest = text.lower().replace("rating", "")
    assert official(f"Rating: {rating} {rest}").rating == rating
    found = strict(text)
    assert found.readable == (found.rating is not None)


# ── the figures ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_types_are_the_index_modulo_eight_and_below_three_is_a_hallucination() -> None:
    found = score_replies(replies([index % 8 % 7 for index in range(96)]))  # 0 1 2 3 4 5 6 0, twelve times
    assert found.complete and found.average == pytest.approx(21 / 8) and found.hallucination_rate == 4 / 8
    assert found.per_type == dict(zip(TYPES, [0, 1, 2, 3, 4, 5, 6, 0], strict=True))
    assert found.informativeness == pytest.approx((0 + 1 + 2 + 0 + 1 + 2 + 3 + 0) / 3 / 8)
    spread = sum((value - 21 / 8) ** 2 for value in (0, 1, 2, 3, 4, 5, 6, 0)) * 12 / 95
    assert found.se == pytest.approx((spread / 96) ** 0.5)
    shown = found.to_json()
    assert {"average", "average_readable", "hallucination_rate", "per_type", "n_unparsable", "se"} <= shown.keys()
    json.dumps(shown, allow_nan=False)


def test_an_unreadable_reply_is_a_zero_and_a_missing_one_is_nothing() -> None:
    listed = [*replies([6] * 94), JudgeReply("I am sorry."), JudgeReply(None)]
    found = score_replies(listed)
    assert (found.n_present, found.n_expected, found.n_unparsable, found.n_failed) == (95, 96, 1, 1)
    assert found.average == 6 * 94 / 95 and found.average_readable == 6
    assert found.hallucination_rate == 1 / 95 and found.hallucination_rate_readable == 0
    assert not found.complete and found.warnings[0].startswith("INCOMPLETE: 95 of 96")
    strictly = score_replies(listed, parser=STRICT)
    assert strictly.average == strictly.average_readable == 6 and strictly.n_unparsable == 1
    assert strictly.protocol == "mmhal/strict" and strictly.differs == found.differs == 1 / 95


def test_a_template_gives_the_types_in_its_own_order(tmp_path: Path) -> None:
    types = [TYPES[-1 - index % 8] for index in range(96)]
    (tmp_path / "t.json").write_text(json.dumps([{"question_type": kind, "question": "?"} for kind in types]))
    (tmp_path / "r.json").write_text(json.dumps([chat(f"Rating: {index % 8 % 7}") for index in range(96)]))
    found = score_file(tmp_path / "r.json", template=tmp_path / "t.json")
    assert found.per_type["other"] == 0 and found.per_type["holistic"] == 1 and found.per_type["adversarial"] == 6
    assert found.judge == ("gpt-4-0314",) and found.dates == ("2023-07-22",)


def test_too_many_replies_are_refused_and_too_few_are_said_aloud() -> None:
    with pytest.raises(DataError, match="97 replies to 96"):
        score_replies(replies([3] * 97))
    found = score_replies(replies([3] * 90))
    assert found.average == 3 and found.n_failed == 6 and any("ends after 90" in text for text in found.warnings)
    with pytest.raises(DataError, match="no judge reply"):
        score_replies(replies([None] * 96))


# ── the files ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None), ("Rating: 3", "Rating: 3"), (chat("Rating: 3"), "Rating: 3"), (chat(""), ""), (chat(None), None),
        ({}, None), ({"error": {"message": "rate limit"}}, None), ({"choices": []}, None), ({"choices": None}, None),
        (chat(None, finish_reason="content_filter"), ""), ({"choices": [{"text": "Rating: 2"}]}, "Rating: 2"),
        ({"choices": [{"message": {"content": None, "refusal": "I will not."}}]}, "I will not."),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "Rating: 1"}]}}]}, "Rating: 1"),
        ({"choices": [{"message": None}]}, None),
    ],
)  # fmt: skip
def test_a_reply_a_refusal_and_nothing_are_told_apart(value: Any, text: str | None) -> None:
    assert completion(value, "here").text == text


@pytest.mark.parametrize("value", [3, [], {"answer": "Rating: 3"}, {"choices": ["x"]}, chat(3)])  # type: ignore[arg-type]
def test_what_is_no_completion_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match="here"):
        completion(value, "here")


def test_lines_of_completions_are_read_too_and_odd_marks_do_not_matter(tmp_path: Path) -> None:
    listed = [chat(f"Rating: {index % 7}") for index in range(96)]
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(listed, indent=2).replace("\n", "\r\n").encode())
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps(one) for one in listed))
    assert read_replies(tmp_path / "a.json") == read_replies(tmp_path / "b.jsonl")
    assert score_file(tmp_path / "a.json").complete


@pytest.mark.parametrize("text", ["[]", "{}", '{"question_type": "x"}', '[{"question": "?"}]', "[1]"])
def test_a_template_without_types_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    (tmp_path / "r.json").write_text(json.dumps(["Rating: 3"]))
    with pytest.raises(DataError, match=r"t\.json"):
        score_file(tmp_path / "r.json", template=tmp_path / "t.json")
