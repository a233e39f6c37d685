"""What a plan holds, and how it looks on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape

from vlfeedback.commands._terminal import table
from vlfeedback.preflight import Missing

HERE = "this machine"


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a plan takes for granted until it is measured; tokens unless said otherwise.

    Attributes:
        instruction: Text of an instruction.
        response: A response.
        rating: One rating with its rationale; the judge writes one per response and aspect.
        width: Pixels of a picture.
        height: Pixels of a picture.
        letters_per_token: Of the rubric's text.
        asked_again: Share of calls that are sent twice.
        latency: Seconds before the first token.
        speed: Tokens per second of one call at an endpoint.
        local_speed: Tokens per second of a local model, over its whole batch.
        kept_pairs: Share of all pairs that are neither tied nor incomplete (measured on the released data).
        bytes_per_token: On disk, ledger and tables together, after compression.
        bytes_per_call: On disk, besides its text.
        judged: A benchmark's question to its judge, without the answer, where its data are not here.
        verdict: A judge's reply on a benchmark.
    """

    instruction: float = 50
    response: float = 150
    rating: float = 67
    width: int = 1024
    height: int = 768
    letters_per_token: float = 4.45
    asked_again: float = 0.02
    latency: float = 2.0
    speed: float = 40.0
    local_speed: float = 1000.0
    kept_pairs: float = 0.793
    bytes_per_token: float = 6.0
    bytes_per_call: float = 700.0
    judged: float = 500
    verdict: float = 100

    def lines(
        self, looked: int = 0, complete: bool = False, pilot: int = 0, evaluated: bool = False
    ) -> tuple[str, ...]:
        """In words; what was looked at or measured is said instead of what is assumed.

        Args:
            looked: Instructions whose prompts and pictures were looked at, `complete` if these are all.
            pilot: Instructions of a pilot.
            evaluated: There are benchmarks.
        """
        instruction = (
            f"an instruction has {self.instruction:g} tokens of text and one picture of {self.width} × {self.height}"
        )
        if looked:
            which = f"all {looked:,} instructions" if complete else f"a sample of {looked:,} instructions"
            instruction = f"prompts and pictures have the lengths and sizes of {which}"
        lines = [instruction]
        if pilot:
            lines += [
                f"lengths, prices, latencies and repeated sends are those of a pilot on {pilot:,} instructions; the "
                "interval holds with 95 % if the rest is like it"
            ]
        else:
            lines += [
                f"a response has {self.response:g} tokens, a rating with its rationale {self.rating:g}, if that is "
                "allowed; --pilot 200 measures it",
                f"{self.asked_again:.0%} of the calls are sent twice; cached input is not counted on",
                f"a call takes {self.latency:g} s and {self.speed:g} tokens a second",
            ]
        if evaluated:
            lines += [
                f"an answer to a benchmark has {self.response:g} tokens and its judge's reply {self.verdict:g}, "
                f"if that is allowed; a question to that judge has {self.judged:g} where the benchmark is not here"
            ]
        return (
            *lines,
            f"a local model makes {self.local_speed:,.0f} tokens a second in all",
            f"{self.kept_pairs:.1%} of the pairs are neither tied nor incomplete (the released data's share)",
            f"{self.bytes_per_call:g} bytes on disk per call and {self.bytes_per_token:g} per token of text",
        )


