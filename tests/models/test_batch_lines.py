"""What a batch gave back: any bytes, and never a call that is both answered and doubted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from vlfeedback.models._batch_lines import Lines

KEYS = ("a", "b", "c")
REPLY = {"choices": [{"finish_reason": "stop", "message": {"content": "yes"}}]}
JSON = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["status_code", "body"]), inner),
)


def line(key: str, status: Any, body: Any) -> str:
    return json.dumps({"custom_id": key, "response": {"status_code": status, "body": body}})


def read(*rows: str) -> Lines:
    lines = Lines(KEYS, str)
    lines.take("\n".join(rows))
    return lines


@given(st.lists(st.text() | st.builds(line, st.sampled_from([*KEYS, "other"]), JSON, JSON), max_size=6))
def test_whatever_comes_is_answered_or_not_and_only_what_is_not_can_be_doubted(rows: list[str]) -> None:
    lines = read(*rows)
    assert set(lines.found) == set(KEYS)
    assert all(lines.found[key] is None for key in lines.doubtful)


@pytest.mark.parametrize(
    ("rows", "answered", "doubtful"),
    [
        ([line("a", 200, REPLY)], {"a"}, set()),
        ([line("a", 200, REPLY), "{half"], {"a"}, {"b", "c"}),
        ([line("a", 200, REPLY), "{half", json.dumps({"custom_id": "b", "response": None})], {"a"}, {"c"}),
        ([line("a", 200, {})], set(), {"a"}),
        ([line("a", 200, {}), line("a", 200, REPLY)], {"a"}, set()),
        ([line("a", 500, REPLY), line("b", 400, {"error": {"message": "no"}})], {"b"}, set()),
        ([line("a", 400, {"error": {"message": "no", "code": "billing_hard_limit_reached"}})], set(), set()),
        (["", "  ", line("other", 200, REPLY)], set(), set()),
        ([line("a", 10**400, REPLY)], set(), set()),
        ([line("a", float("inf"), REPLY)], set(), {"a", "b", "c"}),
        ([line("a", None, REPLY), line("b", None, {"error": {"message": "no"}})], {"a"}, set()),
    ],
)
def test_what_is_answered_and_what_is_doubted(rows: list[str], answered: set[str], doubtful: set[str]) -> None:
    lines = read(*rows)
    assert {key for key, reply in lines.found.items() if reply is not None} == answered
    assert lines.doubtful == doubtful


def test_what_no_line_names_is_doubted_where_more_is_said_to_be_there() -> None:
    lines = read(line("a", 200, REPLY), line("other", 200, REPLY))
    assert (lines.whole(1), lines.doubtful) == (True, set())
    assert (lines.whole(3), lines.doubtful) == (False, {"b", "c"})


def test_a_page_of_something_else_is_not_whole() -> None:
    assert not read("<html>", "We are back in a minute.").whole(0)
