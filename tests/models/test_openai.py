"""The `openai` backend against a loopback endpoint that fails in every way we know."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import Purser, answers
from servers import Server, serve

from vlfeedback import registry
from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.images import Roots
from vlfeedback.models import openai as backend
from vlfeedback.models._sends import paying
from vlfeedback.records import Generation, Image, Part, Request, Sampling, Usage

Ask = Callable[..., Request]
KEY = "sk-test-0123456789-secret"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits, and no key of the person who runs the tests."""
    monkeypatch.setattr("vlfeedback.models._limits.FIRST_WAIT", 0.01)
    monkeypatch.setattr("vlfeedback.models._limits.FIRST_PAUSE", 0.02)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def open_model(server: Server, roots: Roots, **options: Any) -> backend.OpenAIModel:
    return backend.load(**{"model": "m", "roots": roots, "base_url": server.url, "timeout": 5.0} | options)


def test_body_has_the_parts_in_order_and_the_system_first(
    tmp_path: Path, roots: Roots, ask: Ask, pictures: list[Image]
) -> None:
    schema = '{"type":"object","properties":{},"required":[],"additionalProperties":false}'
    parts = (Part(text='before "quoted" \n'), Part(image=pictures[1]), Part(text="between"), Part(image=pictures[2]))
    request = Request("rubric", parts, Sampling(0.5, 0.9, 77, seed=3), schema=schema, top_logprobs=5)
    with serve(tmp_path / "log") as server:
        [reply] = answers(open_model(server, roots, detail="low", extra={"top_k": 4}), request)
        [body] = server.bodies
    assert body["messages"][0] == {"role": "system", "content": "rubric"}
    content = body["messages"][1]["content"]
    assert [part["type"] for part in content] == ["text", "image_url", "text", "image_url"]
    assert content[0]["text"] == 'before "quoted" \n'
    header, data = content[3]["image_url"]["url"].split(",")
    assert header == "data:image/png;base64"
    assert base64.b64decode(data) == roots.open(pictures[2])
    assert content[1]["image_url"]["detail"] == "low"
    assert (body["temperature"], body["top_p"], body["max_tokens"], body["seed"], body["top_k"]) == (0.5, 0.9, 77, 3, 4)
    wanted = {"name": "reply", "strict": True, "schema": json.loads(schema)}
    assert body["response_format"] == {"type": "json_schema", "json_schema": wanted}
    assert (body["logprobs"], body["top_logprobs"]) == (True, 5)
    assert reply.logprobs is not None
    assert reply.logprobs[0].top[1] == ("2", -2.0)
    assert reply.usage == Usage(input=181, output=6, cached=3, image=170)
    assert json.loads(reply.raw)["id"] == reply.provider_id
    assert reply.latency > 0


