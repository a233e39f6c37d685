"""A dataset in shards is read whole or not at all: the names of its files say how many there are."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlfeedback.errors import DataError
from vlfeedback.exchange import _rows
from vlfeedback.source import hugging_face
from vlfeedback.table_files import check_shards


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["train-00000-of-00003.parquet"], "1 of the 3 shards of 'train'; missing: train-00001-of-00003, train-00002-"),
        (["a-00000-of-00002-6f3a.arrow", "b-00000-of-00001.arrow"], "'a'; missing: a-00001-of-00002"),
        (["train-00000-of-00002.parquet", "train-00001-of-00003.parquet"], "shards of 'train'"),
        (["train-0-of-999999999.parquet"], "999,999,999 shards .* train-000000005-of-999999999, …"),
    ],
)
def test_what_is_missing_is_named(names: list[str], missing: str) -> None:
    with pytest.raises(DataError, match=missing):
        check_shards(map(Path, names))


@pytest.mark.parametrize(
    "names",
    [
        ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"],
        ["part-1-of-2.parquet", "part-2-of-2.parquet"],
        ["state-of-the-art.parquet", "12-of-the-best.parquet", "a.parquet"],
    ],
)
def test_whole_sets_and_other_names_pass(names: list[str]) -> None:
    check_shards(map(Path, names))


def test_a_folder_that_lacks_shards_is_refused_and_one_file_of_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "train-00000-of-00003.parquet"
    pq.write_table(pa.table({"prompt": ["Why?"]}), file)
    with pytest.raises(DataError, match="1 of the 3 shards"):
        list(hugging_face.load(tmp_path)())
    with pytest.raises(DataError, match="1 of the 3 shards"):
        list(_rows.rows(tmp_path))
    assert len(list(hugging_face.load(file)())) == len(list(_rows.rows(file))) == 1
