"""Tables on the terminal whose text wraps and is never cut off."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text


def table(title: str, *columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """An empty table.

    Args:
        title: Above it, on the left; empty for none.
        columns: Headings; long cells wrap.
        numbers: Those of the columns that hold numbers: set right, kept on one line.
    """
    found = Table(
        title=Text(title, style="table.title") if title else None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    for name in columns:
        if name in numbers:
            found.add_column(name, justify="right", no_wrap=True)
        else:
            found.add_column(name, overflow="fold")
    return found


def say(console: Console, text: str) -> None:
    """A line as it is, however long: names in it are no markup, and nobody has to join its halves."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def typed(path: Path) -> str:
    """A path as it is typed in a shell."""
    return shlex.quote(str(path))
