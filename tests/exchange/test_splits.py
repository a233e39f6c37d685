"""Folders with several splits: what is held out there is never trained on."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlfeedback import tables
from vlfeedback.commands.import_ import ImportSummary, import_data
from vlfeedback.errors import ConfigError
from vlfeedback.records import Dropped, Instruction


def put(path: Path, *prompts: str) -> None:
    """A file of preference rows, of the kind that its name says."""
    rows = [{"prompt": prompt, "chosen": "yes", "rejected": "no"} for prompt in prompts]
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".arrow":
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))


def bring_in(folder: Path, **settings: Any) -> ImportSummary:
    return import_data("trl", folder, out=folder.parent / "run", eval_share=0.0, **settings)


def sides(summary: ImportSummary) -> dict[str, str]:
    return {one.prompt: one.split for one in tables.read(summary.out / "instructions.parquet", Instruction)}


def saved(folder: Path) -> None:
    """What `save_to_disk` writes of two splits, and a file of an earlier one that is no longer listed."""
    put(folder / "train" / "data-00000-of-00001.arrow", "a ?", "b ?")
    put(folder / "train" / "data-00000-of-00002.arrow", "old ?")
    put(folder / "test" / "data-00000-of-00001.arrow", "c ?")
    (folder / "dataset_dict.json").write_text('{"splits": ["test", "train"]}')
    for name in ("train", "test"):
        (folder / name / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')


def hub(folder: Path) -> None:
    put(folder / "data" / "train-00000-of-00002.parquet", "a ?")
    put(folder / "data" / "train-00001-of-00002.parquet", "b ?")
    put(folder / "data" / "test-00000-of-00001.parquet", "c ?")


def converted(folder: Path) -> None:
    put(folder / "default" / "train" / "0000.parquet", "a ?", "b ?")
    put(folder / "default" / "validation" / "0000.parquet", "c ?")


def by_hand(folder: Path) -> None:
    put(folder / "my_train_1.jsonl", "a ?")
    put(folder / "my_train_2.jsonl", "b ?")
    put(folder / "my_dev.jsonl", "c ?")


@pytest.mark.parametrize("layout", [saved, hub, converted, by_hand])
def test_what_a_folder_holds_out_is_held_out(tmp_path: Path, layout: Any) -> None:
    layout(folder := tmp_path / "data")
    summary = bring_in(folder)
    assert sides(summary) == {"a ?": "train", "b ?": "train", "c ?": "eval"}
    assert [count for what, count in summary.notes.items() if "held out" in what] == [1]


@pytest.mark.parametrize(("split", "found"), [("train", {"a ?", "b ?"}), ("test", {"c ?"})])
def test_a_split_that_is_named_is_all_that_is_read(tmp_path: Path, split: str, found: set[str]) -> None:
    for number, layout in enumerate((saved, hub)):
        layout(folder := tmp_path / str(number) / "data")
        assert sides(bring_in(folder, options={"split": split})) == dict.fromkeys(found, "train")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("train_prefs-00000-of-00001.parquet", "train_sft-00000-of-00001.parquet"), "'train_prefs', 'train_sft'"),
        (("a-00000-of-00001.parquet", "b-00000-of-00001.parquet"), "'a', 'b'"),
        (("train.jsonl", "extra.jsonl"), "'train', 'extra'"),
        (("test.jsonl", "validation.jsonl"), "'test', 'validation'"),
    ],
)
def test_splits_that_do_not_say_what_to_train_on_are_refused(
    tmp_path: Path, names: tuple[str, ...], words: str
) -> None:
    for name in names:
        put(tmp_path / "data" / name, name)
    with pytest.raises(ConfigError, match=f"has the splits {words}, and it is not clear which to train on"):
        bring_in(tmp_path / "data")
    first = words.split("'")[1]
    assert set(sides(bring_in(tmp_path / "data", options={"split": first}))) == {names[0]}
    assert set(sides(bring_in(tmp_path / "data", options={"split": "all"}))) == set(names)
    with pytest.raises(ConfigError, match=f"has the splits {words}, not 'tran'"):
        bring_in(tmp_path / "data", options={"split": "tran"})


def test_files_that_name_no_split_are_read_together_and_a_file_has_none(tmp_path: Path) -> None:
    put(tmp_path / "data" / "latest.jsonl", "a ?")
    put(tmp_path / "data" / "RLAIF-V-Dataset_001.jsonl", "b ?")
    assert set(sides(bring_in(tmp_path / "data"))) == {"a ?", "b ?"}
    with pytest.raises(ConfigError, match="has no splits"):
        bring_in(tmp_path / "data", options={"split": "train"})
    with pytest.raises(ConfigError, match="is a file, which has no splits"):
        bring_in(tmp_path / "data" / "latest.jsonl", options={"split": "train"})


def test_a_prompt_of_both_splits_is_trained_on_and_not_held_out(tmp_path: Path) -> None:
    put(tmp_path / "data" / "test.jsonl", "a ?", "b ?")
    put(tmp_path / "data" / "train.jsonl", "a ?")
    summary = bring_in(tmp_path / "data")
    assert sides(summary) == {"a ?": "train", "b ?": "eval"} and summary.dropped == {"split_conflict": 1}
    (dropped,) = tables.read(summary.out / "dropped" / "exchange.parquet", Dropped)
    assert dropped.record_id == "test.jsonl:1" and "in the training split too" in dropped.detail


def test_files_of_another_kind_that_are_not_read_are_said(tmp_path: Path) -> None:
    put(tmp_path / "data" / "a.jsonl", "a ?")
    put(tmp_path / "data" / "b.parquet", "b ?")
    (tmp_path / "data" / "dataset_infos.json").write_text("{}")
    summary = bring_in(tmp_path / "data")
    assert set(sides(summary)) == {"b ?"}
    assert summary.notes["files that are not read, because the folder has .parquet files: a.jsonl, …"] == 1
