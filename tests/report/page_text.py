"""A page taken apart with the standard library's parser, so that tests see what a browser sees."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "hr", "path", "use", "rect"}


class PageText(HTMLParser):
    """Sections with their text, tables as rows of cells, and every tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: dict[str, str] = {}
        self.tables: dict[str, list[list[list[str]]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._section = ""
        self._cell: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self._section = dict(attrs)["id"] or ""
            self.texts[self._section], self.tables[self._section] = "", []
        elif tag == "table":
            self.tables[self._section].append([])
        elif tag == "tr":
            self.tables[self._section][-1].append([])
        elif tag in ("td", "th"):
            self._cell = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "section":
            self._section = ""
        elif tag in ("td", "th") and self._cell is not None:
            self.tables[self._section][-1][-1].append(self._cell)
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._section:
            self.texts[self._section] += data
        if self._cell is not None:
            self._cell += data

    def rows(self, section: str, table: int = 0) -> dict[str, list[str]]:
        """Rows of a table by their first cell, the heading left out."""
        return {row[0]: row[1:] for row in self.tables[section][table][1:]}
