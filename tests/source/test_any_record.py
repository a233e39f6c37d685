"""Whatever a record holds, a reader finds instructions in it or drops it, and goes on with the next."""

from __future__ import annotations

import csv as standard_csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from vlfeedback.records import Dropped
from vlfeedback.source import (
    Found,
    Reader,
    comvint,
    figstep,
    hugging_face,
    jsonl,
    llava,
    llava_med,
    llavar,
    lrv,
    m3it,
    mm_safetybench,
    pca_eval,
    rtvlm,
    svit,
)

WORDS = st.sampled_from(
    ["", " ", "human", "gpt", "user", "text", "image", "Who?", "<image>", "a.png", "../x", "caution"]
)
NAMES = (
    "id image images image_id image_base64_str conversations conversatons messages content from value role type text "
    "question questions instruction prompt answer answer_index actions reason index task domain outputs inputs "
    "refused_to_answer conduct category image_url url user assistant"
)
KEYS = st.sampled_from(NAMES.split())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
RECORDS = st.lists(st.dictionaries(KEYS, VALUES, max_size=6), min_size=1, max_size=4)
OPTIONS: dict[Callable[..., Reader], dict[str, Any]] = {
    llava.load: {"turns": "each"}, llavar.load: {}, llava_med.load: {}, svit.load: {"turns": "each"}, lrv.load: {},
    comvint.load: {}, m3it.load: {}, pca_eval.load: {}, rtvlm.load: {}, jsonl.load: {},
}  # fmt: skip


@pytest.mark.parametrize("load", OPTIONS, ids=lambda load: load.__module__.rpartition(".")[2])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=RECORDS)
def test_json_readers(tmp_path: Path, load: Callable[..., Reader], records: list[dict[str, Any]]) -> None:
    path = tmp_path / "a.json"
    last = {"image": "a.png"}  # without an instruction; where no record has `image`, the map is a mistake
    path.write_text("".join(json.dumps(record) + "\n" for record in [*records, last]))
    items = list(load(path, **OPTIONS[load])())
    assert all(isinstance(item.prompt, str) and item.record_id for item in items if isinstance(item, Found))
    named = {item.record_id for item in items if isinstance(item, Dropped)}
    assert named <= {f"line {number}" for number in range(1, len(records) + 2)}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.dictionaries(st.text(max_size=4), VALUES, max_size=4))
def test_a_map_of_records(tmp_path: Path, records: dict[str, Any]) -> None:
    path = tmp_path / "01-X.json"
    path.write_text(json.dumps(records))
    items = list(mm_safetybench.load(path, kind="text")())
    assert len(items) == len(records)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(st.text(max_size=8), min_size=6, max_size=6), min_size=1, max_size=4))
def test_a_table_of_records(tmp_path: Path, rows: list[list[str]]) -> None:
    path = tmp_path / "safebench.csv"
    with path.open("w", encoding="utf-8", errors="replace", newline="") as stream:
        writer = standard_csv.writer(stream)
        writer.writerow(["dataset", "category_id", "task_id", "category_name", "question", "instruction"])
        writer.writerows([[cell.replace("\0", "") for cell in row] for row in rows])
    for asked in ("picture", "text"):
        assert len(list(figstep.load(path, asked=asked)())) == len(rows)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prompts=st.lists(st.none() | WORDS, min_size=1, max_size=5),
    data=st.none() | st.binary(max_size=20),
    path=st.none() | WORDS,
)
def test_a_dataset_of_hugging_face(
    tmp_path: Path, prompts: list[str | None], data: bytes | None, path: str | None
) -> None:
    rows = [{"prompt": prompt, "image": {"bytes": data, "path": path}} for prompt in prompts]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    items = list(hugging_face.load(tmp_path / "a.parquet")())
    assert len(items) == len(prompts)
    assert [isinstance(item, Found) for item in items] == [prompt is not None for prompt in prompts]
