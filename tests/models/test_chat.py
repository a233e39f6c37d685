"""Bodies: whatever an endpoint sends becomes a generation, and what we send is JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from vlfeedback.models._chat import Shape, asked_wait, body, error_words, generation
from vlfeedback.records import Image, Part, Request, Sampling, Usage

LEAVES = st.none() | st.booleans() | st.integers(-5, 9) | st.floats(allow_nan=False) | st.text(max_size=5)
ANY = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
MESSAGE = st.fixed_dictionaries(
    {}, optional={"content": ANY, "refusal": ANY, "reasoning": ANY, "reasoning_content": ANY}
)
CHOICE = st.fixed_dictionaries(
    {}, optional={"message": MESSAGE | ANY, "finish_reason": ANY, "logprobs": ANY, "error": ANY}
)
REPLY = st.fixed_dictionaries(
    {}, optional={"choices": st.lists(CHOICE | ANY, max_size=2) | ANY, "usage": ANY, "id": ANY, "error": ANY}
)


@given(REPLY | ANY | st.fixed_dictionaries({"choices": st.lists(CHOICE, min_size=1, max_size=1), "usage": ANY}))
def test_no_body_raises_and_every_body_is_kept(value: object) -> None:
    raw = json.dumps(value)
    found = generation(raw)
    assert found.raw == raw
    assert (found.finish == "error") == (found.error is not None)


@given(st.text(max_size=60))
def test_no_text_raises(raw: str) -> None:
    found = generation(raw)
    assert found.error is not None
    assert found.raw == raw


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=20))
def test_bodies_are_json_whatever_the_texts(system: str, text: str, model: str) -> None:
    picture = Image("0" * 64, "r:x.png", 1, 1)
    request = Request(system, (Part(image=picture), Part(text=text)), Sampling())
    pieces = body(request, Shape(model, detail="high"), lambda image: (b"data:image/png;base64,", b"AAAA"))
    made = json.loads(b"".join(pieces))
    assert made["model"] == model
    assert made["messages"][-1]["content"][1]["text"] == text
    assert made["messages"][-1]["content"][0]["image_url"] == {"url": "data:image/png;base64,AAAA", "detail": "high"}
    assert [message["role"] for message in made["messages"]] == (["system", "user"] if system else ["user"])


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        (None, "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("content_filter", "content_filter"),
        *((reason, "content_filter") for reason in ("RECITATION", "SPII", "IMAGE_SAFETY", "OTHER", "BLOCKLIST")),
    ],
)
def test_reasons_to_finish(reason: str | None, finish: str) -> None:
    reply = {"choices": [{"message": {"content": "x"}, "finish_reason": reason}]}
    assert generation(json.dumps(reply)).finish == finish


def test_usage_and_parts_of_every_dialect() -> None:
    reply = {
        "choices": [
            {"message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}], "reasoning_content": "hm"}}
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "prompt_tokens_details": None,
            "prompt_cache_hit_tokens": 4,
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }
    found = generation(json.dumps(reply))
    assert (found.text, found.reasoning) == ("ab", "hm")
    assert found.usage == Usage(input=10, output=5, cached=4, reasoning=2)


@pytest.mark.parametrize(
    ("code", "error"), [(429, "rate_limited"), (400, "bad_request"), (502, "server"), (None, "server")]
)
def test_errors_disguised_as_success(code: int | None, error: str) -> None:
    found = generation(json.dumps({"error": {"message": "no", "code": code}}))
    assert found.error == error
    assert "no" in found.detail


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "slow down", "code": 429}, "rate_limited"),
        ({"message": "slow down", "type": "rate_limit_error"}, "rate_limited"),
        ({"message": "slow down", "code": "rate_limit_exceeded"}, "rate_limited"),
        ({"message": "upstream", "code": 502}, "server"),
        ("upstream", "server"),
    ],
)
def test_errors_inside_a_choice_are_errors(error: object, expected: str) -> None:
    found = generation(json.dumps({"choices": [{"message": {"content": ""}, "error": error}]}))
    assert found.error == expected


def test_a_reply_behind_a_byte_order_mark_is_read() -> None:
    reply = {"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}
    assert generation("\ufeff" + json.dumps(reply)).text == "fine"


def test_a_reply_nested_beyond_reason_is_a_failure_of_the_server() -> None:
    deep = '{"a":' * 100_000 + "1" + "}" * 100_000
    found = generation(deep)
    assert found.error == "server"
    assert found.raw == deep
    assert error_words(deep)[1] == ""


@pytest.mark.parametrize("reason", ["error", "abort", "cancelled", "insufficient_system_resource"])
def test_a_server_that_gave_up_has_not_answered(reason: str) -> None:
    found = generation(json.dumps({"choices": [{"message": {"content": "half a"}, "finish_reason": reason}]}))
    assert (found.error, found.answered) == ("server", False)


def test_an_error_in_a_list_is_read() -> None:
    body = [{"error": {"code": 429, "message": "quota", "details": [{"retryDelay": "34.5s"}]}}]
    assert generation(json.dumps(body)).error == "rate_limited"
    assert asked_wait(json.dumps(body)) == 34.5
    assert asked_wait('{"retryDelay": "soon"}') is None


def test_a_filter_in_disguise_is_an_answer() -> None:
    found = generation(json.dumps({"error": {"code": "content_filter", "message": "no"}}))
    assert (found.finish, found.answered) == ("content_filter", True)


@pytest.mark.parametrize(
    ("content", "finish", "reasoning", "text"),
    [
        ("<think>\nA draft.\n</think>\n\nA cat.", "stop", "A draft.", "A cat."),
        ("  <think></think>A cat.", "stop", "", "A cat."),
        ("A draft.\n</think>\n\nA cat.", "stop", "A draft.", "A cat."),
        ("<think>A draft, cut", "length", "A draft, cut", ""),
        ("<think>A draft, cut", "stop", None, "<think>A draft, cut"),
        ("<think>A draft.</think>A <think>x</think>", "stop", "A draft.", "A <think>x</think>"),
        ("It says <think>hm</think> first.", "stop", None, "It says <think>hm</think> first."),
        ("The tag is `</think>`.", "stop", None, "The tag is `</think>`."),
        ("A cat.", "stop", None, "A cat."),
    ],
)
def test_leading_thoughts_are_no_part_of_the_text(content: str, finish: str, reasoning: str | None, text: str) -> None:
    reply = {"choices": [{"message": {"content": content}, "finish_reason": finish}]}
    raw = json.dumps(reply)
    found = generation(raw)
    assert (found.reasoning, found.text, found.raw) == (reasoning, text, raw)


def test_thoughts_that_a_server_tells_apart_stay_as_it_says() -> None:
    message = {"content": "<think>b</think>A cat.", "reasoning_content": "a"}
    found = generation(json.dumps({"choices": [{"message": message}]}))
    assert (found.reasoning, found.text) == ("a", "A cat.")
