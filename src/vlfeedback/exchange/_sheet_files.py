"""Tables as spreadsheets and text: rows of an `.xlsx`, `.tsv`, `.csv` or `.json` file as named cells.

An `.xlsx` file is a zip of XML. It is read here, cell by cell, because nothing else of the package needs a spreadsheet
library. Files come from elsewhere: their sizes are bounded, and XML with a document type is refused.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

from vlfeedback.compact import read_json
from vlfeedback.errors import DataError

Cells = dict[str, Any]
"""A row: by column, text, numbers, truth values or None."""

MOST_BYTES = 1 << 30
"""Of one part of a spreadsheet, unpacked."""

SUFFIXES = (".xlsx", ".tsv", ".csv", ".json")

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def read_table(path: Path) -> list[Cells]:
    """Rows of a table in the order of the file.

    Args:
        path: `.xlsx` (its first sheet), `.tsv`, `.csv`, or `.json` (a list of objects, or an object of columns).
    Raises:
        DataError: it is damaged, empty, or none of these.
    """
    try:
        match path.suffix.lower():
            case ".xlsx":
                rows = list(_spreadsheet(path))
            case ".tsv" | ".csv":
                rows = _separated(path)
            case ".json":
                rows = _json(path)
            case other:
                raise DataError(f"{path}: {other or 'a file without ending'} is no table; give {', '.join(SUFFIXES)}.")
    except DataError:
        raise
    except Exception as error:  # what `zipfile` and its unpackers raise for damaged bytes is nowhere written down
        raise DataError(
            f"{path} is damaged ({str(error) or type(error).__name__}). Copy it again from where it was written."
        ) from error
    if not rows:
        raise DataError(f"{path} has no rows.")
    return rows


def _separated(path: Path) -> list[Cells]:
    csv.field_size_limit(1 << 30)  # pictures stand in such tables as text
    text = path.read_text(encoding="utf-8-sig")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    return [{str(name): value for name, value in row.items()} for row in reader]


def _json(path: Path) -> list[Cells]:
    found = read_json(path.read_text(encoding="utf-8"))
    if isinstance(found, dict):  # columns
        columns = {name: _listed(values) for name, values in cast("dict[str, Any]", found).items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in cast("list[Any]", found)):
        raise ValueError("it is no list of objects")
    return cast("list[Cells]", found)


def _listed(values: Any) -> list[Any]:
    if isinstance(values, dict):
        return list(cast("dict[str, Any]", values).values())
    if isinstance(values, list):
        return cast("list[Any]", values)
    raise ValueError("its columns are no lists")


def _spreadsheet(path: Path) -> Iterator[Cells]:
    with zipfile.ZipFile(path) as book:
        texts = _shared(book)
        sheet = _first_sheet(book)
        heads: dict[int, str] = {}
        for row in _part(book, sheet).iter(f"{_MAIN}row"):
            cells = {place: value for place, value in _cells(row, texts) if value is not None}
            if not heads:
                heads = {place: str(value) for place, value in cells.items()}
            elif cells:
                yield {name: cells.get(place) for place, name in heads.items()}


def _first_sheet(book: zipfile.ZipFile) -> str:
    names = [name for name in book.namelist() if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", name)]
    if not names:
        raise ValueError("it has no sheet")
    return min(names, key=lambda name: int("".join(filter(str.isdigit, name))))


def _part(book: zipfile.ZipFile, name: str) -> ElementTree.Element:
    if book.getinfo(name).file_size > MOST_BYTES:
        raise ValueError(f"{name} has more than {MOST_BYTES >> 30} GiB")
    content = book.read(name)
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError(f"{name} declares a document type, which no spreadsheet program writes")
    return ElementTree.fromstring(content)


def _shared(book: zipfile.ZipFile) -> list[str]:
    name = "xl/sharedStrings.xml"
    if name not in book.namelist():
        return []
    return [_text(one) for one in _part(book, name).findall(f"{_MAIN}si")]


def _text(element: ElementTree.Element) -> str:
    """Text of a cell, its formatted runs together; phonetic notes are no part of it."""
    runs = [*element.findall(f"{_MAIN}t"), *element.findall(f"{_MAIN}r/{_MAIN}t")]
    text = "".join(run.text or "" for run in runs)
    # Characters that XML cannot hold are written as _x000D_.
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda found: chr(int(found[1], 16)), text)


def _cells(row: ElementTree.Element, texts: list[str]) -> Iterator[tuple[int, Any]]:
    place = -1
    for cell in row.findall(f"{_MAIN}c"):
        named = re.match(r"[A-Z]+", cell.get("r", ""))
        place = _column(named[0]) if named else place + 1
        yield place, _value(cell, texts)


def _column(letters: str) -> int:
    place = 0
    for letter in letters:
        place = 26 * place + ord(letter) - 64
    return place - 1


def _value(cell: ElementTree.Element, texts: list[str]) -> Any:
    kind, inner = cell.get("t", "n"), cell.find(f"{_MAIN}v")
    if kind == "inlineStr":
        inline = cell.find(f"{_MAIN}is")
        return None if inline is None else _text(inline)
    if inner is None or inner.text is None:
        return None
    match kind:
        case "s":
            return texts[int(inner.text)]
        case "b":
            return inner.text == "1"
        case "n":
            found = float(inner.text)
            return int(found) if found.is_integer() and "." not in inner.text else found
        case "e":
            return None  # an error of a formula is no value
        case _:
            return inner.text
