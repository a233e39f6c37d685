"""What a section of the page is made of; all text here is plain and is escaped where it is shown."""

from __future__ import annotations

from dataclasses import dataclass

from vlfeedback.report._canvas import Figure
from vlfeedback.report._read import MADE_BY, Artefacts


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text.

    Attributes:
        columns: Headings; one that starts with `#` heads numbers and is shown without it.
        rows: Cells, as many per row as columns.
        caption: Above it; empty for none.
        folded: Shown closed, to be opened by the reader.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's text in a case.

    Attributes:
        who: Whose it is.
        text: As received.
        note: Ratings or the verdict, in words.
        good: Whether the note is good news; None if neither.
        details: Longer remarks, such as the judge's rationales.
    """

    who: str
    text: str
    note: str = ""
    good: bool | None = None
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in the page.

    Attributes:
        data: `data:` URL, empty where the picture could not be shown; `alt` then says why.
        width: Pixels of what is shown.
        pixelated: Small pictures are enlarged without smoothing, so that the reader sees what the model saw.
    """

    data: str
    alt: str
    width: int = 0
    pixelated: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A question with its pictures and several replies."""

    title: str
    prompt: str
    pictures: tuple[Picture, ...]
    replies: tuple[Reply, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One named section of the page.

    Attributes:
        key: Anchor.
        title: Its name.
        lead: What it shows, in words.
        missing: What to do where there is nothing to show yet; empty otherwise.
        notes: Below everything, small.
    """

    key: str
    title: str
    lead: str = ""
    figure: Figure | None = None
    tables: tuple[Table, ...] = ()
    cases: tuple[Case, ...] = ()
    missing: str = ""
    notes: tuple[str, ...] = ()


def waiting(run: Artefacts, key: str, title: str, table: str) -> Section:
    """A section whose table is not there yet or has no rows."""
    command = f"vlfeedback {MADE_BY[table]} DIR"
    state = f"The table {table} is empty" if run.has(table) else f"There is no table {table} yet"
    return Section(key, title, missing=f"{state}: {command} makes it (DIR is this folder).")
