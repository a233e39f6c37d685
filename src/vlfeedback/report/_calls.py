"""What the run's model calls used and cost, from the ledger, opened for reading only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

from vlfeedback.ledger import Ledger
from vlfeedback.records import Purpose
from vlfeedback.report._read import Artefacts

_ORDER = get_args(Purpose)


class CallRow(NamedTuple):
    """Calls of one model for one purpose.

    Attributes:
        calls: Questions that were answered, open or failed ones included.
        attempts: Times they were sent.
        failed: Questions without a reply.
        open: Questions sent and not answered when the ledger was read.
        input, cached, output, reasoning: Tokens as the endpoint counted them.
        cost: Price of replies, in the currency of the price table.
        unsure: Upper bound of what sends of unknown fate and open calls may have cost.
    """

    model: str
    purpose: str
    calls: int
    attempts: int
    failed: int
    open: int
    input: int
    cached: int
    output: int
    reasoning: int
    cost: float
    unsure: float


@dataclass(frozen=True, slots=True)
class Calls:
    """All rows, and whether other runs share the ledger."""

    rows: tuple[CallRow, ...]
    shared: bool

    @property
    def cost(self) -> float:
        """Price of all replies."""
        return sum(row.cost for row in self.rows)

    @property
    def unsure(self) -> float:
        """Upper bound of what may have been billed on top."""
        return sum(row.unsure for row in self.rows)


def ledger_path(run: Artefacts) -> Path:
    """Where the run's ledger lies: in the folder, or where `[ledger] path` says."""
    path = run.section("ledger").get("path")
    return run.path / "ledger.sqlite" if not path else run.path / Path(str(path)).expanduser()


def calls(run: Artefacts) -> Calls | None:
    """Sum up the ledger; None where there is none."""
    path = ledger_path(run)
    if not path.exists():
        return None
    with Ledger.open(path, write=False) as ledger:
        totals = ledger.totals()
    grouped: dict[tuple[str, str], list[Any]] = {}
    for total in totals:
        grouped.setdefault((total.purpose, total.model), []).append(total)
    rows = [
        CallRow(
            model=model,
            purpose=purpose,
            calls=sum(one.calls for one in group),
            attempts=sum(one.attempts for one in group),
            failed=sum(one.calls for one in group if one.state == "failed"),
            open=sum(one.calls for one in group if one.state == "intent"),
            input=sum(one.usage.input for one in group),
            cached=sum(one.usage.cached for one in group),
            output=sum(one.usage.output for one in group),
            reasoning=sum(one.usage.reasoning for one in group),
            cost=sum(one.cost for one in group if one.state != "intent"),
            unsure=sum(one.lost_cost + (one.cost if one.state == "intent" else 0.0) for one in group),
        )
        for (purpose, model), group in sorted(grouped.items(), key=lambda one: (_ORDER.index(one[0][0]), one[0][1]))
    ]
    return Calls(tuple(rows), shared=path.resolve().parent != run.path.resolve())
