"""Benchmarks from a dataset hub's Parquet files: the same items as from the authors' files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluate import copies
from evaluate.asking import tiny_mme

from vlfeedback.errors import DataError
from vlfeedback.evaluate import Item, mme, pope


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def alike(items: Any) -> list[Item]:
    """Items without where their pictures lie."""
    return [
        dataclasses.replace(one, images=tuple(dataclasses.replace(image, uri="") for image in one.images))
        for one in items
    ]


def test_mme_from_parquet_has_the_items_of_the_folders(tmp_path: Path) -> None:
    roots = tiny_mme(tmp_path / "folders")
    want = list(mme.load(path=tmp_path / "folders", images="mme", roots=roots).items())
    rows = [
        {
            "question_id": item.cluster, "question": item.prompt, "answer": item.expected.capitalize(),
            "category": item.stratum, "image": {"bytes": roots.open(item.images[0]), "path": None},
        }
        for item in want
    ]  # fmt: skip
    write(tmp_path / "hub" / "data" / "test-00000.parquet", rows[:5])
    write(tmp_path / "hub" / "data" / "test-00001.parquet", rows[5:])
    found = mme.load(path=tmp_path / "hub", roots=roots)
    assert alike(found.items()) == alike(want) and list(found.items()) == list(found.items())


def test_pope_from_parquet_has_the_items_of_the_files(tmp_path: Path) -> None:
    roots = copies.pope(tmp_path / "files")
    benchmark = pope.load(path=tmp_path / "files", images="pictures", roots=roots)
    rows: list[dict[str, Any]] = []
    for split in pope.SPLITS:
        for line in (tmp_path / "files" / f"coco_pope_{split}.json").read_text().splitlines():
            row = json.loads(line)
            picture = (tmp_path / "files" / "pictures" / row["image"]).read_bytes()
            rows.append({
                "id": str(len(rows)), "question_id": str(row["question_id"]), "question": row["text"],
                "answer": row["label"], "image_source": row["image"].removesuffix(".jpg"), "category": split,
                "image": {"bytes": picture, "path": "x.jpg"},
            })  # fmt: skip
    write(tmp_path / "hub" / "Full" / "random.parquet", rows)
    assert alike(pope.load(path=tmp_path / "hub", roots=roots).items()) == alike(benchmark.items())


GOOD: dict[str, Any] = {
    "question_id": "OCR/1.png", "question": "?", "answer": "Yes", "category": "OCR", "image": {"bytes": b"x"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"question_id": "1"}, "lacks the columns"),
        ({**GOOD, "category": "food"}, "no question of MME"),
        ({**GOOD, "question": None}, "is no text"),
        ({**GOOD, "image": {"path": "x"}}, "only its name"),
        (GOOD, "Every picture"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    write(tmp_path / "hub" / "x.parquet", [row])
    with pytest.raises(DataError, match=says):
        list(mme.load(path=tmp_path / "hub", roots=copies.roots(tmp_path)).items())
    (tmp_path / "hub" / "x.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        list(mme.load(path=tmp_path / "hub", roots=copies.roots(tmp_path)).items())