@dataclass(frozen=True, slots=True)
class PlanRow:
    """The calls of one model in one room.

    Attributes:
        host: Who sees prompts and pictures.
        input_tokens: All input, pictures included where `image_tokens` is known.
        image_tokens: None where the price table does not say how the model counts pictures; then it is free.
        hours: If this model worked alone.
        measured: Lengths come from the ledger.
        benchmark: In `evaluate` (answers) and `grade` (their judge): which one.
    """

    room: str
    model: str
    host: str
    calls: int
    input_tokens: int
    image_tokens: int | None
    output_tokens: int
    cost: float
    hours: float
    measured: bool = False
    benchmark: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will take.

    Attributes:
        instructions: How many, or None where no source says and none could be counted.
        hours: Collecting only; endpoints work at the same time, local models one after the other.
        disk_bytes: Ledger and tables, without pictures and checkpoints.
        pairs: Expected training pairs.
        steps: Optimiser steps over all epochs.
        viewers: Models at each host that will see prompts and pictures.
        budget: Hard stop of the settings, if there is one.
        cost_low: Lower end of the 95 % interval of `cost`; None where nothing was measured.
        cost_high: Its upper end.
        spent: What the ledger has cost already; part of `cost` as far as these settings ask for those calls.
        pilot: Instructions of the pilot.
        warnings: Sources of which much cannot be used, benchmarks that could not be looked at, and what the pilot found
            to be otherwise than the price table says.
    """

    instructions: int | None
    sources: Mapping[str, int | None]
    rows: tuple[PlanRow, ...]
    currency: str
    cost: float
    hours: float
    disk_bytes: int
    pairs: int
    steps: int
    viewers: Mapping[str, tuple[str, ...]]
    missing: tuple[Missing, ...]
    assumptions: tuple[str, ...]
    budget: float | None = None
    cost_low: float | None = None
    cost_high: float | None = None
    spent: float = 0.0
    pilot: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def calls(self) -> int:
        """Calls of collecting."""
        return sum(row.calls for row in self.rows if not row.benchmark)

    @property
    def evaluation_calls(self) -> int:
        """Calls of the benchmarks, answers and their judges."""
        return sum(row.calls for row in self.rows if row.benchmark)

    @property
    def evaluation_hours(self) -> float:
        """Of the benchmarks, one after the other, each model answering before its judge is asked."""
        return sum(row.hours for row in self.rows if row.benchmark)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        more = {name: getattr(self, name) for name in ("calls", "evaluation_calls", "evaluation_hours")}
        return {**asdict(self), **more}


def _millions(tokens: int) -> str:
    return f"{tokens / 1e6:,.2f}"


def show(found: Plan, console: Console, target: str = "run.toml") -> None:
    """Print a plan for people."""
    count = "unknown" if found.instructions is None else f"{found.instructions:,}"
    sources = f"{len(found.sources):,} source{'' if len(found.sources) == 1 else 's'}"
    tested = f", and {found.evaluation_calls:,} calls of the evaluation" if found.evaluation_calls else ""
    console.print(f"[bold]{count} instructions[/bold] from {sources}, {found.calls:,} calls{tested}")
    heads = ("calls", "M tokens in", "pictures", "out", found.currency, "hours")
    rows = table("", "calls to", *heads, numbers=heads)
    for row in found.rows:
        pictures = "?" if row.image_tokens is None else _millions(row.image_tokens)
        mark = " *" if row.measured else ""
        tokens = (_millions(row.input_tokens), pictures, _millions(row.output_tokens))
        rows.add_row(
            f"{row.room}{' ' + row.benchmark + ':' if row.benchmark else ''} {row.model}{mark}",
            f"{row.calls:,}",
            *tokens,
            f"{row.cost:,.2f}",
            f"{row.hours:,.1f}",
        )
    console.print(rows)
    console.print(
        f"cost {found.currency} {found.cost:,.2f}{_bounds(found)}, collecting about {found.hours:,.1f} hours, "
        f"disk {found.disk_bytes / 1e9:,.2f} GB besides pictures and checkpoints"
    )
    if found.spent:
        console.print(f"the ledger has cost {found.spent:,.2f} so far; what it holds is not bought again")
    for warning in found.warnings:
        console.print(f"[bold]worth a look:[/bold] {escape(warning)}", soft_wrap=True, highlight=False)
    console.print(
        f"training on about {found.pairs:,} pairs in {found.steps:,} steps; its time is not estimated"
        + (f", evaluation about {found.evaluation_hours:,.1f} hours" if found.evaluation_calls else "")
    )
    if found.budget is not None and found.cost > found.budget:
        console.print(f"[bold]the budget of {found.budget:,.2f} is less than that: the run would stop early[/bold]")
    console.print("\n[bold]who will see prompts and pictures[/bold]")
    for host, models in found.viewers.items():
        console.print(f"  {host}: {', '.join(models)}", soft_wrap=True, highlight=False)
    console.print("\n[bold]assumed[/bold]" + ("  (* measured)" if _any_measured(found) else ""))
    for line in found.assumptions:
        console.print(f"  {line}", soft_wrap=True, highlight=False)
    useless = [name for name, number in found.sources.items() if number == 0]
    console.print("\n[bold]missing[/bold]" if found.missing or useless else "\nnothing is missing")
    for one in found.missing:
        console.print(f"  {one.what}: {one.where}", soft_wrap=True, highlight=False, markup=False)
    for name in useless:
        console.print(f"  usable records of source {name!r}: a run refuses one that has none", markup=False)
    if found.instructions is None and found.sources:
        console.print("  the number of instructions: add `sample = N` to each source, or put its file in place")
    ready = f"vlfeedback run {target} --limit 20" if not (found.missing or useless) else "put in place what is missing"
    console.print(f"\nnext: {ready}", soft_wrap=True, highlight=False)


def _bounds(found: Plan) -> str:
    if found.cost_low is None or found.cost_high is None:
        return ""
    return f" (95 %: {found.cost_low:,.2f} to {found.cost_high:,.2f})"


def _any_measured(found: Plan) -> bool:
    return any(row.measured for row in found.rows)
