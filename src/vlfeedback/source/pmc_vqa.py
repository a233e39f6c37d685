"""PMC-VQA: multiple-choice questions on figures of biomedical papers.

Not seen: the data files. The layout is that of the release's own reader, CSV with `Figure_path`, `Caption`,
`Question`, `Choice A` to `Choice D` and `Anwser` (sic), each choice and the answer beginning with a letter and a colon,
and of public readers of its later versions: `Answer`, a letter or a text, and `Answer_label`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vlfeedback.source import Example, Found, Named, Reader
from vlfeedback.source._fields import named, optional_text, text
from vlfeedback.source._rows import Fields, Row, row_reader
from vlfeedback.source._table_rows import csv_rows

TESTED_ON: tuple[str, ...] = ()

_LETTER = re.compile(r"\s*[A-D]\s*:\s*")


def load(path: Path, *, choices: bool = True) -> Reader:
    """Read a file of PMC-VQA.

    Args:
        path: CSV, UTF-8.
        choices: Put the four choices behind the question, one a line.
    """

    def found_in(row: Row) -> Iterator[Found]:
        fields = row.fields
        offered = _choices(fields)
        answer = (optional_text(fields, "Answer", "Anwser") or "").strip()
        given = (optional_text(fields, "Answer_label") or "").strip()
        # an answer that is a letter may be a choice's text: `C` where choice B is "C"
        same = next((letter for letter, choice in offered.items() if answer and choice == f"{letter}: {answer}"), "")
        label = next((one for one in (given, same, answer, _letter(answer)) if one in offered), "")
        question = text(fields, "Question").strip()
        yield Found(
            record_id=optional_text(fields, "index", "") or row.name,
            prompt="\n".join([question, *offered.values()]) if choices else question,
            images=named(fields, "Figure_path"),
            reference=offered.get(label, answer) or None,
        )

    return row_reader(lambda: csv_rows(path, ","), found_in)


def _letter(answer: str) -> str:
    """The letter with which an answer begins, as in `B: Focal`."""
    return answer.lstrip()[:1] if _LETTER.match(answer) else ""


def _choices(fields: Fields) -> dict[str, str]:
    """The choices by letter, each as `A: text`."""
    found: dict[str, str] = {}
    for letter in "ABCD":
        choice = optional_text(fields, f"Choice {letter}")
        if choice is not None:
            found[letter] = f"{letter}: {_without_letter(choice, letter)}"
    return found


def _without_letter(choice: str, letter: str) -> str:
    """A choice without its own letter at its beginning; one further in (`Hepatitis B: chronic`) is its text."""
    begins = _LETTER.match(choice)
    return (choice[begins.end() :] if begins and begins[0].lstrip().startswith(letter) else choice).strip()


EXAMPLES = (
    Example(
        {
            "train.csv": "Figure_path,Question,Answer,Choice A,Choice B,Answer_label\n"
            "f1.jpg,What is shown? ,Bone, A:Skin , B:Bone ,B\n"
        },
        "train.csv",
        (Found("line 2", "What is shown?\nA: Skin\nB: Bone", (Named("f1.jpg"),), reference="B: Bone"),),
    ),
    Example(
        {
            "test.csv": "Figure_path,Caption,Question,Choice A,Choice B,Anwser\n"
            "f1.jpg,A scan.,What is shown? , A:Skin , B:Bone , B:Bone \n"
        },
        "test.csv",
        (Found("line 2", "What is shown?\nA: Skin\nB: Bone", (Named("f1.jpg"),), reference="B: Bone"),),
    ),
    Example(
        {
            "panels.csv": "Figure_path,Question,Answer,Choice A,Choice B,Choice C,Choice D,Answer_label\n"
            "f1.jpg,Which panel?,C,A:D,B:C,C:A,D:B,B\n"
            "f1.jpg,Which vitamin?,C,A:D,B:C,C:A,D:B,\n"
        },
        "panels.csv",
        (
            Found("line 2", "Which panel?", (Named("f1.jpg"),), reference="B: C"),
            Found("line 3", "Which vitamin?", (Named("f1.jpg"),), reference="B: C"),
        ),
        {"choices": False},
    ),
    Example(
        {"train_2.csv": "index,Figure_path,Question,Choice A,Choice B,Answer\n8,f1.jpg,What is shown?,Skin,Bone,A\n"},
        "train_2.csv",
        (Found("8", "What is shown?", (Named("f1.jpg"),), reference="A: Skin"),),
        {"choices": False},
    ),
)
