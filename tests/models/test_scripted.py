from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from vlfeedback.errors import ConfigError
from vlfeedback.models.scripted import EXAMPLES, REMEMBERED, ScriptedModel, load
from vlfeedback.records import Generation, Request

Ask = Callable[..., Request]


def say(model: ScriptedModel, *requests: Request) -> list[Generation]:
    async def run() -> list[Generation]:
        return list(await asyncio.gather(*map(model.answer, requests)))

    return asyncio.run(run())


def test_examples() -> None:
    for example in EXAMPLES:
        [reply] = say(load(), example.request)
        assert reply.text == example.text


def test_replies_are_a_function_of_the_request(ask: Ask) -> None:
    requests = [ask(str(number), None) for number in range(20)]
    first = say(load(replies=["a", "b", "c"]), *requests)
    again = say(load(replies=["a", "b", "c"]), *requests[::-1])[::-1]
    assert [reply.text for reply in first] == [reply.text for reply in again]
    assert {reply.text for reply in first} == {"a", "b", "c"}


def test_a_table_answers_by_a_word_of_the_prompt(ask: Ask) -> None:
    model = load(replies={"colour": "red", "many": "two"}, finish="length")
    replies = say(model, ask("How many?"), ask("Which colour?"), ask("Why?"))
    assert [(reply.text, reply.finish) for reply in replies] == [("two", "length"), ("red", "length"), ("", "length")]


def test_functions_may_fail_and_calls_are_counted(ask: Ask) -> None:
    refused = Generation("", "error", error="server")
    model = load(replies=lambda request: refused if request.images else "text", delay=0.01)
    assert say(model, ask(), ask("x", None)) == [refused, say(load(replies=lambda request: "text"), ask("x", None))[0]]
    assert (model.calls, model.at_once) == (2, 2)
    assert model.identity == "scripted:scripted"


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError):
        load(finish="error")
    with pytest.raises(ConfigError):
        load(delay=-1)


def test_a_long_dry_run_is_not_remembered_whole(ask: Ask) -> None:
    model = load()
    say(model, *(ask(str(number), None) for number in range(REMEMBERED + 5)))
    assert (model.calls, len(model.requests)) == (REMEMBERED + 5, REMEMBERED)
    assert model.requests[0] == ask("5", None)
