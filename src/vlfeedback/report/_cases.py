"""Items on which training changed the answer: the three largest gains and the three largest losses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vlfeedback.ids import hash_id
from vlfeedback.ledger import Ledger
from vlfeedback.report._calls import ledger_path
from vlfeedback.report._metrics import Metric
from vlfeedback.report._numbers import count, plain
from vlfeedback.report._pictures import Album
from vlfeedback.report._read import Artefacts
from vlfeedback.report._scores import Results
from vlfeedback.report._section import Case, Reply, Section, Table, waiting

EACH = 3
SUMMED = ("perception", "cognition")
LONGEST = 1_500
"""Characters of a text that are shown."""


@dataclass(frozen=True, slots=True)
class Change:
    """One item of one metric, answered by base and aligned.

    Attributes:
        gain: Better by how much, in the metric's units; negative is worse.
        size: |gain| as a share of the metric's largest.
    """

    metric: Metric
    benchmark: str
    item_id: str
    cluster: str
    stratum: str
    base: dict[str, Any]
    aligned: dict[str, Any]
    gain: float
    size: float


class Asked(NamedTuple):
    """What a model was asked: its texts and the hashes of its pictures."""

    prompt: str
    hashes: tuple[str, ...]


def cases_section(run: Artefacts, found: Results | None, album: Album) -> Section:
    """Cases with pictures."""
    key, title = "cases", "Cases"
    if found is None or not run.has("item_scores"):
        return waiting(run, key, title, "scores" if found is None else "item_scores")
    if found.cast.base is None or found.cast.aligned is None:
        missing = "Cases need answers of a base and an aligned model: vlfeedback train DIR, then evaluate."
        return Section(key, title, missing=missing)
    changes = all_changes(run, found)
    gains, losses = pick([one for one in changes if one.gain > 0]), pick([one for one in changes if one.gain < 0])
    asked = _questions(run, [*gains, *losses])
    album.learn(sha for one in asked.values() for sha in one.hashes)
    cases = [_case("Gain", one, asked, album) for one in gains] + [_case("Loss", one, asked, album) for one in losses]
    lead = (
        f"{_number(len(gains), 'gain')} and {_number(len(losses), 'loss')}, the largest of each metric first and equal "
        "ones drawn by hash, one per part of the benchmark as far as there are enough."
    )
    return Section(key, title, lead, tables=(_tally(changes),), cases=tuple(cases))


def _number(number: int, word: str) -> str:
    plural = f"{word}es" if word.endswith("s") else f"{word}s"
    words = {0: f"No {word}", 1: f"One {word}", 2: f"Two {plural}", 3: f"Three {plural}"}[number]
    return words if word == "gain" else words.lower()


def all_changes(run: Artefacts, found: Results) -> list[Change]:
    """Every item and metric with a direction that both models have a value for, unchanged ones included."""
    import polars as pl

    cast = found.cast
    table = run.frame("item_scores")
    if table is None:
        return []
    flat = table.unnest("answer").filter(pl.col("value").is_not_null())
    keys = ["benchmark", "protocol", "metric", "item_id"]
    sides = [flat.filter(pl.col("model") == model) for model in (cast.base, cast.aligned)]
    joined = sides[0].join(sides[1], on=keys, suffix="_aligned", maintain_order="left")
    metrics = {(one.benchmark, one.protocol, one.name): one.metric for one in found.metrics}
    for benchmark, protocol, name in list(metrics):
        if name in SUMMED and (benchmark, protocol, "accuracy") in metrics:
            del metrics[benchmark, protocol, name]  # points of a picture's two questions; a case is about one
    rows: list[tuple[Metric, dict[str, Any], float]] = []
    largest: dict[tuple[str, str, str], float] = {}
    for row in joined.to_dicts():
        key = (row["benchmark"], row["protocol"], row["metric"])
        metric = metrics.get(key)
        if metric is not None and metric.better != "neither":
            gain = (row["value_aligned"] - row["value"]) * (1 if metric.better == "higher" else -1)
            largest[key] = max(largest.get(key, 0.0), abs(gain))
            rows.append((metric, row, gain))
    return [
        _change(metric, row, gain, largest[row["benchmark"], row["protocol"], row["metric"]])
        for metric, row, gain in rows
    ]


def _change(metric: Metric, row: dict[str, Any], gain: float, largest: float) -> Change:
    fields = ("text", "value", "finish", "call_key")
    return Change(
        metric, row["benchmark"], row["item_id"], row["cluster"], row["stratum"],
        base={name: row[name] for name in fields},
        aligned={name: row[f"{name}_aligned"] for name in fields},
        gain=gain,
        size=abs(gain) / largest if largest else 0.0,
    )  # fmt: skip


def pick(changes: Sequence[Change]) -> list[Change]:
    """The largest changes with another text, from different parts of the benchmark as far as there are enough."""
    ordered = sorted(
        (one for one in changes if one.base["text"] != one.aligned["text"]),
        key=lambda one: (-round(one.size, 9), hash_id("case", one.benchmark, one.item_id, one.metric.label)),
    )
    chosen: list[Change] = []
    for spread in (True, False):
        for one in ordered:
            fresh = all((one.benchmark, one.cluster) != (other.benchmark, other.cluster) for other in chosen)
            other_part = all((one.benchmark, one.stratum) != (other.benchmark, other.stratum) for other in chosen)
            if len(chosen) < EACH and fresh and (other_part or not spread):
                chosen.append(one)
    return chosen


def _questions(run: Artefacts, changes: Sequence[Change]) -> dict[str, Asked]:
    """What was asked, by call key, from the ledger; left out where the ledger does not have it."""
    path = ledger_path(run)
    if not path.exists() or not changes:
        return {}
    found: dict[str, Asked] = {}
    with Ledger.open(path, write=False) as ledger:
        for one in changes:
            for key in (one.base["call_key"], one.aligned["call_key"]):
                call = ledger.find(key) if key else None
                if call is not None:
                    found[key] = asked(call.request)
    return found


def asked(request: str) -> Asked:
    """Texts and picture hashes of a request as the ledger keeps it."""
    parts: list[list[str]] = json.loads(request).get("parts", [])
    texts = [value for kind, value in parts if kind == "text"]
    return Asked("\n".join(texts), tuple(value for kind, value in parts if kind == "image"))


def _case(word: str, one: Change, questions: dict[str, Asked], album: Album) -> Case:
    question = questions.get(one.base["call_key"]) or questions.get(one.aligned["call_key"])
    hashes = question.hashes if question else ()
    where = one.stratum.replace("_", " ") or one.benchmark
    prompt = question.prompt if question else f"The ledger does not hold the question of item {one.item_id}."
    return Case(
        f"{word}: {where}",
        clipped(prompt),
        tuple(album.picture(sha, f"Picture of item {one.item_id}") for sha in hashes),
        (
            Reply("base", clipped(one.base["text"]), _value(one.metric, one.base["value"]), one.gain < 0),
            Reply("aligned", clipped(one.aligned["text"]), _value(one.metric, one.aligned["value"]), one.gain > 0),
        ),
    )


def _value(metric: Metric, value: float) -> str:
    if metric.label.startswith("Accuracy") and value in (0, 1):
        return "right" if value else "wrong"
    size = metric.factor * value
    digits = 0 if size == int(size) else 1
    unit = "%" if metric.share else metric.unit
    return f"{metric.label.lower()} {plain(size, digits)}\N{NO-BREAK SPACE}{unit}"


def clipped(text: str, most: int = LONGEST) -> str:
    """A text for the page; a very long one says how much is left out."""
    return text if len(text) <= most else f"{text[:most]}… ({count(len(text) - most)} more characters)"


def _tally(changes: Sequence[Change]) -> Table:
    """Items that got better, worse, or stayed, per metric."""
    sums: dict[tuple[str, str], list[int]] = {}
    for one in changes:
        row = sums.setdefault((one.benchmark, one.metric.label), [0, 0, 0])
        row[0 if one.gain > 0 else 1 if one.gain < 0 else 2] += 1
    rows = tuple((f"{label}", *(count(number) for number in row), count(sum(row))) for (_, label), row in sums.items())
    return Table(("Metric", "#Items better", "#Items worse", "#Items as before", "#n"), rows)
