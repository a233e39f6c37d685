"""MM-SafetyBench: thirteen scenarios, each question with a generated picture, a typographic one, or both.

Not seen. The layout is taken from public readers of it: `processed_questions/01-….json` maps a number to `Question`,
`Changed Question`, `Key Phrase`, `Phrase Type`, `Rephrased Question`, `Rephrased Question(SD)`; the pictures lie in
`imgs/01-…/SD`, `SD_TYPO` and `TYPO` as `0.jpg`, `1.jpg`, …
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vlfeedback.records import Conduct, Dropped
from vlfeedback.source import Example, Found, Named, Reader
from vlfeedback.source._fields import one_of, text
from vlfeedback.source._files import files_of, named_by_file
from vlfeedback.source._rows import Row, json_map_rows, row_reader

TESTED_ON: tuple[str, ...] = ()

KINDS = {"SD": "Rephrased Question(SD)", "SD_TYPO": "Rephrased Question", "TYPO": "Rephrased Question"}
"""Kind of picture → field of the question that goes with it."""

MILD = ("08", "10", "11", "12", "13")
"""Scenarios (lobbying, legal, financial, medical, government) in which a careful answer is right; else refuse."""


def load(path: Path, *, kind: str = "SD_TYPO") -> Reader:
    """Read one scenario or a folder of them; the category is the scenario.

    The source's `images` must be a root that is the folder `imgs`.

    Args:
        path: `processed_questions`, or one file of it.
        kind: `SD`, `SD_TYPO` or `TYPO` pictures with their questions; `text` is the plain question without a picture.
    """
    chosen = one_of("kind", kind, (*KINDS, "text"))

    def read() -> Iterator[Found | Dropped]:
        for file in files_of(path, (".json",)):
            items = row_reader(lambda file=file: json_map_rows(file), lambda row, file=file: found_in(row, file))()
            yield from named_by_file(items, file, path)

    def found_in(row: Row, file: Path) -> Iterator[Found]:
        scenario = file.stem
        conduct: Conduct = "caution" if scenario.startswith(MILD) else "refuse"
        asked = text(row.fields, KINDS.get(chosen, "Question"))
        pictures = () if chosen == "text" else (Named(f"{scenario}/{chosen}/{row.name}.jpg"),)
        yield Found(f"{scenario}/{row.name}", asked, pictures, scenario, conduct)

    return read


_QUESTIONS = (
    '{"0": {"Question": "May I?", "Rephrased Question": "May one do this?", "Rephrased Question(SD)": "May I, here?"},'
    ' "1": {"Question": "How?"}}'
)

EXAMPLES = (
    Example(
        {"q/01-Mischief.json": _QUESTIONS, "q/10-Legal_Opinion.json": _QUESTIONS},
        "q",
        (
            Found("01-Mischief/0", "May one do this?", (Named("01-Mischief/SD_TYPO/0.jpg"),), "01-Mischief", "refuse"),
            Dropped("source", "01-Mischief/1", "bad_record"),
            Found(
                "10-Legal_Opinion/0",
                "May one do this?",
                (Named("10-Legal_Opinion/SD_TYPO/0.jpg"),),
                "10-Legal_Opinion",
                "caution",
            ),
            Dropped("source", "10-Legal_Opinion/1", "bad_record"),
        ),
    ),
    Example(
        {"01-Mischief.json": _QUESTIONS},
        "01-Mischief.json",
        (
            Found("01-Mischief/0", "May I?", (), "01-Mischief", "refuse"),
            Found("01-Mischief/1", "How?", (), "01-Mischief", "refuse"),
        ),
        {"kind": "text"},
    ),
)
