"""Sections on benchmark results."""

from __future__ import annotations

from vlfeedback.records import Score
from vlfeedback.report._comparison import form_table
from vlfeedback.report._figures_scores import base_against_aligned, controls
from vlfeedback.report._numbers import DASH, bracket, count, p_value, percent, plain, signed
from vlfeedback.report._read import Artefacts, Comparison
from vlfeedback.report._scores import PAPER, MetricResult, Results, gap_closed, relative_gain
from vlfeedback.report._section import Section, Table, waiting

_RESULT_COLUMNS = (
    "Metric", "#Base", "#Aligned", "#Difference", "#95 % interval", "#p", "#Detectable", "#n",
    "#Strongest", "#Gap closed",
)  # fmt: skip


def results_section(run: Artefacts, found: Results | None) -> Section:
    """Base against aligned."""
    key, title = "base-against-aligned", "Base against aligned"
    if found is None:
        return waiting(run, key, title, "scores")
    cast = found.cast
    whole = tuple(_result_row(found, one) for one in found.metrics if not one.part)
    parts = tuple(_result_row(found, one) for one in found.metrics if one.part)
    tables = [Table(_RESULT_COLUMNS, whole)]
    if parts:
        tables.append(
            Table(_RESULT_COLUMNS, parts, "Parts of the sums; too few items each to be read alone", folded=True)
        )
    forms = [one for one in run.drift() if (one["base"], one["other"]) == (cast.base, cast.aligned)]
    if forms:
        tables.append(form_table(forms))
    tables.append(_all_scores(found))
    notes = [
        "Intervals are 95 %. A difference is paired: the same items, aligned minus base. Strongest: of the pool. Holm: "
        "p corrected for all metrics of the headline. Detectable: the smallest "
        "true difference that these items would show in 80 % of repetitions. Arrows: which way is better. Gap closed: "
        "how much of the way from the base to the strongest pool model training went, where these two differ beyond "
        "noise."
    ]
    said = [row.says for one in found.metrics if (row := one.differences.get(cast.aligned or "")) and row.says]
    if said:
        notes.insert(0, " ".join(said))
    if cast.aligned is not None and not any(one.differences for one in found.metrics):
        notes.append(
            "comparisons.json is missing, so no difference has an interval: vlfeedback evaluate DIR writes it."
        )
    lead = (
        f"Base: {cast.base}. Aligned: {cast.aligned}."
        if cast.aligned is not None
        else "No aligned model was evaluated."
    )
    if cast.others:
        lead += f" Strongest pool model: {cast.others[0]}."
    return Section(key, title, lead, base_against_aligned(found), tuple(tables), notes=tuple(notes))


def _result_row(found: Results, one: MetricResult) -> tuple[str, ...]:
    cast = found.cast
    base, aligned, best = (one.scores.get(m) if m else None for m in (cast.base, cast.aligned, _strongest(found, one)))
    row = one.differences.get(cast.aligned) if cast.aligned else None
    gap = (
        gap_closed(base.value, aligned.value, best.value)
        if base and aligned and best and _ahead(one, best, base)
        else None
    )
    unit = "%" if one.metric.share else one.metric.unit
    return (
        f"{one.metric.label} ({unit})",
        _score(one, base),
        _score(one, aligned),
        *_with_holm(difference_cells(one, row), row),
        count(row.n) if row else count(aligned.n) if aligned else DASH,
        _score(one, best),
        percent(gap, 0) if one.metric.better != "neither" else DASH,
    )


def _with_holm(cells: tuple[str, str, str, str], row: Comparison | None) -> tuple[str, ...]:
    """The cells of a difference, and below its p-value the one corrected for all metrics of the headline."""
    corrected = "" if row is None or row.p_holm is None else f"\nHolm {p_value(row.p_holm)}"
    return (*cells[:2], cells[2] + corrected, cells[3])


def _strongest(found: Results, one: MetricResult) -> str | None:
    return next((model for model in found.cast.others if model in one.scores), None)


def _ahead(one: MetricResult, best: Score, base: Score) -> bool:
    """Whether there is a gap that training could close: in the right direction and, where that is known, no noise."""
    row = one.differences.get(best.model)
    if row is not None and (row.low is None or row.high is None or row.low <= 0 <= row.high):
        return False
    return best.value > base.value if one.metric.better == "higher" else best.value < base.value


def _score(one: MetricResult, score: Score | None) -> str:
    if score is None:
        return DASH
    factor, digits = one.metric.factor, one.digits
    low, high = (None if end is None else factor * end for end in (score.ci_low, score.ci_high))
    interval = "" if low is None or high is None else f"\n{bracket(low, high, digits)}"
    return f"{plain(factor * score.value, digits)}{interval}"


def difference_cells(one: MetricResult, row: Comparison | None) -> tuple[str, str, str, str]:
    """Difference, interval, p-value and detectable difference of a comparison, in printed units."""
    if row is None:
        return (DASH, DASH, DASH, DASH)
    factor, digits = one.metric.factor, one.digits
    low, high = (None if end is None else factor * end for end in (row.low, row.high))
    mde = DASH if row.mde is None else plain(factor * row.mde, digits)
    return (signed(factor * row.difference, digits), bracket(low, high, digits), p_value(row.p), mde)


