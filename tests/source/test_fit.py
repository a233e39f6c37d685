"""A field map that does not fit its file is a mistake that is told, not a dataset without pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlfeedback.errors import ConfigError
from vlfeedback.images import Roots
from vlfeedback.source import Found, Named, Reader, Source, csv, hugging_face, instructions, jsonl, parquet

ROWS: list[dict[str, Any]] = [{"prompt": f"What is {number}?", "image": f"{number}.png"} for number in range(4)]
LOADS = [jsonl.load, csv.load, parquet.load, hugging_face.load]


def file(folder: Path, load: Callable[..., Reader], rows: list[dict[str, Any]]) -> Path:
    path = folder / {jsonl.load: "a.jsonl", csv.load: "a.csv"}.get(load, "a.parquet")
    if load is jsonl.load:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif load is csv.load:
        path.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("load", LOADS)
class TestPictures:
    def test_a_field_that_no_record_has_is_refused(self, tmp_path: Path, load: Callable[..., Reader]) -> None:
        path = file(tmp_path, load, ROWS)
        with pytest.raises(ConfigError, match=r"'pics', which `image` names.*there are 'prompt', 'image'; pictures"):
            list(load(path, image="pics")())

    @pytest.mark.parametrize("name", ["images", "img", "img_name"])
    def test_pictures_in_another_field_are_not_passed_over(
        self, tmp_path: Path, load: Callable[..., Reader], name: str
    ) -> None:
        path = file(tmp_path, load, [{"prompt": row["prompt"], name: row["image"]} for row in ROWS])
        with pytest.raises(ConfigError, match=f"pictures seem to lie in '{name}'. Set `image = '{name}'`"):
            list(load(path)())
        assert len(list(load(path, image=name)())) == len(list(load(path, image="")())) == 4

    def test_text_alone_is_read(self, tmp_path: Path, load: Callable[..., Reader]) -> None:
        rows = [{"prompt": "Why?", "id": "a.png", "source": "b", "answer": "See c.png"}]
        (found,) = load(file(tmp_path, load, rows))()
        assert found == Found("a.png", "Why?")

    def test_one_record_with_a_picture_is_enough(self, tmp_path: Path, load: Callable[..., Reader]) -> None:
        rows = [{"prompt": row["prompt"], "pics": ""} for row in ROWS] + [{"prompt": "Who?", "pics": "x.png"}]
        *_, found = load(file(tmp_path, load, rows), image="pics")()
        assert isinstance(found, Found) and found.images == (Named("x.png"),)


@pytest.mark.parametrize("load", LOADS[:2])
def test_files_of_pictures_are_known_under_any_name(tmp_path: Path, load: Callable[..., Reader]) -> None:
    path = file(tmp_path, load, [{"prompt": row["prompt"], "shot": row["image"]} for row in ROWS])
    with pytest.raises(ConfigError, match="pictures seem to lie in 'shot'"):
        list(load(path)())


def test_a_column_of_bytes_is_a_column_of_pictures(tmp_path: Path) -> None:
    for name, value in (("shots", [{"bytes": b"GIF89a", "path": None}]), ("data", b"GIF89a")):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist([{"prompt": "Who?", name: value}]), path)
        for load in (hugging_face.load, parquet.load):
            with pytest.raises(ConfigError, match=f"pictures seem to lie in '{name}'"):
                list(load(path)())


def test_a_column_of_any_shard_counts(tmp_path: Path) -> None:
    for number, name in enumerate(("other", "image"), 1):
        pq.write_table(pa.table({"prompt": ["Who?"], name: ["a.png"]}), tmp_path / f"part_{number}.parquet")
    assert len(list(hugging_face.load(tmp_path)())) == 2


def test_a_table_without_the_prompt_lists_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"question": ["Who?"], "image": ["a.png"]}), tmp_path / "a.parquet")
    for load in (hugging_face.load, parquet.load):
        with pytest.raises(ConfigError, match="no column 'prompt'; it has 'question', 'image'"):
            list(load(tmp_path / "a.parquet")())


def test_a_root_without_a_picture_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    sources = [
        Source("mine", lambda: iter([Found("1", "Who?")]), "p"),
        Source("bare", lambda: iter([Found("2", "I?")])),
    ]
    list(instructions(sources, Roots({"p": tmp_path}), tell=told.append))
    assert len(told) == 1 and "0 of 1 instructions have a picture, although `images = 'p'` is given" in told[0]
