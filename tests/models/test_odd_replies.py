"""Replies that are good and strange: the words that were paid for are kept, whatever is said beside them."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asking
import pytest
from hypothesis import given, strategies as st
from servers import Server, serve

from vlfeedback._ledger_rows import bodies_of, generation_of
from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.images import Roots
from vlfeedback.models import _chat, openai as backend
from vlfeedback.models._counts import MOST_TOKENS, usage_of
from vlfeedback.records import Generation, Part, Request, Sampling, Usage

Ask = Callable[..., Request]
Body = dict[str, Any]
KEY = "sk-live/0123-456789-abcdef"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlfeedback.models._limits.FIRST_WAIT", 0.01)
    monkeypatch.setattr("vlfeedback.models._limits.FIRST_PAUSE", 0.02)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def answers(server: Server, roots: Roots, *requests: Request, **options: Any) -> list[Generation]:
    model = backend.load(**{"model": "m", "roots": roots, "base_url": server.url, "timeout": 5.0} | options)
    return asking.answers(model, *requests)


def in_choice(body: Body, **fields: Any) -> Body:
    return {**body, "choices": [{**body["choices"][0], **fields}, *body["choices"][1:]]}


@pytest.mark.parametrize(
    "usage",
    [
        "many", [], {"prompt_tokens": "n/a"}, {"prompt_tokens": 7, "prompt_tokens_details": [{}]},
        {"prompt_tokens": 10**400}, {"completion_tokens": -3}, {"prompt_tokens": math.inf}, {"prompt_tokens": [1]},
        {"prompt_tokens": 7, "completion_tokens_details": {"reasoning_tokens": -(10**30)}},
        {"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 10**9}},
    ],
)  # fmt: skip
def test_a_count_that_cannot_be_read_does_not_take_the_words_along(
    usage: Any, tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    with serve(tmp_path / "log", alter=lambda body: {**body, "usage": usage}) as server:
        [reply] = answers(server, roots, ask())
        assert len(server.served()) == 1
    assert reply.text.startswith("I see") and reply.error is None
    assert 0 <= reply.usage.cached <= reply.usage.input <= MOST_TOKENS
    assert min(reply.usage.output, reply.usage.reasoning, reply.usage.image) >= 0


@pytest.mark.parametrize(
    ("usage", "output"),
    [
        ({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}, 603),
        ({"prompt_tokens": 21, "completion_tokens": 0, "completion_tokens_details": {"reasoning_tokens": 60}}, 60),
        ({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 218}, 198),
        ({"completion_tokens": 198, "total_tokens": 218}, 198),
    ],
)
def test_thoughts_that_stand_beside_the_completion_are_billed(usage: Body, output: int) -> None:
    assert usage_of(usage).output == output


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens"]), inner),
))  # fmt: skip
def test_any_usage_gives_counts_that_can_be_kept(value: Any) -> None:
    found = usage_of(value)
    assert all(0 <= one <= MOST_TOKENS for one in (found.input, found.output, found.image, found.reasoning))
    assert 0 <= found.cached <= found.input


@pytest.mark.parametrize("value", [None, "x", [], {}])
def test_logprobs_that_cannot_be_read_do_not_take_the_words_along(
    value: Any, tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    odd = {"content": [{"token": "a", "logprob": value}]}
    with serve(tmp_path / "log", alter=lambda body: in_choice(body, logprobs=odd)) as server:
        [reply] = answers(server, roots, ask())
        assert len(server.served()) == 1
    assert reply.text.startswith("I see") and reply.logprobs is None


def test_logprobs_without_end_are_kept_as_numbers(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    top = [{"token": "a", "logprob": -math.inf}, {"token": "b", "logprob": math.nan}, {"token": "c", "logprob": -1.0}]
    entry = {"token": "c", "logprob": -1.0, "top_logprobs": top}
    with serve(tmp_path / "log", alter=lambda body: in_choice(body, logprobs={"content": [entry]})) as server:
        [reply] = answers(server, roots, ask())
    assert reply.logprobs is not None
    assert reply.logprobs[0].top == (("a", -9999.0), ("c", -1.0))
    assert generation_of(*bodies_of(reply), reply.usage) == reply


def test_what_an_older_ledger_kept_of_them_can_be_read() -> None:
    kept = '{"text":"a","finish":"stop","logprobs":[["a",null,[["a",null],["b",-1.0]]]]}'
    found = generation_of(kept, None, Usage())
    assert found is not None and found.logprobs is not None
    assert (found.logprobs[0].logprob, found.logprobs[0].top) == (-9999.0, (("a", -9999.0), ("b", -1.0)))


def test_half_a_letter_in_an_error_can_be_written() -> None:
    raw = '{"error": {"message": "bad \\ud83d thing", "code": 400}}'
    words, _ = _chat.error_words(raw)
    assert words == "bad \ufffd thing"
    for made in (_chat.failure("bad_request", "bad \ud83d"), _chat.generation(raw)):
        made.detail.encode()
    old = Generation("", "error", error="bad_request", detail="bad \ud83d")  # as it was kept before
    read = generation_of(*bodies_of(old), Usage())
    assert read is not None and read.detail == "bad \ufffd"


@pytest.mark.parametrize("key", ["test", "1234", "I"])
def test_a_short_key_is_no_secret_and_changes_no_reply(
    key: str, tmp_path: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    alter = lambda body: {**in_choice(body, message={"content": "the latest of 1234, I say"}),  # noqa: E731
                          "usage": {"prompt_tokens": 1234, "completion_tokens": 7}}  # fmt: skip
    with serve(tmp_path / "log", alter=alter) as server:
        [reply] = answers(server, roots, ask())
        assert len(server.served()) == 1
    assert (reply.text, reply.usage.input) == ("the latest of 1234, I say", 1234)


@pytest.mark.parametrize("form", [str, lambda key: key.replace("/", "\\/"), lambda key: key.replace("-", "\\u002d")])
def test_a_key_is_blotted_out_however_json_spells_it(
    form: Callable[[str], str], tmp_path: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def alter(body: Body) -> str:
        return json.dumps(in_choice(body, message={"content": "you sent KEY"})).replace("KEY", form(KEY))

    with serve(tmp_path / "log", alter=alter) as server:
        [reply] = answers(server, roots, ask())
    assert reply.text == "you sent [key]"
    assert json.loads(reply.raw)["choices"][0]["message"]["content"] == "you sent [key]"


def test_a_key_in_the_address_of_a_redirect_is_blotted_out(
    tmp_path: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(tmp_path / "log", faults=["307"]) as server, pytest.raises(ModelUnavailable) as raised:
        answers(server, roots, ask())
    assert "elsewhere.example" in str(raised.value) and KEY not in str(raised.value)


def test_a_variable_that_holds_no_key_is_said(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-first\nsk-second")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY holds no API key") as raised:
        backend.load(model="m", roots=roots, base_url="http://127.0.0.1:1/v1")
    assert "sk-first" not in str(raised.value)


@pytest.mark.parametrize("url", ["http://[::1/v1", f"http://{'a' * 70}.example/v1", "http://a..b/v1"])
def test_an_address_that_is_none_is_said(url: str, roots: Roots) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        backend.load(model="m", roots=roots, base_url=url)
    with pytest.raises(ConfigError, match=r"is no address|carries credentials") as raised:
        backend.load(model="m", roots=roots, base_url=url.replace("http://", "http://me:secret@"))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("extra", [{"max_tokens": 5000}, {"stream": True}, {"n": 3}, {"model": "other"}])
def test_extra_cannot_undo_the_bound_of_a_calls_cost(extra: dict[str, Any], roots: Roots) -> None:
    with pytest.raises(ConfigError, match=f"extra sets {next(iter(extra))}"):
        backend.load(model="m", roots=roots, base_url="http://127.0.0.1:1/v1", extra=extra)


@pytest.mark.parametrize("reasoning", [False, True])
@pytest.mark.parametrize(
    ("extra", "instead"),
    [
        ({"temperature": 0.0}, "under \\[decode\\], \\[annotate\\] or \\[evaluate\\]"),
        ({"top_p": 0.5}, "under \\[decode\\]"),
        ({"seed": 5}, "`sampling_seed` under \\[evaluate\\]"), ({"response_format": {}}, "json_schema"),
        ({"logprobs": True}, "`top_logprobs` under \\[annotate\\]"), ({"top_logprobs": 3}, "`top_logprobs`"),
    ],
)  # fmt: skip
def test_extra_cannot_set_what_has_an_option_of_its_own(
    extra: dict[str, Any], instead: str, reasoning: bool, roots: Roots
) -> None:
    with pytest.raises(ConfigError, match=f"extra sets {next(iter(extra))}.*{instead}"):
        backend.load(model="m", roots=roots, base_url="http://127.0.0.1:1/v1", extra=extra, reasoning=reasoning)


@pytest.mark.parametrize("reasoning", [False, True])
def test_every_field_of_a_body_is_refused_in_extra(reasoning: bool) -> None:
    request = Request("s", (Part(text="a"),), Sampling(0.5, 0.9, 9, 7), schema="{}", top_logprobs=2)
    written = json.loads(b"".join(_chat.body(request, _chat.Shape("m", reasoning), lambda _: (b"",), n=2)))
    assert len(written) >= 8
    for name in written:
        with pytest.raises(ConfigError, match=f"extra sets {name}"):
            _chat.extra_members({name: 1})


def test_extra_that_is_no_json_is_said(roots: Roots) -> None:
    import datetime

    with pytest.raises(ConfigError, match="cannot be sent as JSON"):
        backend.load(model="m", roots=roots, base_url="http://127.0.0.1:1/v1", extra={"day": datetime.date(2026, 1, 2)})


@pytest.mark.parametrize("code", [401, 402, "402", "insufficient_quota"])
def test_an_error_in_a_good_status_that_no_retry_mends_stops_the_run(
    code: Any, tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    error = {"error": {"message": "no", "code": code}}
    with (
        serve(tmp_path / "log", alter=lambda _: error) as server,
        pytest.raises(ModelUnavailable, match=r"401|nothing left to spend"),
    ):
        answers(server, roots, ask())
    assert len(server.served()) == 1


def test_a_question_that_a_gateways_moderation_refuses_does_not_stop_the_run(
    tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    about = {"reasons": ["violence"], "flagged_input": "How do I …", "provider_name": "p", "model_slug": "m"}
    error = {"error": {"code": 403, "message": "flagged", "metadata": about}}
    with serve(tmp_path / "log", faults=["403"], refusal=error) as server:
        found = answers(server, roots, ask("a"), ask("b"), in_flight=1)
        assert len(server.served()) == 2
    assert sorted(reply.finish for reply in found) == ["content_filter", "stop"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (["so ", {"text": "be"}, None, {"type": "x"}, " it"], "so be it"),
        ({"type": "text", "text": "so"}, "so"),
        (5, "5"),
    ],
)
def test_the_words_of_a_reply_in_other_shapes(content: Any, text: str, tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", alter=lambda body: in_choice(body, message={"content": content})) as server:
        [reply] = answers(server, roots, ask())
    assert reply.text == text


def test_words_that_are_none_are_no_reply(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", alter=lambda body: in_choice(body, message={"content": {"text": {}}})) as server:
        [reply] = answers(server, roots, ask(), attempts=1)
    assert (reply.error, "no text" in reply.detail) == ("server", True)


def several(ask: Ask, count: int) -> list[Request]:
    return [ask("Why?", sample_index=number, temperature=0.7) for number in range(count)]


def test_samples_that_nobody_asked_for_are_on_the_bill(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    def four(body: Body) -> Body:
        more = [{**body["choices"][0], "message": {"content": f"I see {number}"}} for number in range(4)]
        return {**body, "choices": more, "usage": {"prompt_tokens": 50, "completion_tokens": 400}}

    with serve(tmp_path / "log", alter=four) as server:
        replies = answers(server, roots, *several(ask, 2), samples=4)
        assert len(server.served()) == 1
    assert sum(reply.usage.output for reply in replies) == 400


def test_one_odd_sample_does_not_take_the_others_along(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    odd: list[Body] = [{"message": None}, {"finish_reason": "error", "message": {"content": "a"}}, {"message": 3}]

    def alter(body: Body) -> Body:
        first, *rest = body["choices"]
        return {**body, "choices": [first, *odd, *rest]}

    with serve(tmp_path / "log", alter=alter) as server:
        replies = answers(server, roots, *several(ask, 3), samples=4)
        assert len(server.served()) == 1
    assert len({reply.text for reply in replies}) == 3


def test_one_absurd_count_does_not_stop_the_pace(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    def alter(body: Body) -> Body:
        return {**body, "usage": {"prompt_tokens": 10**12, "completion_tokens": 5}}

    with serve(tmp_path / "log", alter=alter) as server:
        # Two at a minute's pace of 10^12 tokens each would wait for months.
        replies = answers(server, roots, ask("a", None, max_tokens=10), ask("b", None, max_tokens=10), in_flight=1,
                          tokens_per_minute=60_000)  # fmt: skip
    assert [reply.finish for reply in replies] == ["stop", "stop"]


def test_a_reply_that_comes_twice_answers_one_question(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    async def run(model: backend.OpenAIModel) -> list[Generation]:
        try:
            first = await model.answer(ask("one"))
            await asyncio.sleep(0.3)  # on the connection that is kept, it lies there again by now
            return [first, await model.answer(ask("two")), await model.answer(ask("three"))]
        finally:
            await model.aclose()

    with serve(tmp_path / "log", faults=["twice"]) as server:
        replies = asyncio.run(run(backend.load(model="m", roots=roots, base_url=server.url)))
        told = [server._completion(body)["choices"][0]["message"]["content"] for body in server.bodies[:3]]
    assert [reply.text for reply in replies] == told
    assert len(server.bodies) == 3
