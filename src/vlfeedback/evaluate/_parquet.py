"""Benchmarks as Parquet files of a dataset hub, already on disk: rows with the pictures in them."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# pyarrow has no types of its own.
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyarrow.parquet as pq

from vlfeedback.errors import DataError, ImageError
from vlfeedback.images import Roots
from vlfeedback.records import Image
from vlfeedback.table_files import DAMAGED

_ROWS_AT_ONCE = 64


class HubRow(NamedTuple):
    """One row: its texts, and its picture's bytes."""

    where: str
    texts: dict[str, str]
    picture: bytes

    def image(self, roots: Roots) -> Image:
        """The picture, stored in the root `run`.

        Raises:
            DataError: it cannot be used.
        """
        try:
            return roots.add(self.picture)
        except ImageError as error:
            raise DataError(f"{self.where}: {error.detail}. Every picture of the benchmark is needed.") from error


def parquet_files(folder: Path) -> list[Path]:
    """Parquet files below a folder, in the order of their names."""
    return sorted(folder.rglob("*.parquet")) if folder.is_dir() else []


def hub_rows(files: list[Path], columns: tuple[str, ...]) -> Iterator[HubRow]:
    """Rows of Parquet files with the given text columns and `image`, a few at a time.

    Raises:
        DataError: a file is damaged, lacks a column, or a cell is empty.
    """
    for file in files:
        number = 0
        try:
            table = pq.ParquetFile(file)
            missing = sorted({*columns, "image"} - set(table.schema_arrow.names))
            if missing:
                raise DataError(f"{file} lacks the columns {', '.join(missing)}; is it a file of this benchmark?")
            for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=[*columns, "image"]):
                for row in cast("list[dict[str, Any]]", batch.to_pylist()):
                    number += 1
                    yield _row(f"{file} row {number}", row, columns)
        except DAMAGED as error:
            raise DataError(
                f"{file} cannot be read as Parquet: {error}. Check that it was copied completely."
            ) from error


def _row(where: str, row: dict[str, Any], columns: tuple[str, ...]) -> HubRow:
    texts = {name: row[name] for name in columns}
    for name, value in texts.items():
        if value is None or isinstance(value, dict | list | bytes):
            raise DataError(f"{where}: {name} is no text.")
    picture = row["image"]
    data = cast("dict[str, Any]", picture).get("bytes") if isinstance(picture, dict) else picture
    if not isinstance(data, bytes):
        raise DataError(f"{where} holds no picture, only its name; give the files with the pictures inside.")
    return HubRow(where, {name: str(value) for name, value in texts.items()}, data)