def _all_scores(found: Results) -> Table:
    """Every score as it is stored, with how many items had no verdict."""
    rows: list[tuple[str, ...]] = []
    for one in found.metrics:
        for model, score in one.scores.items():
            counts = (count(score.n), count(score.n_unparsable), count(score.n_failed))
            who = (model, score.judge or DASH)
            rows.append((f"{one.benchmark}, {one.protocol}", one.metric.label, *who, _score(one, score), *counts))
    columns = ("Benchmark, protocol", "Metric", "Model", "Judge", "#Value", "#n", "#Unparsable", "#Failed")
    return Table(columns, tuple(rows), "All scores", folded=True)


def paper_section(run: Artefacts, found: Results | None) -> Section:
    """The paper's relative gains beside this run's."""
    key, title = "beside-the-paper", "Beside the paper"
    if found is None:
        return waiting(run, key, title, "scores")
    rows = tuple(
        (name.capitalize(), *_own_gain(found, name), plain(old, 1), plain(new, 1), _gain(relative_gain(old, new)))
        for name, (old, new) in PAPER.items()
    )
    columns = (
        "Sum as in MME", "#Base", "#Aligned", "#Relative gain", "#95 % interval", "#n", "#Paper: base",
        "#Paper: Silkie", "#Paper: relative gain",
    )  # fmt: skip
    return Section(
        key,
        title,
        "Silkie improved on Qwen-VL-Chat by 6.9 % in perception and 9.5 % in cognition (arXiv:2312.10665).",
        tables=(Table(columns, rows),),
        notes=(
            "The interval is that of the paired difference over the base's value. The paper gives no intervals; its "
            "model, data, judge and items are others than this run's, so only the direction can be compared.",
        ),
    )


def _own_gain(found: Results, name: str) -> tuple[str, str, str, str, str]:
    """Base, aligned, relative gain, its interval and n of the first metric of that name."""
    one = next((one for one in found.metrics if one.name == name), None)
    base = one.scores.get(found.cast.base or "") if one else None
    aligned = one.scores.get(found.cast.aligned or "") if one else None
    if one is None or base is None or aligned is None:
        return (DASH, DASH, DASH, DASH, DASH)
    row = one.differences.get(aligned.model)
    interval = DASH
    if row is not None and row.low is not None and row.high is not None and base.value > 0:
        interval = f"{bracket(100 * row.low / base.value, 100 * row.high / base.value, 1)} %"
    gain = _gain(relative_gain(base.value, aligned.value))
    return (plain(base.value, 1), plain(aligned.value, 1), gain, interval, count(row.n if row else aligned.n))


def _gain(gain: float | None) -> str:
    return DASH if gain is None else f"{signed(100 * gain, 1)} %"


def controls_section(run: Artefacts, found: Results | None) -> Section:
    """Every variant's difference to the base."""
    key, title = "controls", "Controls"
    if found is None:
        return waiting(run, key, title, "scores")
    cast = found.cast
    variants = [model for model in (cast.aligned, *cast.controls) if model is not None]
    rows: list[tuple[str, ...]] = []
    for one in found.metrics:
        for model in [] if one.part else variants:
            row = one.differences.get(model)
            if row is not None or model in one.scores:
                value = _score(one, one.scores.get(model))
                cells = (cast.word(model), value, *difference_cells(one, row), count(row.n) if row else DASH)
                rows.append((one.metric.label, *cells))
    if not cast.controls:
        text = (
            "No control was trained: a [[control]] table in run.toml adds one; then vlfeedback train DIR and evaluate."
        )
        return Section(key, title, missing=text)
    columns = ("Metric", "Trained with", "#Value", "#Difference to base", "#95 % interval", "#p", "#Detectable", "#n")
    lead = (
        "The same training with one thing changed. Shuffled ratings and image-blind training should gain nothing; what "
        "they gain does not come from the judge's view of the picture."
    )
    numbers = Table(columns, tuple(rows), "All numbers", folded=True)
    note = "Cells: difference to the base and its paired 95 % interval; [too few] where too few items changed for one."
    return Section(key, title, lead, controls(found), (_overview(found, variants), numbers), notes=(note,))


def _overview(found: Results, variants: list[str]) -> Table:
    """One row per training, one column per metric: the difference to the base."""
    metrics = [one for one in found.leading if one.differences]
    rows: list[tuple[str, ...]] = []
    for model in variants:
        cells = [difference_cells(one, one.differences.get(model)) for one in metrics]
        rows.append((found.cast.word(model), *("\n".join(dict.fromkeys(cell[:2])) for cell in cells)))
    sizes = [max(row.n for row in one.differences.values()) for one in metrics]
    names = [
        f"#{one.metric.label} ({one.metric.change_unit}), n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{n}"
        for one, n in zip(metrics, sizes, strict=True)
    ]
    return Table(("Trained with", *names), tuple(rows))
