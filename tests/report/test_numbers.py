from __future__ import annotations

import math

import pytest

from vlfeedback.report._numbers import axis_names, bracket, count, money, p_value, percent, plain, shortened, signed


def test_numbers_are_written_for_people() -> None:
    assert count(1234567) == "1,234,567"
    assert plain(-1234.5, 1) == "−1,234.5"
    assert plain(None) == plain(math.nan) == "–"
    assert signed(0.25, 1) == "+0.2" and signed(-0.35) == "−0.35"
    assert bracket(-1.0, 2.0, 1) == "[−1.0, 2.0]" and bracket(None, 2.0) == "[too few]"
    assert percent(0.7934) == "79.3 %" and percent(None) == "–"
    assert money(0.0) == "0.00" and money(0.0123) == "0.0123" and money(12.345) == "12.35"
    assert p_value(0.0004) == "< 0.001" and p_value(0.0312) == "0.031"


@pytest.mark.parametrize("value", [0.0, -0.0, -0.0001, 0.0001])
def test_what_rounds_to_zero_has_no_sign(value: float) -> None:
    assert plain(value, 2) == "0.00"
    assert signed(value, 2) == "0.00"


def test_long_names_lose_their_middle() -> None:
    name = shortened("openai/Qwen2.5-VL-72B-Instruct@main", 20)
    assert len(name) == 20 and name.startswith("openai/") and name.endswith("ruct@main")
    assert shortened("a\n b", 20) == "a b"


def test_names_on_an_axis_lose_their_revision_while_they_stay_different() -> None:
    models = ["pocket/strong-verbose@87ceae16", "pocket/policy@87ceae16+dpo", "org/model@main"]
    assert axis_names(models, 30) == ["pocket/strong-verbose", "pocket/policy+dpo", "org/model@main"]
    assert axis_names(["a@12345678", "a@87654321"], 30) == ["a@12345678", "a@87654321"]


def test_long_names_on_an_axis_stay_different() -> None:
    sizes = [f"openai:Qwen/Qwen2.5-VL-{size}B-Instruct-AWQ" for size in (3, 7, 72)]
    names = axis_names([*sizes, "openai:a"], 24)
    assert names == ["…/Qwen2.5-VL-3B-Instruc…", "…Qwen2.5-VL-7B-Instruct…", "…Qwen2.5-VL-72B-Instruc…", "openai:a"]
    ends = axis_names([f"openai:{'a' * 30}{end}{'z' * 30}{end}" for end in ("", "1", "22")], 20)
    assert len(set(ends)) == 3 and all(len(name) <= 20 for name in ends)
    assert axis_names([sizes[0], sizes[0]], 24) == ["openai:Qwen…Instruct-AWQ"] * 2, "one model, two bars"