def test_reasoning_models_get_no_temperature(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log") as server:
        answers(open_model(server, roots, reasoning=True), ask("hi", None, max_tokens=9))
        [body] = server.bodies
    assert body["max_completion_tokens"] == 9
    assert not {"temperature", "top_p", "max_tokens"} & body.keys()
    assert body["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    "fault",
    ["202", "500", "503", "408", "424", "498", "reset", "truncated", "cut_json", "no_choices", "nonsense",
     "error_in_200"],
)  # fmt: skip
def test_what_says_nothing_of_the_question_is_asked_again(fault: str, tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", faults=[fault, fault]) as server:
        model = open_model(server, roots)
        [reply] = answers(model, ask())
        assert [line["fault"] for line in server.served()] == [fault, fault, None]
    assert reply.finish == "stop"
    assert model.traffic.sent == reply.sent == 3
    assert reply.unsure == (0 if fault in ("500", "503", "408", "424", "498") else 2)


@pytest.mark.parametrize(
    ("fault", "error", "raw"),
    [
        ("500", "server", "made to fail"),
        ("408", "timeout", "made to fail"),
        ("reset", "connection", ""),
        ("truncated", "connection", ""),
        ("cut_json", "server", "chatcmpl"),
        ("no_choices", "server", '"choices": []'),
        ("nonsense", "server", "<html>"),
        ("error_in_200", "server", "upstream failed"),
    ],
)
def test_after_all_attempts_the_failure_is_a_value_with_its_class(
    fault: str, error: str, raw: str, tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    with serve(tmp_path / "log", faults=[fault] * 9) as server:
        [reply] = answers(open_model(server, roots, attempts=3), ask())
        assert len(server.served()) == 3
    assert (reply.finish, reply.error, reply.answered) == ("error", error, False)
    assert raw in reply.raw
    assert reply.detail


def test_a_reply_that_takes_too_long_is_a_timeout_and_counted(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", faults=["slow"] * 4, slow=1.0) as server:
        model = open_model(server, roots, attempts=2, timeout=0.15)
        [reply] = answers(model, ask())
    assert reply.error == "timeout"
    assert model.traffic.lost == reply.unsure == reply.sent == 2


def test_an_endpoint_that_is_not_there_is_unavailable(roots: Roots, ask: Ask) -> None:
    model = backend.load(model="m", roots=roots, base_url="http://127.0.0.1:9/v1", attempts=2)
    with pytest.raises(ModelUnavailable, match="nothing answers"):
        answers(model, ask())
    assert model.traffic.sent == 0


def test_an_endpoint_that_goes_away_is_given_up_after_a_while(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log") as server:
        model = open_model(server, roots, attempts=2, in_flight=2)
        answers(model, ask())
    for _ in range(2):
        [reply] = answers(model, ask())
        assert (reply.error, reply.sent, reply.unsure) == ("connection", 0, 0)
    with pytest.raises(ModelUnavailable, match="nothing answers"):
        answers(model, ask())


@pytest.mark.parametrize("fault", ["400", "422"])
def test_a_bad_request_is_kept_and_asked_once(fault: str, tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", faults=[fault] * 5) as server:
        [reply] = answers(open_model(server, roots), ask())
        assert len(server.served()) == 1
    assert (reply.error, reply.answered) == ("bad_request", True)


@pytest.mark.parametrize(
    ("fault", "finish"),
    [
        ("refusal", "refused"),
        ("content_filter", "content_filter"),
        ("filter_400", "content_filter"),
        ("length", "length"),
    ],
)
def test_endings_that_are_answers(fault: str, finish: str, tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", faults=[fault]) as server:
        [reply] = answers(open_model(server, roots), ask())
        assert len(server.served()) == 1
    assert (reply.finish, reply.answered) == (finish, True)
    if fault == "refusal":
        assert reply.text == reply.detail == "I cannot help with that."  # a response that a judge shall see


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("401", "api_key_env"),
        ("403", "forbids"),
        ("404", "base_url"),
        ("quota", "top it up"),
        ("307", "elsewhere.example"),
    ],
)
def test_an_unusable_endpoint_raises_and_says_what_to_do(
    fault: str, words: str, tmp_path: Path, roots: Roots, ask: Ask
) -> None:
    with serve(tmp_path / "log", faults=[fault] * 9) as server:
        with pytest.raises(ModelUnavailable, match=words):
            answers(open_model(server, roots), ask())
        assert len(server.served()) == 1


def test_a_429_rests_the_endpoint_and_is_no_attempt(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", faults=["429"] * 6 + ["429_in_200"], retry_after="0.1") as server:
        model = open_model(server, roots, attempts=1, in_flight=1)
        began = time.monotonic()
        [reply] = answers(model, ask())
    assert reply.finish == "stop"
    assert model.traffic.rested == 7
    assert time.monotonic() - began >= 0.6


def test_rests_leave_all_attempts_for_what_fails_after_them(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", faults=["429", "429", "429_in_200", "500"], retry_after="0.02") as server:
        [reply] = answers(open_model(server, roots, attempts=2), ask())
    assert (reply.finish, reply.sent) == ("stop", 5)


def test_a_429_holds_back_everybody_at_that_endpoint_but_not_at_another(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "a", every={1: "429"}, retry_after="30") as tired, serve(tmp_path / "b") as fresh:
        model = open_model(tired, roots, base_url=[tired.url, fresh.url], in_flight=1)
        replies = answers(model, *(ask("hi", number) for number in range(8)))
        assert len(tired.served()) == 1
        assert len(fresh.served()) == 8
    assert all(reply.finish == "stop" for reply in replies)


def test_a_rest_longer_than_patience_comes_back_as_rate_limited(
    tmp_path: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "LONGEST_REST", 2.0)
    with serve(tmp_path / "log", every={1: "429"}, retry_after="100") as server:
        [reply] = answers(open_model(server, roots), ask())
    assert (reply.error, reply.answered) == ("rate_limited", False)
    assert reply.retry_after == pytest.approx(100, abs=2)


def test_zero_retry_after_does_not_spin(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", faults=["429"] * 4, retry_after="0") as server:
        began = time.monotonic()
        answers(open_model(server, roots), ask())
    assert time.monotonic() - began >= 0.02 + 0.04 + 0.08 + 0.16


def test_questions_on_one_picture_go_to_one_replica_and_fail_over(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    requests = [ask(f"question {number}", number % 8) for number in range(32)]
    with serve(tmp_path / "a") as one, serve(tmp_path / "b") as two:
        answers(open_model(one, roots, base_url=[one.url, two.url]), *requests)
        urls = [
            {body["messages"][0]["content"][0]["image_url"]["url"] for body in server.bodies} for server in (one, two)
        ]
        assert urls[0] and urls[1] and not urls[0] & urls[1]
    with serve(tmp_path / "c", every={1: "500"}) as broken, serve(tmp_path / "d") as well:
        replies = answers(open_model(broken, roots, base_url=[broken.url, well.url]), *requests)
    assert all(reply.finish == "stop" for reply in replies)


def test_a_replica_that_is_down_costs_no_attempt(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    requests = [ask(f"question {number}", number % 8) for number in range(16)]
    with serve(tmp_path / "log") as server:
        urls = ["http://127.0.0.1:9/v1", server.url]
        replies = answers(open_model(server, roots, base_url=urls, attempts=1), *requests)
    assert all((reply.finish, reply.sent) == ("stop", 1) for reply in replies)


@pytest.mark.parametrize("page", ["{broken", "[1, 2]", '{"data": 3}', '"words"'])
def test_a_list_of_models_that_cannot_be_read_is_none(page: str, tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "a", listing=page) as one, serve(tmp_path / "b", models=("m",)) as two:
        (reply,) = answers(open_model(one, roots, base_url=[one.url, two.url]), ask())
    assert reply.finish == "stop"


def test_replicas_that_list_different_models_are_refused(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "a", models=("m",)) as one, serve(tmp_path / "b", models=("other",)) as two:
        with pytest.raises(ModelUnavailable, match="one model"):
            answers(open_model(one, roots, base_url=[one.url, two.url]), ask())
        assert not one.served() + two.served()


def test_in_flight_bounds_the_calls_outstanding(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", delay=0.3) as server:
        answers(open_model(server, roots, in_flight=3), *(ask(str(number), None) for number in range(7)))
        assert server.most_at_once == 3


def test_pace_spreads_the_calls(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log") as server:
        began = time.monotonic()
        answers(open_model(server, roots, requests_per_minute=600), *(ask(str(number), None) for number in range(4)))
    assert time.monotonic() - began >= 0.3


def test_one_model_serves_one_loop_after_another(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log") as server:
        model = open_model(server, roots)

        async def leave_open() -> Generation:
            return await model.answer(ask())

        assert [asyncio.run(leave_open()).finish for _ in range(2)] == ["stop", "stop"]


def test_the_identity_is_declared_and_holds_no_address(roots: Roots) -> None:
    def identity(**options: Any) -> str:
        return backend.load(model="m", roots=roots, base_url="http://127.0.0.1:1/v1", **options).identity

    assert identity() == "openai:m"
    assert identity(revision="r1") == "openai:m@r1"
    assert identity(identity="mine") == "mine"
    assert identity(timeout=3, in_flight=2, requests_per_minute=5, attempts=1) == "openai:m"
    assert identity(detail="low", reasoning=True) == "openai:m;detail=low;reasoning=true"
    assert identity(recipe="fit-512-png") == "openai:m"  # it is in every request
    assert identity(extra={"b": 1, "a": "x"}) == 'openai:m;extra={"a":"x","b":1}'


def test_a_missing_picture_is_no_answer_of_the_endpoint(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    request = ask()
    (tmp_path / "pics" / "0.png").unlink()
    with serve(tmp_path / "log") as server:
        [reply] = answers(open_model(server, roots), request)
        assert not server.served()
    assert (reply.error, reply.answered, reply.sent) == ("connection", False, 0)
    assert "0.png" in reply.detail


def test_pictures_by_path_and_by_address(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log") as server:
        answers(open_model(server, roots, image_as="file"), ask())
        answers(open_model(server, roots, image_as="url", image_url={"pics": "https://i.example/p/"}), ask())
        urls = [body["messages"][0]["content"][0]["image_url"]["url"] for body in server.bodies]
    assert urls == [f"file://{tmp_path}/pics/0.png", "https://i.example/p/0.png"]
    with pytest.raises(ConfigError, match="image_url"):
        backend.load(model="m", roots=roots, base_url="http://h/v1", image_as="url")


def test_the_recipe_of_the_request_wins(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log") as server:
        answers(open_model(server, roots, recipe="fit-16-jpeg80"), ask(), ask(recipe="fit-8-png"))
        kinds = {body["messages"][0]["content"][0]["image_url"]["url"].split(";")[0] for body in server.bodies}
    assert kinds == {"data:image/jpeg", "data:image/png"}


def test_a_missing_key_names_its_variable_and_loopback_needs_none(
    roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelUnavailable, match="MY_KEY"):
        backend.load(model="gpt-4o", roots=roots, api_key_env="MY_KEY")
    backend.load(model="m", roots=roots, base_url="http://localhost:8000/v1", api_key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", KEY)
    backend.load(model="gpt-4o", roots=roots, api_key_env="MY_KEY")


@pytest.mark.parametrize("url", ["gpu1:8000/v1", "ftp://h/v1", "https://me:pw@h/v1", "https://h/v1?key=abc"])
def test_addresses_without_scheme_or_with_credentials_are_refused(url: str, roots: Roots) -> None:
    with pytest.raises(ConfigError) as caught:
        backend.load(model="m", roots=roots, base_url=url)
    assert "pw" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_the_key_is_sent_and_stands_nowhere_else(
    tmp_path: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with serve(tmp_path / "log", faults=[None, "500", "echo_key"], key=KEY) as server:
        model = open_model(server, roots)
        replies = answers(model, ask())
        with pytest.raises(ModelUnavailable) as caught:
            answers(model, ask())
        server.key, server.reply = None, lambda body: f"your key is {KEY}"
        replies += answers(model, ask("x"))
    assert "Incorrect API key provided" in str(caught.value)
    error: BaseException | None = caught.value
    told = [caplog.text, repr(model), repr(model.__dict__), repr(replies)]
    while error is not None:
        told += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    assert not [text for text in told if KEY in text]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_half_a_surrogate_pair_in_a_reply_can_be_stored(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    with serve(tmp_path / "log", reply=lambda body: "cut \ud83d") as server:
        [reply] = answers(open_model(server, roots), ask("odd \ud83d too"))
    assert reply.text.encode() == "cut \N{REPLACEMENT CHARACTER}".encode()


def test_options_are_read_as_the_pipeline_reads_them(roots: Roots) -> None:
    plugin = registry.find("models", "openai")
    model = registry.bind(
        plugin, {"model": "m", "base_url": ["http://a/v1", "http://b/v1"]}, "[[pool]]", inject={"roots": roots}
    )
    assert model.hosts == ("a", "b")
    with pytest.raises(ConfigError, match="base_url"):
        registry.bind(plugin, {"model": "m", "base_ulr": "http://a/v1"}, "[[pool]]", inject={"roots": roots})


@pytest.mark.parametrize("fault", ["429", "500"])
def test_after_an_interrupt_nothing_is_waited_for(
    fault: str, tmp_path: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "interrupted", lambda: True)
    with serve(tmp_path / "log", every={1: fault}, retry_after="60") as server:
        began = time.monotonic()
        [reply] = answers(open_model(server, roots), ask())
        assert len(server.served()) == 1
    assert reply.error == {"429": "rate_limited", "500": "server"}[fault]
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("fault", ["reset", "truncated", "cut_json", "no_choices"])
def test_a_send_that_may_have_been_billed_is_repeated_only_with_leave(
    tmp_path: Path, roots: Roots, ask: Ask, fault: str
) -> None:
    with serve(tmp_path / "log", faults=[fault, fault]) as server, paying(Purser(again=False)):
        [reply] = answers(open_model(server, roots, attempts=5), ask())
    assert (reply.sent, reply.unsure, reply.finish) == (1, 1, "error")
    assert len(server.served()) == 1
