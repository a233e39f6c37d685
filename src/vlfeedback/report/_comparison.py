"""A comparison of two runs as a page of its own: what `vlfeedback compare --json` says, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vlfeedback.report._headline import Headline
from vlfeedback.report._metrics import KNOWN, Metric
from vlfeedback.report._numbers import DASH, bracket, count, digits_for, p_value, plain, signed
from vlfeedback.report._section import Section, Table

_COLUMNS = ("Metric", "#First", "#Second", "#Difference", "#95 % interval", "#p", "#p, Holm", "#Detectable", "#n")

Found = Mapping[str, Any]


def comparison_headline(found: Found) -> Headline:
    """What the headline metrics say, or why there is no headline."""
    if found["refused"]:
        return Headline("No headline: too many items have no reply.", " ".join(f"{one}." for one in found["refused"]))
    said = list(found["headline"] or [])
    if not said:
        same = ", ".join(found["same"])
        return Headline(f"Every answer is the same in both ({same})." if same else "Nothing to compare.", "")
    return Headline(said[0], " ".join(said[1:]))


def comparison_sections(found: Found) -> list[Section]:
    """A section for every two models, and one for what was noticed."""
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in found["rows"]:
        pairs.setdefault((row["base"], row["other"]), []).append(row)
    sections: list[Section] = []
    for number, ((old, new), rows) in enumerate(pairs.items()):
        forms = [one for one in found["drift"] if (one["base"], one["other"]) == (old, new)]
        tables = [Table(_COLUMNS if not _seeded(rows) else (*_COLUMNS, "#Over seeds"), tuple(map(_cells, rows)))]
        if forms:
            tables.append(form_table(forms))
        lead = "" if found["refused"] else " ".join(row["says"] for row in rows if row["headline"])
        note = (
            "Intervals are 95 % and paired on the same items. Detectable: the smallest true difference that these "
            "items would show in 80 % of repetitions. Holm: corrected for all metrics of the headline. Longer answers "
            "alone move scores whose protocol reads the first characters; that is why the form stands here."
        )
        sections.append(Section(f"models-{number}", f"{old} → {new}", lead, tables=tuple(tables), notes=(note,)))
    noticed = [*found["notes"], *(f"{model}: answered every item alike in both" for model in found["same"])]
    if noticed:
        rows = tuple((one,) for one in noticed)
        sections.append(Section("noticed", "Noticed", tables=(Table(("What",), rows),)))
    return sections


def form_table(forms: Iterable[Mapping[str, Any]]) -> Table:
    """How the answers of two models differ in form."""
    columns = ("Benchmark", "Form of the answers", "#First", "#Second", "#Difference", "#95 % interval", "#n")
    return Table(columns, tuple(map(_form, forms)), "How the answers changed in form")


def _seeded(rows: Iterable[Mapping[str, Any]]) -> bool:
    return any(row["seeds"] for row in rows)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    metric = KNOWN.get(str(row["metric"]).partition("/")[0], Metric(""))
    factor = metric.factor if max(abs(row["base_value"]), abs(row["other_value"])) <= 1.5 else 1.0
    values = [factor * row[name] for name in ("base_value", "other_value")]
    digits = digits_for(*values)
    unit = " (%)" if factor > 1 else ""
    seeds = row["seeds"]
    return (
        f"{row['benchmark']}: {row['metric']}{unit}",
        *(plain(value, digits) for value in values),
        signed(factor * row["difference"], digits),
        _interval(row, factor, digits),
        p_value(row["p"]),
        DASH if row["p_holm"] is None else p_value(row["p_holm"]),
        DASH if row["mde"] is None else plain(factor * row["mde"], digits),
        count(row["n"]),
        *([_interval(seeds, factor, digits)] if seeds else []),
    )


def _form(one: Mapping[str, Any]) -> tuple[str, ...]:
    share = one["form"] != "length"
    factor, unit = (100.0, " (%)") if share else (1.0, "")
    values = (plain(factor * one["base_value"], 1), plain(factor * one["other_value"], 1))
    change = signed(factor * one["difference"], 1)
    return (one["benchmark"], f"{one['about']}{unit}", *values, change, _interval(one, factor, 1), count(one["n"]))


def _interval(row: Mapping[str, Any], factor: float, digits: int) -> str:
    low, high = (None if row[end] is None else factor * row[end] for end in ("ci_low", "ci_high"))
    return bracket(low, high, digits)
