"""The one sentence at the top, from paired differences where there are any."""

from __future__ import annotations

from typing import NamedTuple

from vlfeedback.report._numbers import bracket, count, percent, plain, signed
from vlfeedback.report._pairs import Pairs
from vlfeedback.report._read import Artefacts
from vlfeedback.report._scores import MetricResult, Results

FIRST = ("perception", "cognition")


class Headline(NamedTuple):
    """The sentence, and a second one that stands smaller below it."""

    main: str
    more: str


def headline(run: Artefacts, found: Results | None, formed: Pairs | None) -> Headline:
    """Say what came out, as far as the run has got."""
    if found is not None and found.cast.aligned is not None:
        said = [(one, sentence) for one in found.metrics if not one.part and (sentence := change(found, one))]
        if said:
            lead = [sentence for one, sentence in said if one.name in FIRST] or [said[0][1]]
            rest = [sentence for _, sentence in said if sentence not in lead]
            return Headline(_join(lead), _join(rest[:4]))
    return Headline(_progress(run, formed), "")


def change(found: Results, one: MetricResult) -> str:
    """How the aligned model differs from its base on one metric; empty where either lacks it.

    Without a paired interval the two results stand side by side and nothing is claimed.
    """
    cast, metric, digits = found.cast, one.metric, one.digits
    base = one.scores.get(cast.base) if cast.base is not None else None
    aligned = one.scores.get(cast.aligned) if cast.aligned is not None else None
    if base is None or aligned is None:
        return ""
    row = one.differences.get(aligned.model)
    if row is None:
        values = (plain(metric.factor * value, digits) for value in (base.value, aligned.value))
        return f"{metric.label} went from {next(values)} to {next(values)} {_unit(one)}"
    low, high = (None if end is None else metric.factor * end for end in (row.low, row.high))
    size = metric.factor * row.difference
    interval, unit = bracket(low, high, digits), metric.change_unit
    if low is None or high is None:
        return f"{metric.label} changed by {signed(size, digits)} {unit}, too few items for an interval"
    if low <= 0 <= high:
        return f"{metric.label} did not change beyond noise ({signed(size, digits)} {unit} {interval})"
    if size < 0:
        return f"{metric.label} fell by {plain(-size, digits)} {unit} {bracket(-high, -low, digits)}"
    return f"{metric.label} rose by {plain(size, digits)} {unit} {interval}"


def _unit(one: MetricResult) -> str:
    return "%" if one.metric.share else one.metric.unit


def _join(sentences: list[str]) -> str:
    """Sentences in one: the first as it is, the others after commas with a small first letter."""
    if not sentences:
        return ""
    parts = [sentences[0], *(part[:1].lower() + part[1:] for part in sentences[1:])]
    text = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"
    return f"{text}."


def _progress(run: Artefacts, formed: Pairs | None) -> str:
    """How far a run without results has got."""
    rows = {name: info.rows for name, info in run.infos().items()}
    if formed is not None and formed.possible:
        kept = formed.outcomes["kept"]
        return (
            f"{count(kept)} preference pairs ({percent(kept / formed.possible)} of {count(formed.possible)} possible) "
            f"from {count(rows.get('responses', 0))} responses to {count(rows.get('instructions', 0))} instructions."
        )
    known = [f"{count(rows[name])} {name}" for name in ("instructions", "responses", "annotations") if name in rows]
    return f"{', '.join(known)} so far; no pairs yet." if known else "Nothing has been collected yet."
