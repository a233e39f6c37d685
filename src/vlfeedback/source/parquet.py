"""A Parquet file, as `datasets` and many hubs write it; pictures by path or inside.

Tested on: what `datasets` 5.2.0 writes by `to_parquet`, and files of pyarrow with pictures as bytes and as paths.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyarrow has no types of its own.
from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vlfeedback.records import Dropped
from vlfeedback.source import Embedded, Example, Found, Named, Reader
from vlfeedback.source._fields import FieldMap, mapped
from vlfeedback.source._fit import check_columns
from vlfeedback.source._rows import Row, row_reader
from vlfeedback.source._table_rows import table_rows
from vlfeedback.table_files import parquet_rows

TESTED_ON: tuple[str, ...] = ("what datasets 5.2.0 writes by to_parquet",)


def load(
    path: Path,
    *,
    prompt: str = "prompt",
    image: str = "image",
    record_id: str = "id",
    category: str = "category",
    reference: str = "reference",
    conduct: str = "conduct",
) -> Reader:
    """Read a Parquet file; pictures inside it go to the run folder if their record is kept.

    Args:
        path: The file.
        prompt: Column with the prompt; the only one that must be there.
        image: Column with a path below the root, bytes, a struct of `bytes`, `path`, `url`, `file_name`, …, or a
            list of these; `""` if no row has pictures.
        record_id: Column with the record's own id.
        category: Column with the kind of the instruction.
        reference: Column with a known good answer.
        conduct: Column with `answer`, `caution` or `refuse`.
    Raises:
        ConfigError: there is no column of the prompt, or none of `image`; with the default, where another one seems to
            hold pictures.
    """
    fields_of = FieldMap(prompt, image, record_id, category, reference, conduct).stripped()

    def found_in(row: Row) -> Iterator[Found]:
        yield mapped(row, fields_of)

    def rows() -> Iterator[Row | Dropped]:
        check_columns([path], fields_of, path)
        return table_rows(parquet_rows(path, fields_of))

    return row_reader(rows, found_in)


def _example() -> bytes:
    rows: list[dict[str, object]] = [
        {"id": 1, "text": "What is it?", "image": {"bytes": b"GIF89a", "path": None}},
        {"id": 2, "text": "Where?", "image": {"bytes": None, "path": "a.png"}},
        {"id": 3, "text": None, "image": None},
    ]
    target = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), target)
    return target.getvalue()


EXAMPLES = (
    Example(
        {"a.parquet": _example()},
        "a.parquet",
        (
            Found("1", "What is it?", (Embedded(b"GIF89a"),)),
            Found("2", "Where?", (Named("a.png"),)),
            Dropped("source", "row 3", "bad_record"),
        ),
        {"prompt": "text"},
    ),
)
