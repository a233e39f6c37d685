"""What `vlfeedback score` says on the terminal: first what is wrong with a figure, then the figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape

from vlfeedback.commands._terminal import table
from vlfeedback.commands.score import Scored


def show(result: Scored, console: Console) -> None:
    """Figures to the last digit that the official script prints, intervals, and everything that makes them less."""
    found = result.to_json()
    for warning in result.warnings:
        loud = warning.startswith("INCOMPLETE")
        _say(console, warning if loud else f"note: {warning}", "bold" if loud else "")
    _TABLES[str(found["benchmark"])](found, console)
    counts = f"{found['n_present']:,} of {found['n_expected']:,} items present, {found['n_unparsable']:,} unreadable"
    failed = f", {found['n_failed']:,} without a reply" if "n_failed" in found else ""
    _say(console, f"{counts}{failed}; protocol {found['protocol']}.")
    if found.get("parsers_differ") is not None:
        other, share = _OTHER[found["benchmark"]], found["parsers_differ"]
        _say(console, f"The official and the {other} parser differ on {share:.1%} of the replies.")
    judges = ", ".join(found.get("judges", ()))
    if judges:
        days = " and ".join(dict.fromkeys(found.get("judged", ())[:: max(1, len(found.get("judged", ())) - 1)]))
        _say(console, f"judge: {judges}{f', {days}' if days else ''}")


def _say(console: Console, text: str, style: str = "") -> None:
    """A line as it is: names in it come from files and are no markup."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


_OTHER = {"mme": "lenient", "pope": "strict", "mmhal": "strict"}


def _mme(found: dict[str, Any], console: Console) -> None:
    totals = table(
        "", f"MME ({found['protocol']})", "score", "standard error", "95 % interval", "readable pictures only"
    )
    for area in ("perception", "cognition"):
        if found[area] is not None:
            cells = _digits(found[area], 2), _digits(found["se"][area], 1), _interval(found["ci"][area], 1)
            totals.add_row(area, *cells, _digits(found["readable"][area], 1))
    console.print(totals)
    rows = table("", "subtask", "score", "accuracy", "accuracy+", "images", "neither yes nor no")
    for name, one in found["subtasks"].items():
        shares = f"{one['accuracy']:.3f}", f"{one['accuracy_plus']:.3f}", str(one["images"]), f"{one['other_rate']:.1%}"
        rows.add_row(name, _digits(one["score"], 2), *shares)
    console.print(rows)


def _pope(found: dict[str, Any], console: Console) -> None:
    shown = {**found["splits"], "pooled": found["pooled"], "readable only": found["pooled_readable"]}
    rows = table("", f"POPE ({found['protocol']})", *map(escape, shown))
    for figure in ("accuracy", "precision", "recall", "f1", "yes_ratio"):
        rows.add_row(figure, *(_digits(one[figure], 4) for one in shown.values()))
    rows.add_row("answers", *(str(one["n"]) for one in shown.values()))
    for figure, words in (("se", "standard error of accuracy"), ("se_f1", "standard error of F1")):
        rows.add_row(words, *(_digits(one[figure], 4) for one in shown.values()))
    console.print(rows)
    _say(console, f"mean F1 of the splits: {_digits(found['mean_f1'], 4)}")


def _mmhal(found: dict[str, Any], console: Console) -> None:
    rows = table(
        "", f"MMHal-Bench ({found['protocol']})", "all replies", "readable only", "standard error", "95 % interval"
    )
    cells = _digits(found["average"], 2), _digits(found["average_readable"], 2), _digits(found["se"], 2)
    rows.add_row("average rating (0 to 6)", *cells, _interval(found["ci"], 2))
    rows.add_row(
        "hallucination rate", _digits(found["hallucination_rate"], 2), _digits(found["hallucination_rate_readable"], 2)
    )
    for name, value in found["per_type"].items():
        rows.add_row(f"  {escape(name)}", _digits(value, 2))
    console.print(rows)


def _mmvet(found: dict[str, Any], console: Console) -> None:
    printed = found["printed"]
    rows = table("", f"MM-Vet ({found['protocol']})", "score", "standard error", "95 % interval", "questions")
    rows.add_row("total", _digits(printed["total"], 1), _digits(found["se"], 1), _interval(found["ci"], 1))
    rows.add_row("  readable grades only", _digits(found["total_readable"], 1))
    for name, value in printed["capabilities"].items():
        rows.add_row(f"  {escape(name)}", _digits(value, 1), "", "", str(found["counts"][name]))
    for name, value in printed["combinations"].items():
        rows.add_row(f"  {escape(name.replace('_', ' + '))}", _digits(value, 1))
    console.print(rows)
    totals = ", ".join(_digits(run, 1) for run in printed["runs"])
    _say(console, f"runs: {totals}; standard deviation {_digits(printed['std'], 1)}")


def _llava_bench(found: dict[str, Any], console: Console) -> None:
    rows = table("", f"LLaVA-Bench ({found['protocol']})", "relative", "readable only", "standard error", "reviews")
    for name in found["relative"]:
        cells = (found["printed"][name], found["relative_readable"][name], found["se_by_category"][name])
        rows.add_row(escape(name), *(_digits(cell, 1) for cell in cells), str(found["counts"][name]))
    console.print(rows)


_TABLES: dict[str, Callable[[dict[str, Any], Console], None]] = {
    "mme": _mme,
    "pope": _pope,
    "mmhal": _mmhal,
    "mmvet": _mmvet,
    "llava_bench": _llava_bench,
}


def _digits(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(ends: tuple[float, float] | list[float] | None, digits: int) -> str:
    return "too few units" if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"
