from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

from vlfeedback.report._canvas import PALETTE, Figure, panel

NAME = 'a $x_2$ <b> id="q" #1f2328 --> &'


def draw(axes: Any) -> None:
    """A bar with a name full of traps."""
    axes.barh([0], [1], color=PALETTE[4].light)
    axes.set_yticks([0], [NAME])


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]


def test_names_are_drawn_as_they_are() -> None:
    drawn = panel("p", "Title", "says", draw)
    assert NAME in texts(drawn.svg)
    assert NAME in texts(drawn.inline)


def test_the_page_colours_drawings_by_its_own_variables() -> None:
    drawn = panel("p", "Title", "says", draw)
    tags = "".join(re.findall(r"<[^>]+>", drawn.inline))
    assert not re.search(r"#[0-9a-f]{6}", tags) and "var(--blue)" in tags and "var(--ink)" in tags
    assert 'aria-label="Title: says"' in drawn.inline
    assert PALETTE[4].light in drawn.svg and "var(" not in drawn.svg


def test_two_drawings_share_no_id_and_bring_no_style_sheet() -> None:
    both = [panel(name, "Title", "says", draw).svg for name in ("one", "two")]
    first, second = (set(re.findall(r'\bid="([^"]+)"', "".join(re.findall(r"<[^>]+>", svg)))) for svg in both)
    assert first and not first & second
    for svg, key in zip(both, ("one", "two"), strict=True):
        assert "<style" not in svg and "<metadata" not in svg
        assert all(target.startswith(f"{key}-") for target in re.findall(r"url\(#([^)]+)\)", svg))


def test_a_figure_lays_its_panels_side_by_side() -> None:
    drawn = panel("p", "A < B", "says", draw, height=100)
    root = ElementTree.fromstring(Figure("name", "Title", (drawn,) * 4).file())
    inner = [element for element in root if element.tag.endswith("}svg")]
    assert [element.get("y") for element in inner] == ["68", "68", "68", "220"]
    assert len({element.get("x") for element in inner}) == 3
    width = float(root.get("width") or 0)
    assert all(float(one.get("x") or 0) + 340 <= width for one in inner)


def test_equal_drawings_are_equal_files() -> None:
    assert panel("p", "t", "s", draw).svg == panel("p", "t", "s", draw).svg
