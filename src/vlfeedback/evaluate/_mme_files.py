"""MME's official files: one text file per subtask, lines `image ⇥ question ⇥ ground truth ⇥ response`, no header."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vlfeedback.errors import DataError
from vlfeedback.evaluate._read import short, text_of


@dataclass(frozen=True, slots=True)
class Line:
    """One question with a model's response.

    Attributes:
        truth: `yes` or `no`.
    """

    image: str
    question: str
    truth: str
    response: str


def read_folder(folder: Path, subtasks: Iterable[str]) -> dict[str, list[Line]]:
    """Read the files of a folder, by subtask; subtasks without a file are left out, other files are not looked at.

    Raises:
        DataError: there is no such folder, none of the files is there, or a line is not of the format.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder} is no folder. MME results are a folder with one text file per subtask, existence.txt …"
        )
    names = list(subtasks)
    found = {name: read_file(path) for name in names if (path := folder / f"{name}.txt").is_file()}
    if not found:
        raise DataError(f"{folder} holds none of {', '.join(f'{name}.txt' for name in names)}.")
    return found


def read_file(path: Path) -> list[Line]:
    """Read one subtask.

    Lines end with a line feed, CR LF or CR; other characters that Unicode calls line ends belong to the response.

    Raises:
        DataError: a line has not four columns, a truth is not yes or no, or the file is not UTF-8.
    """
    text = text_of(path)  # without a byte order mark, which would part the first picture's two lines
    lines = (
        text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    )  # as Python's text files, and the official script
    while lines and not lines[-1].strip():
        lines.pop()
    return [_line(path, number, line) for number, line in enumerate(lines, 1)]


def _line(path: Path, number: int, line: str) -> Line:
    columns = line.split("\t")
    if len(columns) != 4:
        raise DataError(
            f"{path} line {number} has {len(columns)} columns instead of 4 (image, question, ground truth, response). "
            "The official script refuses it as well: replace tabs and line breaks inside responses by blanks."
        )
    image, question, truth, response = columns
    if truth.lower() not in ("yes", "no"):
        raise DataError(f"{path} line {number}: the ground truth is {short(truth)}; it must be Yes or No.")
    return Line(image, question, truth.lower(), response)


def write_folder(folder: Path, lines: Mapping[str, Iterable[Line]]) -> None:
    """Write one file per subtask, as the official script reads them; two consecutive lines are one picture.

    Tabs and line breaks inside a response become one blank each, which moves no character that the parser looks at.

    Raises:
        DataError: an image name or a question holds a tab or a line break, or a subtask is no file name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    blanks = str.maketrans("\t\n\r", "   ")
    for subtask, listed in lines.items():
        if Path(subtask).name != subtask:
            raise DataError(f"{subtask!r} cannot be a subtask: it is no file name.")
        rows: list[str] = []
        for line in listed:
            if (line.image + line.question).translate(blanks) != line.image + line.question:
                raise DataError(f"{subtask}: the image name or question {line.image!r} holds a tab or a line break.")
            truth, response = line.truth.capitalize(), line.response.translate(blanks)
            rows.append(f"{line.image}\t{line.question}\t{truth}\t{response}\n")
        (folder / f"{subtask}.txt").write_bytes("".join(rows).encode("utf-8", "replace"))
