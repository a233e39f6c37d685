"""Compact JSON is the same whichever library writes it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, strategies as st

from vlfeedback.compact import compact

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
)


@given(VALUES)
def test_the_fast_way_and_the_plain_way_agree(value: Any) -> None:
    assert compact(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def test_half_a_character_is_kept() -> None:
    text = {"reply": "a\ud800b", "n": 1.5}
    assert json.loads(compact(text).decode("utf-8", "surrogatepass")) == text
