"""Sections on training, cost, what was dropped, and what the folder holds."""

from __future__ import annotations

from typing import Any

from vlfeedback.report._calls import Calls
from vlfeedback.report._figures_calls import cost_and_calls
from vlfeedback.report._figures_training import training_curves
from vlfeedback.report._numbers import count, money, plain
from vlfeedback.report._pairs import Pairs
from vlfeedback.report._read import Artefacts
from vlfeedback.report._section import Section, Table, waiting
from vlfeedback.report._training import Training, first, last

_LAST = (
    "logratios/chosen", "logratios/rejected", "rewards/margins", "rewards/accuracies",
)  # fmt: skip


def training_section(found: Training | None) -> Section:
    """Training curves with chosen and rejected log-ratios apart."""
    key, title = "training-curves", "Training curves"
    if found is None:
        return Section(
            key, title, missing="Nothing was trained yet: vlfeedback train DIR does it (DIR is this folder)."
        )
    rows = tuple(
        (
            found.word(log),
            count(int(last(log, "step") or len(log.rows))),
            plain(first(log, "loss"), 3),
            plain(last(log, "loss"), 3),
            *(plain(last(log, field), 3) for field in _LAST),
        )
        for log in (found.main, *found.others)
    )
    columns = (
        "Training", "#Steps", "#First loss", "#Last loss", "#Chosen log-ratio", "#Rejected log-ratio", "#Margin",
        "#Accuracy",
    )  # fmt: skip
    lead = (
        "A log-ratio is how much likelier (above 0) or less likely (below 0) training made a response, in nats. Both "
        "falling together is the known failure of DPO, which a margin alone does not show."
    )
    return Section(key, title, lead, training_curves(found), (Table(columns, rows),))


def cost_section(found: Calls | None, formed: Pairs | None) -> Section:
    """Cost and calls."""
    key, title = "cost-and-calls", "Cost and calls"
    if found is None or not found.rows:
        return Section(key, title, missing="The ledger holds no call yet: vlfeedback decode DIR makes the first ones.")
    rows = tuple(
        (
            row.purpose, row.model, count(row.calls), count(row.attempts), count(row.failed), count(row.input),
            count(row.cached), count(row.output), money(row.cost),
        )
        for row in found.rows
    )  # fmt: skip
    total = (
        "all", "", *(count(sum(getattr(row, name) for row in found.rows)) for name in
                     ("calls", "attempts", "failed", "input", "cached", "output")), money(found.cost),
    )  # fmt: skip
    columns = (
        "Purpose", "Model", "#Calls", "#Sent", "#Failed", "#Tokens in", "#of them cached", "#Tokens out", "#Cost",
    )  # fmt: skip
    kept = formed.outcomes["kept"] if formed is not None else 0
    lead = f"{count(sum(row.calls for row in found.rows))} calls, cost {money(found.cost)}"
    collecting = sum(row.cost for row in found.rows if row.purpose in ("decode", "annotate"))
    lead += f"; collecting cost {plain(collecting / kept, 5)} per kept pair." if kept else "."
    notes = ["Cost is in the currency of the price table. Local models cost nothing here; their time is not counted."]
    if found.unsure:
        notes.append(f"At most {money(found.unsure)} more may have been billed for calls whose end is unknown.")
    if found.shared:
        notes.append("The ledger is shared with other runs; the figures are of all of them.")
    return Section(key, title, lead, cost_and_calls(found), (Table(columns, (*rows, total)),), notes=tuple(notes))


def dropped_section(dropped: Any | None) -> Section:
    """Dropped records by room and reason."""
    key, title = "dropped-records", "Dropped records"
    if dropped is None:
        return Section(key, title, missing="No room has written what it dropped yet.")
    if dropped.is_empty():
        return Section(key, title, "No room has dropped a record.")
    rows = tuple((room, reason, count(number), detail) for room, reason, number, detail in dropped_rows(dropped))
    return Section(
        key, title, "Nothing vanishes: what a room did not hand on is listed here with its reason.",
        tables=(Table(("Room", "Reason", "#Records", "For example"), rows),),
    )  # fmt: skip


def dropped_rows(dropped: Any) -> list[tuple[str, str, int, str]]:
    """Room, reason, count and one detail, in the order of the rooms and then by count."""
    import polars as pl

    table = dropped.group_by("room", "reason", maintain_order=True).agg(
        number=pl.len(), detail=pl.col("detail").filter(pl.col("detail") != "").min()
    )
    order = {room: place for place, room in enumerate(dropped["room"].unique(maintain_order=True).to_list())}
    found = [(row[0], row[1], int(row[2]), row[3] or "") for row in table.iter_rows()]
    return sorted(found, key=lambda row: (order[row[0]], -row[2], row[1]))


def sources_section(run: Artefacts) -> Section:
    """Where the instructions come from."""
    key, title = "instructions", "Instructions"
    rows = source_rows(run)
    if not rows:
        return waiting(run, key, title, "instructions")
    columns = ("Source", "#Instructions", "#To train", "#To evaluate", "#With picture", "#Caution or refuse")
    return Section(key, title, tables=(Table(columns, tuple((row[0], *map(count, row[1:])) for row in rows)),))


def source_rows(run: Artefacts) -> list[tuple[str, int, int, int, int, int]]:
    """Per source: instructions, train, eval, with picture, with a conduct of caution or refuse; largest first."""
    import polars as pl

    table = run.frame("instructions", ["source", "split", "conduct", "images.list.element.sha256"])
    if table is None or table.is_empty():
        return []
    sums = table.group_by("source").agg(
        all=pl.len(),
        train=(pl.col("split") == "train").sum(),
        held=(pl.col("split") == "eval").sum(),
        seen=(pl.col("images").list.len() > 0).sum(),
        hostile=pl.col("conduct").is_in(["caution", "refuse"]).sum(),
    )
    return sorted(sums.iter_rows(), key=lambda row: (-row[1], row[0]))


def tables_section(run: Artefacts) -> Section:
    """What the folder holds, and the settings it was made with."""
    rows = tuple(
        (name, info.room, count(info.rows), "yes" if info.complete else "no, interrupted", info.digest[:16])
        for name, info in run.infos().items()
    )
    columns = ("Table", "Room", "#Rows", "Complete", "Digest")
    tables = [Table(columns, rows)] if rows else []
    settings = tuple((name, value) for name, value in run.settings_rows())
    if settings:
        tables.append(Table(("Setting", "Value"), settings, "Settings (run.toml)", folded=True))
    lead = (
        "Everything on this page is computed from the tables of the run folder; vlfeedback report DIR makes it again."
    )
    return Section("tables-and-settings", "Tables and settings", lead, tables=tuple(tables))
