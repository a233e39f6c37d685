"""A dataset of Hugging Face on disk, with a field map: what `save_to_disk` writes, or the Parquet files of a hub.

Tested on: what `datasets` 5.2.0 writes by `save_to_disk` (in shards, and of several splits) and by `to_parquet`. The
package itself is not needed.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyarrow has no types of its own.
from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vlfeedback.errors import ConfigError
from vlfeedback.records import Dropped
from vlfeedback.source import Embedded, Example, Found, Named, Reader
from vlfeedback.source._conversations import checked_turns, found_in_turns
from vlfeedback.source._fields import FieldMap, mapped, objects, pictures
from vlfeedback.source._files import files_of
from vlfeedback.source._fit import check_columns
from vlfeedback.source._rows import Fields, Row, row_reader
from vlfeedback.source._table_rows import table_rows
from vlfeedback.split_files import ALL, saved_files as _saved, saved_splits as _splits, splits_of
from vlfeedback.table_files import arrow_rows, check_shards, parquet_rows

TESTED_ON: tuple[str, ...] = ("what datasets 5.2.0 writes by save_to_disk and to_parquet",)

SHARDS = (".arrow", ".parquet")


def load(
    path: Path,
    *,
    split: str = "",
    prompt: str = "prompt",
    image: str = "image",
    record_id: str = "id",
    category: str = "category",
    reference: str = "reference",
    conduct: str = "conduct",
    turns: str = "first",
) -> Reader:
    """Read a dataset of Hugging Face; pictures inside it go to the run folder if their record is kept.

    A prompt that is a list of turns, or of pairs of `user` and `assistant`, is a conversation by the rule of `llava`.
    Columns of classes give their names. `image` may be a picture of `datasets` (bytes and path), a path below the root,
    or a list of these.

    Args:
        path: The folder that `save_to_disk` made, a folder of Parquet shards, or one `.arrow` or `.parquet` file.
        split: Which split, where there are several: a folder or files of that name; `all` for all files of a folder
            together.
        prompt: Column with the prompt or conversation; the only one that must be there.
        image: Column with the picture or pictures; `""` if no row has pictures.
        record_id: Column with the record's own id.
        category: Column with the kind of the instruction.
        reference: Column with a known good answer.
        conduct: Column with `answer`, `caution` or `refuse`.
        turns: `first` or `each`, for conversations.
    Raises:
        ConfigError: `turns` is neither, there are several splits and none is named, there is no column of the prompt,
            or none of `image`; with the default, where another one seems to hold pictures.
        DataError: there is no dataset, or shards of it are missing.
    """
    which = checked_turns(turns)
    fields_of = FieldMap(prompt, image, record_id, category, reference, conduct).stripped()

    def found_in(row: Row) -> Iterator[Found]:
        asked, shown = fields_of.prompt, fields_of.image
        if not isinstance(row.fields.get(asked), list):
            yield mapped(row, fields_of)
            return
        plain = mapped(Row(row.name, {**row.fields, asked: "", shown: None}), fields_of)
        talk = [turn for entry in objects(row.fields, asked) for turn in _turns(entry)]
        seen = pictures(row.fields.get(shown), shown)
        for found in found_in_turns(plain.record_id, talk, seen, which, plain.category):
            yield replace(found, conduct=plain.conduct)

    def read() -> Iterator[Found | Dropped]:
        shards = _shards(path, split)
        if path.is_dir():
            check_shards(shards)
        check_columns(shards, fields_of, path)
        for number, shard in enumerate(shards, 1):
            rows = arrow_rows if shard.suffix == ".arrow" else parquet_rows
            for item in row_reader(lambda rows=rows, shard=shard: table_rows(rows(shard, fields_of)), found_in)():
                yield item if len(shards) == 1 else _numbered(item, number)

    return read


def _turns(entry: Fields) -> list[Fields]:
    """A turn as it is, or both turns of a pair of `user` and `assistant`."""
    if "user" not in entry:
        return [entry]
    reply = [{"role": "assistant", "content": entry["assistant"]}] if entry.get("assistant") is not None else []
    return [{"role": "user", "content": entry["user"]}, *reply]


def _numbered(item: Found | Dropped, shard: int) -> Found | Dropped:
    """A record that has no id but its row, named with its shard: every shard has a row 1."""
    if not item.record_id.startswith("row "):
        return item
    name = f"shard {shard} {item.record_id}"
    return replace(item, record_id=name)


def _shards(path: Path, split: str) -> list[Path]:
    """Files of one split, in order."""
    if not path.is_dir():
        return [path]
    if (path / "state.json").is_file():
        return _saved(path)
    splits = _splits(path)
    if split not in ("", ".", "..") and (path / split).is_dir():
        inside = path / split
        return _saved(inside) if (inside / "state.json").is_file() else files_of(inside, SHARDS)
    if len(splits) == 1 and not split:
        return _shards(path / splits[0], "")
    found = files_of(path, SHARDS)
    name_of = {file: one.name for one, files in splits_of(found, path).items() for file in files}
    kinds = sorted({*name_of.values()})
    if split and split != ALL:
        if chosen := [file for file in found if split in (name_of[file], _beginning(file))]:
            return chosen
    elif not splits and (split or len(kinds) == 1):
        return found
    known = ", ".join(map(repr, splits or kinds))
    if split:
        raise ConfigError(f"{path} has the splits {known}, not {split!r}")
    together = "" if splits else f", or read all together with `split = {ALL!r}`"
    raise ConfigError(f"{path} has the splits {known}: name one with `split`{together}")


def _beginning(file: Path) -> str:
    return file.name.split("-")[0].removesuffix(file.suffix)


_ROWS: list[dict[str, object]] = [
    {"key": "a", "ask": "What is it?", "photo": {"bytes": b"GIF89a", "path": None}, "kind": 1},
    {"key": "b", "ask": "Where?", "photo": {"bytes": None, "path": "b.png"}, "kind": 0},
    {"key": "c", "ask": None, "photo": None, "kind": 7},
]
_CLASSES = {"info": {"features": {"kind": {"names": ["indoor", "outdoor"], "_type": "ClassLabel"}}}}


def _table(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows).replace_schema_metadata({"huggingface": json.dumps(_CLASSES)})


def _arrow(rows: list[dict[str, object]]) -> bytes:
    target = io.BytesIO()
    table = _table(rows)
    with pa.ipc.new_stream(target, table.schema) as writer:
        writer.write_table(table)
    return target.getvalue()


def _parquet(rows: list[dict[str, object]]) -> bytes:
    target = io.BytesIO()
    pq.write_table(_table(rows), target)
    return target.getvalue()


_MAP: dict[str, object] = {"prompt": "ask", "image": "photo", "record_id": "key", "category": "kind"}
_FOUND = (
    Found("a", "What is it?", (Embedded(b"GIF89a"),), "outdoor"),
    Found("b", "Where?", (Named("b.png"),), "indoor"),
    Dropped("source", "row 3", "bad_record"),
)
_PAIRS: list[dict[str, object]] = [
    {"texts": [{"user": "Who?", "assistant": "You."}, {"user": "Sure?", "assistant": None}], "images": []}
]
_TALK: list[dict[str, object]] = [
    {
        "messages": [
            {"role": "user", "content": "<image>Who?"},
            {"role": "assistant", "content": "You."},
            {"role": "user", "content": "Sure?"},
        ],
        "images": [{"bytes": b"GIF89a", "path": "x.gif"}],
    }
]

EXAMPLES = (
    Example(
        {"saved/state.json": '{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}',
         "saved/data-00000-of-00001.arrow": _arrow(_ROWS)},
        "saved",
        _FOUND,
        _MAP,
    ),
    Example(
        {"several/dataset_dict.json": '{"splits": ["train", "test"]}',
         "several/test/state.json": '{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}',
         "several/test/data-00000-of-00001.arrow": _arrow(_ROWS[:1])},
        "several",
        _FOUND[:1],
        {**_MAP, "split": "test"},
    ),
    Example(
        {"hub/data/train-00000-of-00002.parquet": _parquet(_ROWS[1:]),
         "hub/data/train-00001-of-00002.parquet": _parquet(_ROWS[:1]),
         "hub/data/test-00000-of-00001.parquet": b"not looked at",
         "hub/README.md": "A card."},
        "hub",
        (_FOUND[1], Dropped("source", "shard 1 row 2", "bad_record"), _FOUND[0]),
        {**_MAP, "split": "train"},
    ),
    Example(
        {"talk.parquet": _parquet(_TALK)},
        "talk.parquet",
        (
            Found("row 1#1", "Who?", (Embedded(b"GIF89a"),), reference="You."),
            Found("row 1#2", "Sure?", (Embedded(b"GIF89a"),)),
        ),
        {"prompt": "messages", "image": "images", "turns": "each"},
    ),
    Example(
        {"pairs.parquet": _parquet(_PAIRS)},
        "pairs.parquet",
        (Found("row 1#1", "Who?", reference="You."), Found("row 1#2", "Sure?")),
        {"prompt": "texts", "image": "images", "turns": "each"},
    ),
)  # fmt: skip
