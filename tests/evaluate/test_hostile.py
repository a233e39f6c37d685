"""Whatever lies in a result file, a scorer gives figures that are JSON, or says what is wrong; it never breaks down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from vlfeedback.commands.score import score
from vlfeedback.errors import VLFeedbackError

numbers = st.one_of(st.integers(), st.floats(), st.booleans(), st.none())
texts = st.one_of(st.text(max_size=8), st.sampled_from(["Rating: 3", "8 7", "0.5", "Yes", "no", "rec", "v1_0", "conv"]))
keys = st.sampled_from([
    "question_id", "image", "label", "answer", "text", "choices", "message", "content", "refusal", "error", "created",
    "model", "score", "tuple", "category", "capability", "question_type", "v1_0", "v1_1", "finish_reason",
])  # fmt: skip
anything = st.recursive(
    st.one_of(numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=6)),
    max_leaves=24,
)

Write = Callable[[Path, Any], None]


def as_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def as_lines(path: Path, value: Any) -> None:
    rows = value if isinstance(value, list) else [value]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")


@pytest.mark.parametrize("benchmark", ["pope", "mmhal", "mmvet", "llava_bench"])
@pytest.mark.parametrize("write", [as_json, as_lines])
@given(value=anything, needs=anything)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json(tmp_path: Path, benchmark: str, write: Write, value: Any, needs: Any) -> None:
    write(tmp_path / "x.json", value)
    as_json(tmp_path / "c.json", needs)
    options: dict[str, Any] = {"capabilities": tmp_path / "c.json"} if benchmark == "mmvet" else {}
    if benchmark == "mmhal" and needs:
        options["template"] = tmp_path / "c.json"
    try:
        found = score(benchmark, [tmp_path / "x.json"], **options)
    except VLFeedbackError as error:
        assert str(error)
    else:
        json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("benchmark", ["mme", "pope", "mmhal", "mmvet", "llava_bench"])
@given(data=st.binary(max_size=60))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(tmp_path: Path, benchmark: str, data: bytes) -> None:
    (tmp_path / "color.txt").write_bytes(data)
    (tmp_path / "c.json").write_text('{"v1_0": ["rec"]}')
    path = tmp_path if benchmark == "mme" else tmp_path / "color.txt"
    try:
        score(benchmark, [path], capabilities=tmp_path / "c.json" if benchmark == "mmvet" else None)
    except VLFeedbackError as error:
        assert str(error)


row = st.fixed_dictionaries({
    "question_id": st.integers(0, 9), "image": st.sampled_from(["a", "b"]), "label": st.sampled_from(["yes", "no"]),
    "answer": st.one_of(st.none(), texts), "category": st.sampled_from(["conv", "llava_bench_detail"]),
    "content": st.one_of(st.none(), texts),
})  # fmt: skip


@pytest.mark.parametrize("benchmark", ["pope", "llava_bench"])
@given(rows=st.lists(row, min_size=1, max_size=9, unique_by=lambda one: one["question_id"]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_books_of_good_rows_balance(tmp_path: Path, benchmark: str, rows: list[dict[str, Any]]) -> None:
    as_lines(tmp_path / "x.json", rows)
    replies = [one["answer" if benchmark == "pope" else "content"] for one in rows]
    try:
        found = score(benchmark, [tmp_path / "x.json"]).to_json()
    except VLFeedbackError:
        assert not any(reply is not None for reply in replies)
        return
    assert found["n_present"] + found["n_failed"] == len(rows) and not found["complete"]
    assert found["n_failed"] == sum(reply is None for reply in replies)
    assert found["n_unparsable"] <= found["n_present"]
