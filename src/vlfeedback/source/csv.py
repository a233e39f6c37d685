"""A CSV file with a header: your own data.

Tested on: `test_open.csv` and `test_close.csv` of SLAKE, and `safebench.csv` of FigStep.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vlfeedback.records import Dropped
from vlfeedback.source import Example, Found, Named, Reader
from vlfeedback.source._fields import FieldMap, mapped
from vlfeedback.source._fit import fitting
from vlfeedback.source._rows import Row, row_reader
from vlfeedback.source._table_rows import csv_rows

TESTED_ON: tuple[str, ...] = (
    "SLAKE test_open.csv",
    "SLAKE test_close.csv",
    "VisIT-Bench visit_fully_annotated_example.csv",
)


def load(
    path: Path,
    *,
    prompt: str = "prompt",
    image: str = "image",
    record_id: str = "id",
    category: str = "category",
    reference: str = "reference",
    conduct: str = "conduct",
    delimiter: str = ",",
) -> Reader:
    """Read a CSV file, one instruction a record; empty cells are missing.

    Args:
        path: UTF-8; cells with commas or line breaks in double quotes.
        prompt: Column with the prompt; the only one that must be there.
        image: Column with the path of a picture below the root; `""` if none has pictures.
        record_id: Column with the record's own id.
        category: Column with the kind of the instruction.
        reference: Column with a known good answer.
        conduct: Column with `answer`, `caution` or `refuse`.
        delimiter: One character; `";"` for what spreadsheets write where a comma is the decimal point.
            A first line `sep=;` in the file comes before it.
    Raises:
        ConfigError: the delimiter is not one character, or not that of the header; or no record has anything in the
            column of `image`; with the default, where another one seems to hold pictures.
    """
    fields_of = FieldMap(prompt, image, record_id, category, reference, conduct).stripped()

    def found_in(row: Row) -> Iterator[Found]:
        yield mapped(row, fields_of)

    return row_reader(lambda: fitting(csv_rows(path, delimiter, fields_of.prompt), fields_of, path), found_in)


EXAMPLES = (
    Example(
        {"a.csv": 'img_name,prompt,answer\nx/1.jpg,"How many, and\nwhere?",3\nx/2.jpg,,\n,Why?,\nx/3.jpg,What?\n'},
        "a.csv",
        (
            Found("line 3", "How many, and\nwhere?", (Named("x/1.jpg"),), reference="3"),
            Dropped("source", "line 4", "bad_record"),
            Found("line 5", "Why?"),
            Dropped("source", "line 6", "bad_record"),
        ),
        {"image": "img_name", "reference": "answer"},
    ),
    Example({"b.tsv": "\ufeffprompt\tid\nHi.\t7\n"}, "b.tsv", (Found("7", "Hi."),), {"delimiter": "\t"}),
)
