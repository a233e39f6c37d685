"""Preference pairs as a folder of Parquet shards that `datasets.load_dataset` opens without a script."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false
# pyarrow has no types of its own.
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from vlfeedback.errors import DataError
from vlfeedback.records import Image

SHARD_BYTES = 400 * 2**20
"""A shard is closed once its pairs hold this much, words and pictures, counting each picture once per pair.

Until then the places of its row groups are in memory: pairs without pictures close their shards too.
"""

ROWS_AT_ONCE = 1024
BYTES_AT_ONCE = 32 * 2**20
"""A row group is written once it has so many pairs, or pictures of so many bytes; a picture counts once per pair."""

_PART = pa.struct([("type", pa.string()), ("text", pa.string())])
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(_PART))]))
_TEXTS = ("chosen_model", "rejected_model")
_NAMES = ("strategy", "instruction_id", "pair_id", "source", "category")
_IMAGE_BYTES = "images.list.element.bytes"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a message: a text, or the place of a picture."""

    type: str
    text: str | None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: str
    content: list[Part]


@dataclass(frozen=True, slots=True)
class Pair:
    """A row without its pictures, fields named as the columns."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    chosen_model: str
    rejected_model: str
    margin: float | None
    strategy: str
    instruction_id: str
    pair_id: str
    source: str
    category: str


class Picture(NamedTuple):
    """A complete image file and its name without folders."""

    data: bytes
    name: str


def file_name(image: Image) -> str:
    """The last part of a picture's place: `7.jpg` of `images:merged/7.jpg`."""
    return image.uri.partition(":")[2].rpartition("/")[2]


def _schema() -> pa.Schema:
    """Columns, with the mark by which `datasets` decodes the pictures."""
    text = {"dtype": "string", "_type": "Value"}
    messages = [{"role": text, "content": [{"type": text, "text": text}]}]
    features: dict[str, Any] = {"images": [{"_type": "Image"}]}
    features |= dict.fromkeys(("prompt", "chosen", "rejected"), messages)
    features |= dict.fromkeys(_TEXTS, text) | {"margin": {"dtype": "float64", "_type": "Value"}}
    features |= dict.fromkeys(_NAMES, text)
    images = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    columns: list[tuple[str, pa.DataType]] = [("images", images)]
    columns += [(name, _MESSAGES) for name in ("prompt", "chosen", "rejected")]
    columns += [(name, pa.string()) for name in _TEXTS] + [("margin", pa.float64())]
    columns += [(name, pa.string()) for name in _NAMES]
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})


class Shards:
    """Writes one split as numbered shards.

    Args:
        folder: Where the shards go.
        split: Name of the split, the start of the files' names.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self._folder, self._split = folder, split
        self._schema = _schema()
        self._parts: list[Path] = []
        self._file: pq.ParquetWriter | None = None
        self._rows: list[dict[str, Any]] = []
        self._bytes = self._held = 0
        self._count = 0

    def add(self, pair: Pair, pictures: Sequence[Picture]) -> None:
        """Take one pair and its pictures."""
        self._rows.append({"images": [{"bytes": one.data, "path": one.name} for one in pictures], **asdict(pair)})
        self._count += 1
        self._held += sum(len(one.data) for one in pictures)
        if len(self._rows) >= ROWS_AT_ONCE or self._held >= min(BYTES_AT_ONCE, SHARD_BYTES - self._bytes):
            self._flush()
        if self._bytes >= SHARD_BYTES:
            self._end()

    def _flush(self) -> None:
        if not self._rows:
            return
        try:
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                part = self._folder / f".{self._split}-{len(self._parts):05d}.part"
                self._parts.append(part)
                layout: dict[str, Any] = {
                    # The pairs of an instruction share its picture: a dictionary stores it once per row group.
                    "use_dictionary": [_IMAGE_BYTES],
                    "dictionary_pagesize_limit": 256 * 2**20,
                    "compression": {_IMAGE_BYTES: "none"} | dict.fromkeys(_leaves(self._schema), "zstd"),
                }
                self._file = pq.ParquetWriter(part, self._schema, **layout)
            table = pa.Table.from_pylist(self._rows, schema=self._schema)
            self._file.write_table(table)
        except OSError as error:
            raise DataError(
                f"{self._folder} could not be written ({error}). Free some disk space and run again."
            ) from error
        self._bytes += table.nbytes
        self._rows, self._held = [], 0

    def _end(self) -> None:
        self._flush()
        if self._file is not None:
            self._file.close()
        self._file, self._bytes = None, 0

    def close(self) -> int:
        """Give the shards their final names, and the number of rows."""
        self._end()
        for index, part in enumerate(self._parts):
            part.rename(self._folder / f"{self._split}-{index:05d}-of-{len(self._parts):05d}.parquet")
        return self._count

    def discard(self) -> None:
        """Leave no unfinished file."""
        if self._file is not None:
            self._file.close()
        for part in self._parts:
            part.unlink(missing_ok=True)


def _leaves(schema: pa.Schema) -> list[str]:
    """Parquet paths of all columns but the pictures' bytes."""
    messages = [f"{name}.list.element" for name in ("prompt", "chosen", "rejected")]
    nested = [
        f"{name}.{leaf}"
        for name in messages
        for leaf in ("role", "content.list.element.type", "content.list.element.text")
    ]
    flat = [name for name in schema.names if name not in ("images", "prompt", "chosen", "rejected")]
    return ["images.list.element.path", *nested, *flat]


def card(rows: dict[str, int]) -> str:
    """The dataset card: what `datasets` needs to know, and what a reader needs to know."""
    files = "\n".join(f"  - split: {name}\n    path: data/{name}-*.parquet" for name, count in rows.items() if count)
    table = "\n".join(f"| {name} | {count:,} |" for name, count in rows.items())
    return f"""---
task_categories:
- image-text-to-text
tags:
- preference
- dpo
- trl
- vision-language
configs:
- config_name: default
  data_files:
{files}
---

# Preference pairs

Written by `vlfeedback export trl`. Each row is one pair of responses to one instruction, the better one in `chosen`, in
TRL's vision preference format (`images`, `prompt`, `chosen`, `rejected`).

| split | pairs |
|---|---:|
{table}

- `margin`: difference of the mean ratings in rating points, empty where the origin has no ratings.
- `strategy`: the rule that made the pair. `chosen_model`, `rejected_model`: who wrote the responses.
- `instruction_id`: rows with the same value share prompt and pictures; keep them on one side of any further split.
- The split follows the picture: no picture is in both.

Before publishing, add the licence of the pictures and of every model that wrote or rated a text.
"""
