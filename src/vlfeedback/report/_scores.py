"""Benchmark results of the run, sorted into base, aligned, controls and pool models."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vlfeedback.records import Score
from vlfeedback.report._metrics import HEADLINE, Metric, describe, rank
from vlfeedback.report._numbers import digits_for
from vlfeedback.report._read import Artefacts, Comparison

PAPER = {"perception": (1440.5, 1539.6), "cognition": (362.5, 397.1)}
"""MME totals of Qwen-VL-Chat and of Silkie in the first version of the paper (arXiv:2312.10665)."""

FEW, MOST = 6, 12
"""Panels of one figure: filled up to the first, never more than the second."""

CONTROL_WORDS = {
    "shuffled": "DPO, ratings shuffled",
    "blind": "DPO, image-blind",
    "longest": "DPO, longest as best",
    "strongest": "DPO, strongest as best",
    "best": "SFT on the best response",
}


@dataclass(frozen=True, slots=True)
class Cast:
    """Who is who among the evaluated models; each a `Score.model`.

    Attributes:
        base: The model before training, None where nothing was trained and compared.
        aligned: The model this run is about.
        controls: The other models trained from the same base.
        others: Models of the pool, best first on the leading metric.
    """

    base: str | None
    aligned: str | None
    controls: tuple[str, ...]
    others: tuple[str, ...]

    def word(self, model: str) -> str:
        """What a model is called in figures."""
        if model == self.base:
            return "base"
        if model == self.aligned:
            return "aligned"
        if self.base is not None and model.startswith(f"{self.base}+"):
            return variant_word(model[len(self.base) + 1 :])
        return model


@dataclass(frozen=True, slots=True)
class MetricResult:
    """All results of one metric.

    Attributes:
        scores: By model.
        differences: To the base, by model, where `comparisons.json` has them.
        part: Whether it is a part of a sum (`perception/existence`), too small to be read alone.
    """

    benchmark: str
    protocol: str
    name: str
    judge: str | None
    metric: Metric
    scores: dict[str, Score]
    differences: dict[str, Comparison]
    part: bool

    @property
    def digits(self) -> int:
        """Decimals that fit all its values."""
        factor = self.metric.factor
        return digits_for(*(factor * score.value for score in self.scores.values()))


@dataclass(frozen=True, slots=True)
class Results:
    """The scores of a run."""

    cast: Cast
    metrics: tuple[MetricResult, ...]

    @property
    def leading(self) -> tuple[MetricResult, ...]:
        """Metrics that are drawn: those of `HEADLINE`, and further ones where these are few."""
        whole = [one for one in self.metrics if not one.part]
        headline = [one for one in whole if one.name in HEADLINE]
        others = [one for one in whole if one.name not in HEADLINE]
        return tuple((headline + others[: max(0, FEW - len(headline))])[:MOST])


def variant_word(suffix: str) -> str:
    """Words for what follows the base's name and a plus sign: `dpo:shuffled` → `DPO, ratings shuffled`."""
    method, _, variant = suffix.partition(":")
    if variant in CONTROL_WORDS:
        return CONTROL_WORDS[variant]
    return f"{method.upper() if len(method) <= 4 else method}{', ' + variant if variant else ''}"


_Key = tuple[str, str, str, str | None]
"""Benchmark, protocol, metric, judge."""


def _told_apart(metric: Metric, key: _Key, keys: list[_Key]) -> Metric:
    """A label that says of which benchmark, protocol or judge it is, where there are several."""
    same = [other for other in keys if other[2] == key[2]]
    benchmarks = {other[0] for other in keys}
    marks = [key[0]] if len(benchmarks) > 1 else []
    marks += [key[1]] if len({other[1] for other in same if other[0] == key[0]}) > 1 else []
    marks += [str(key[3])] if len({other[3] for other in same if other[:2] == key[:2]}) > 1 else []
    return replace(metric, label=f"{metric.label}, {', '.join(marks)}") if marks else metric


def results(run: Artefacts) -> Results | None:
    """Read scores and comparisons; None where nothing was evaluated."""
    table = run.frame("scores")
    if table is None or table.is_empty():
        return None
    scores = [Score(**row) for row in table.to_dicts()]
    comparisons = run.comparisons()
    cast = _cast(scores, comparisons, run.trained_name)
    found: dict[_Key, list[Score]] = {}
    for score in scores:
        found.setdefault((score.benchmark, score.protocol, score.metric, score.judge), []).append(score)
    metrics = [
        MetricResult(
            *key,
            metric=_told_apart(describe(key[2], [score.value for score in group]), key, list(found)),
            scores={score.model: score for score in group},
            differences={
                row.other: row
                for row in comparisons
                if (row.benchmark, row.protocol, row.metric) == key[:3]
                and row.judge in (None, key[3])
                and row.base == cast.base
            },
            part="/" in key[2] and (*key[:2], key[2].partition("/")[0], key[3]) in found,
        )
        for key, group in found.items()
    ]
    metrics.sort(key=lambda one: (rank(one.name), one.benchmark, one.protocol, one.name))
    return Results(replace(cast, others=_best_first(cast.others, metrics)), tuple(metrics))


def _cast(scores: list[Score], comparisons: tuple[Comparison, ...], name: str) -> Cast:
    """Base and aligned by the naming of identities: aligned = base + "+" + how it was trained."""
    models = list(dict.fromkeys(score.model for score in scores))
    parents = {model: base for model in models if (base := _parent(model, models)) is not None}
    if parents:
        counts = {base: sum(1 for one in parents.values() if one == base) for base in parents.values()}
        base = max(counts, key=lambda one: counts[one])
    elif comparisons:
        base = comparisons[0].base
    else:
        return Cast(None, None, (), tuple(models))
    variants = [model for model, parent in parents.items() if parent == base]
    variants += [row.other for row in comparisons if row.base == base and row.other not in variants and not parents]
    aligned = min(dict.fromkeys(variants), key=lambda model: _aligned_rank(model, base, name), default=None)
    controls = tuple(model for model in dict.fromkeys(variants) if model != aligned)
    known = {base, aligned, *controls}
    return Cast(base, aligned, controls, tuple(model for model in models if model not in known))


def _parent(model: str, models: list[str]) -> str | None:
    """The longest other identity that this one continues after a plus sign."""
    candidates = [other for other in models if model.startswith(f"{other}+")]
    return max(candidates, key=len, default=None)


def _aligned_rank(model: str, base: str | None, name: str) -> tuple[bool, bool, str]:
    suffix = model.removeprefix(f"{base}+")
    return (suffix != name, ":" in suffix, suffix)


def _best_first(others: tuple[str, ...], metrics: list[MetricResult]) -> tuple[str, ...]:
    """Pool models, best first on the first metric that says which way is better."""
    for one in metrics:
        if one.metric.better != "neither" and any(model in one.scores for model in others):
            sign = -1 if one.metric.better == "higher" else 1
            return tuple(sorted(others, key=lambda m: (m not in one.scores, sign * _value(one, m), m)))
    return others


def _value(one: MetricResult, model: str) -> float:
    return one.scores[model].value if model in one.scores else 0.0


def relative_gain(old: float, new: float) -> float | None:
    """Gain as a share of the old value; None where the old value is not positive."""
    return (new - old) / old if old > 0 else None


def gap_closed(base: float, aligned: float, strongest: float) -> float | None:
    """Share of the distance between base and strongest pool model that training covered; None without a distance."""
    return (aligned - base) / (strongest - base) if strongest != base else None
