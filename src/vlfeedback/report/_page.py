"""The page itself: one HTML file with style, drawings and pictures inside, and no script."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from vlfeedback import __version__
from vlfeedback.report._canvas import FONTS, PALETTE, Panel
from vlfeedback.report._headline import Headline
from vlfeedback.report._numbers import count
from vlfeedback.report._read import Artefacts
from vlfeedback.report._section import Section


def page(run: Artefacts, said: Headline, sections: Sequence[Section]) -> str:
    """Render the page of a run.

    Args:
        run: For its name, and for tables that were left incomplete.
        said: What stands at the top.
        sections: In order; the first one's figure is the main picture.
    """
    interrupted = [name for name, info in run.infos().items() if not info.complete]
    rows = {name: count(info.rows) for name, info in run.infos().items()}
    facts = [(rows[name], name) for name in ("instructions", "responses", "annotations", "pairs") if name in rows]
    return render(run.title, said, sections, interrupted, facts)


def render(
    title: str,
    said: Headline,
    sections: Sequence[Section],
    interrupted: Sequence[str] = (),
    facts: Sequence[tuple[str, str]] = (),
) -> str:
    """Render a page; everything that comes from data is escaped by the template engine.

    Args:
        title: Of the page.
        said: What stands at the top.
        sections: In order.
        interrupted: Tables that were left incomplete.
        facts: Numbers with what they count.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vlfeedback.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["drawing"] = _drawing
    return environment.get_template("template.html.j2").render(
        title=title,
        said=said,
        sections=sections,
        interrupted=interrupted,
        facts=facts,
        version=__version__,
        style=Markup(environment.get_template("style.css.j2").render(palette=PALETTE, fonts=Markup(FONTS))),
    )


def _drawing(panel: Panel) -> Markup:
    """A drawing as markup: matplotlib has escaped the text in it, and `Panel.inline` the words about it."""
    return Markup(panel.inline)
