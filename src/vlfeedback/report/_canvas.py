"""Panels: small drawings of one width that read at the size of a phone, and figures made of them.

A panel is drawn by matplotlib with its text kept as text. Inside the page its colours become CSS variables, so that it
follows the reader's light or dark setting; as a file it stands on white. No output depends on the time or the machine.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import io
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple, cast

WIDTH = 340
"""Pixels of a panel."""

FONTS = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
COLUMNS = 3
_GAP, _HEAD, _TITLE = 24, 40, 28


class Colour(NamedTuple):
    """A colour of the page: its CSS variable, and what stands for it on white and on black."""

    variable: str
    light: str
    dark: str


INK = Colour("--ink", "#1f2328", "#e6edf3")
QUIET = Colour("--quiet", "#59636e", "#9da7b1")
GRID = Colour("--grid", "#d8dee4", "#373e47")
GREY = Colour("--grey", "#8c959f", "#8b949e")
BLUE = Colour("--blue", "#0f6bd6", "#539bf5")
ORANGE = Colour("--orange", "#c4560f", "#f0883e")
GREEN = Colour("--green", "#2b8a4b", "#4fbf67")
PURPLE = Colour("--purple", "#7c4dd6", "#b392f0")
PALETTE = (INK, QUIET, GRID, GREY, BLUE, ORANGE, GREEN, PURPLE)
_VARIABLES = {colour.light: colour.variable for colour in PALETTE}
_LIGHT = re.compile("|".join(_VARIABLES))


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing.

    Attributes:
        title: Stands above it as text of the page.
        svg: A whole `<svg>` element with literal colours.
        height: Pixels; the width is `WIDTH`.
        says: What it shows, for readers that do not see it.
    """

    title: str
    svg: str
    height: int
    says: str

    @property
    def inline(self) -> str:
        """The drawing for the page, coloured by CSS variables."""
        svg = _in_tags(self.svg, lambda tag: _LIGHT.sub(lambda found: f"var({_VARIABLES[found[0]]})", tag))
        label = f'<svg role="img" aria-label="{escape(f"{self.title}: {self.says}")}" '
        return svg.replace("<svg ", label, 1)


@dataclass(frozen=True, slots=True)
class Figure:
    """Panels under one name, which is the file's name too."""

    name: str
    title: str
    panels: tuple[Panel, ...]

    def file(self) -> str:
        """All panels side by side on white, as a file of its own."""
        columns = min(COLUMNS, len(self.panels)) or 1
        rows = [self.panels[at : at + columns] for at in range(0, len(self.panels), columns)]
        parts, top = list[str](), _HEAD
        for row in rows:
            for column, panel in enumerate(row):
                left = _GAP + column * (WIDTH + _GAP)
                parts.append(_text(left, top + 16, 14, 600, panel.title))
                parts.append(panel.svg.replace("<svg ", f'<svg x="{left}" y="{top + _TITLE}" ', 1))
            top += _TITLE + max(panel.height for panel in row) + _GAP
        width = _GAP + columns * (WIDTH + _GAP)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" '
            f'height="{top}" viewBox="0 0 {width} {top}">\n<rect width="{width}" height="{top}" fill="#ffffff"/>\n'
            f"{_text(_GAP, 28, 17, 600, self.title)}\n" + "\n".join(parts) + "\n</svg>\n"
        )


def _text(x: int, y: int, size: int, weight: int, text: str) -> str:
    style = f"font: {weight} {size}px {FONTS}; fill: {INK.light}"
    return f'<text x="{x}" y="{y}" style="{style}">{escape(text)}</text>'


_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vlfeedback",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.parse_math": False,
    "axes.titlesize": 11,
    "axes.unicode_minus": True,
    "text.color": INK.light,
    "axes.labelcolor": QUIET.light,
    "axes.labelsize": 11,
    "axes.edgecolor": GRID.light,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID.light,
    "grid.linewidth": 0.8,
    "xtick.color": GRID.light,
    "ytick.color": GRID.light,
    "xtick.labelcolor": QUIET.light,
    "ytick.labelcolor": INK.light,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "lines.linewidth": 1.6,
    "figure.dpi": 72,
    "savefig.dpi": 72,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.04,
    "figure.constrained_layout.w_pad": 0.04,
}


@contextmanager
def _axes(height: int) -> Generator[tuple[Any, Any]]:
    """A fresh figure and its axes that no other drawing of the process can reach."""
    from matplotlib import rc_context, style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Sheet

    # The reader's own matplotlibrc must not change the report.
    with style.context("default"), rc_context(cast("Any", _SETTINGS)):
        sheet = Sheet(figsize=(WIDTH / 72, height / 72))
        FigureCanvasSVG(sheet)
        sheet.patch.set_alpha(0)
        axes = sheet.add_subplot()
        axes.patch.set_alpha(0)
        yield sheet, axes


def panel(name: str, title: str, says: str, draw: Callable[[Any], None], *, height: int = 210) -> Panel:
    """Draw one panel.

    Args:
        name: Unique in the page; keeps the ids of several drawings apart.
        title: See `Panel`.
        says: See `Panel`.
        draw: Draws on matplotlib axes.
        height: Pixels.
    """
    with _axes(height) as (sheet, axes):
        draw(axes)
        out = io.StringIO()
        sheet.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Panel(title, _tidy(out.getvalue(), name, height), height, says)


def _tidy(svg: str, name: str, height: int) -> str:
    """Leave of a matplotlib file what a page can take in: one element, its own ids, sizes in pixels, no style sheet."""
    body = svg[svg.index("<svg") :].rstrip()
    body = re.sub(r"<metadata>.*?</metadata>|<style type=\"text/css\">.*?</style>|<!--.*?-->", "", body, flags=re.S)
    key = re.sub(r"[^a-z0-9]+", "-", name.lower())

    def mend(tag: str) -> str:
        tag = re.sub(r"font-family: [^;\"]*; ?|font: (?=\d)", "", tag)
        tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)
        tag = tag.replace(' id="', f' id="{key}-').replace("url(#", f"url(#{key}-")
        return " ".join(tag.replace('xlink:href="#', f'xlink:href="#{key}-').split())

    body = re.sub(r">\s+<", ">\n<", _in_tags(body, mend))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{WIDTH}" '
        f'height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="{FONTS}" stroke-linejoin="round">'
    )
    return head + body[body.index(">") + 1 :]


def _in_tags(svg: str, change: Callable[[str], str]) -> str:
    """Change tags only, never the text between them: there stand names that others chose."""
    return re.sub(r"<[^>]+>", lambda found: change(found[0]), svg)
