"""Tables on the terminal whose text wraps and is never cut off."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table


def table(title: str, *columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """An empty table.

    Args:
        title: Above it, on the left; empty for none.
        columns: Headings; long cells wrap.
        numbers: Those of the columns that hold numbers: set right, kept on one line.
    """
    found = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        if name in numbers:
            found.add_column(name, justify="right", no_wrap=True)
        else:
            found.add_column(name, overflow="fold")
    return found
