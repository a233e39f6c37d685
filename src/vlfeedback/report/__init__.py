"""Room 7: a run folder → `report.html`, `figures/`, and the dataset card `README.md`.

The report reads artefacts and nothing else: no room calls it, and a run folder is enough to make it again. It can be
made at any stage; a section without data says which command makes them. Equal folders give equal files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlfeedback.errors import DataError
from vlfeedback.report._calls import calls
from vlfeedback.report._canvas import Figure
from vlfeedback.report._card import card
from vlfeedback.report._cases import cases_section
from vlfeedback.report._comparison import comparison_headline, comparison_sections
from vlfeedback.report._examples import examples_section
from vlfeedback.report._headline import headline
from vlfeedback.report._page import page, render
from vlfeedback.report._pairs import pairs
from vlfeedback.report._pictures import Album
from vlfeedback.report._ratings import ratings
from vlfeedback.report._read import Artefacts
from vlfeedback.report._scores import results
from vlfeedback.report._sections_accounts import (
    cost_section,
    dropped_section,
    sources_section,
    tables_section,
    training_section,
)
from vlfeedback.report._sections_feedback import (
    histogram_section,
    length_section,
    models_section,
    pairs_section,
    position_section,
)
from vlfeedback.report._sections_results import controls_section, paper_section, results_section
from vlfeedback.report._training import training

__all__ = ["FIGURES", "write", "write_comparison"]

FIGURES = (
    "base_against_aligned", "controls", "rating_histograms", "rating_per_model", "rating_by_position", "pairs_kept",
    "chosen_against_rejected_length", "training_curves", "cost_and_calls",
)  # fmt: skip
"""Names of the figures: `figures/NAME.svg`."""


def write(run_dir: Path) -> Path:
    """Write `report.html`, `figures/*.svg` and `README.md` into a run folder.

    Args:
        run_dir: A run folder at any stage; it is read only, but for these files.
    Returns:
        Path of `report.html`, one file that needs no other.
    Raises:
        DataError: the folder is missing, a file in it is damaged, or the report cannot be written.
        LedgerError: the ledger is damaged.
    """
    run = Artefacts(run_dir)
    found, rated, formed, spent = results(run), ratings(run), pairs(run), calls(run)
    said, album = headline(run, found, formed), Album(run)
    sections = (
        results_section(run, found),
        paper_section(run, found),
        cases_section(run, found, album),
        controls_section(run, found),
        histogram_section(run, rated),
        models_section(run, rated),
        position_section(run, rated),
        examples_section(run, album),
        pairs_section(run, formed),
        length_section(run, formed),
        training_section(training(run)),
        cost_section(spent, formed),
        sources_section(run),
        dropped_section(run.dropped()),
        tables_section(run),
    )
    _write_figures(run_dir / "figures", [section.figure for section in sections if section.figure is not None])
    _replace(run_dir / "README.md", card(run, said, rated, formed))
    return _replace(run_dir / "report.html", page(run, said, sections))


def write_comparison(found: Mapping[str, Any], path: Path) -> Path:
    """Write a comparison of two runs as a page.

    Args:
        found: What `vlfeedback compare --json` prints.
        path: The file to write.
    Raises:
        DataError: it cannot be written.
    """
    first, second = ((side if isinstance(side, str) else ", ".join(side)) for side in (found["first"], found["second"]))
    return _replace(path, render(f"{first} | {second}", comparison_headline(found), comparison_sections(found)))


def _write_figures(folder: Path, figures: list[Figure]) -> None:
    """Write the figures there are, and take away those of an earlier report that have no data any more."""
    drawn = {figure.name: figure for figure in figures}
    for name in FIGURES:
        if name in drawn:
            _replace(folder / f"{name}.svg", drawn[name].file())
        else:
            (folder / f"{name}.svg").unlink(missing_ok=True)


def _replace(path: Path, text: str) -> Path:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(f"{path} could not be written ({error}). Free some disk space first.") from error
    return path
