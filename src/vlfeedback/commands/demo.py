"""`vlfeedback demo`: the whole story in the pocket world, offline, through the same code as `vlfeedback run`."""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vlfeedback import config, tables
from vlfeedback.commands._terminal import say, table
from vlfeedback.config import Settings
from vlfeedback.errors import ConfigError
from vlfeedback.pipeline import Unanswered
from vlfeedback.records import Score
from vlfeedback.run_folder import RunFolder, told_when_unwritable

HEADLINES = ("perception", "cognition", "hallucination", "recall", "length", "refusal", "over_refusal")
"""Metrics of the table, in its order; what a benchmark does not have is left out."""

PAPER = {"perception": "+6.9 %", "cognition": "+9.5 %"}
"""Relative gains of Silkie over Qwen-VL-Chat on MME, as the paper reports them."""

QUICK: Mapping[str, Any] = {"source.0.scenes": 60, "evaluate.pocket.images": 12, "control": ()}
"""What `--quick` makes smaller; the story stays the same."""


@dataclass(frozen=True, slots=True)
class Line:
    """One metric: base, aligned, the strongest pool model, and every control's difference to base."""

    metric: str
    base: float
    aligned: float
    upper: float | None
    difference: str
    controls: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo shows at the end.

    Attributes:
        lines: Base against aligned, measured in this run.
        seconds: By the clock, all rooms together.
        calls_made: Calls of this command; 0 when it is run again.
        unanswered: Those of them without an answer.
    """

    run: Path
    report: Path
    lines: tuple[Line, ...]
    controls: tuple[str, ...]
    seconds: float
    calls_made: int
    calls_reused: int
    quick: bool
    interrupted: bool
    unanswered: tuple[Unanswered, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        named = ("seconds", "calls_made", "calls_reused", "quick", "interrupted")
        rows = [
            {"metric": one.metric, "base": one.base, "aligned": one.aligned, "upper": one.upper}
            | {"difference": one.difference, "controls": dict(one.controls)}
            for one in self.lines
        ]
        found: dict[str, Any] = {name: getattr(self, name) for name in named}
        found["unanswered"] = [one._asdict() for one in self.unanswered]
        return {"run": str(self.run), "report": str(self.report), **found, "rows": rows}


def settings(*, quick: bool = False, seed: int = 0) -> Settings:
    """The shipped run.toml of the demo.

    Args:
        quick: Fewer scenes and no controls.
        seed: Changes scenes, checkpoints and the order of training.
    """
    text = resources.files("vlfeedback").joinpath("pocket/demo.toml").read_text(encoding="utf-8")
    found = config.parse(tomllib.loads(text), "the demo's run.toml")
    if seed:
        found = config.changed(found, _seeded(found, seed), "--seed")
    return config.changed(found, QUICK, "--quick") if quick else found


def _seeded(found: Settings, seed: int) -> dict[str, Any]:
    changes: dict[str, Any] = {"source.0.seed": seed, "train.seed": seed, "train.options.seed": seed}
    changes |= {f"pool.{number}.seed": seed for number in range(len(found.pool))}
    changes |= {f"upper.{number}.seed": seed for number in range(len(found.upper))}
    return changes | {"evaluate.pocket.seed": seed}


def demo(out: Path, *, quick: bool = False, seed: int = 0, tell: Callable[[str], None]) -> DemoResult:
    """Run the whole story.

    Args:
        out: Run folder; an existing one of the demo is gone on with.
        quick: The same story smaller.
        seed: See `settings`.
        tell: Where to say what happens.
    Raises:
        ConfigError: `out` is a run folder of something else.
        DataError: `out` cannot be written.
    """
    from vlfeedback import pipeline
    from vlfeedback.pocket import oracle

    wanted = settings(quick=quick, seed=seed)
    with told_when_unwritable(out):
        again = (out / "run.toml").exists()
    if again and RunFolder.open(out).settings.title != wanted.title:
        raise ConfigError(f"{out} holds another run ({RunFolder.open(out).settings.title!r}): choose another --out.")
    began = time.monotonic()
    with oracle.serve() as url:
        tell(f"pocket judge listens on {url}")
        run = RunFolder(out, config.changed(wanted, {"judge.0.base_url": url}, "demo"), written=False)
        done = pipeline.run_rooms(run)
    seconds = time.monotonic() - began
    lines, controls = ((), ()) if done.interrupted else _lines(run)
    return DemoResult(
        out, out / "report.html", lines, controls, seconds, done.calls_made, done.calls_reused, quick, done.interrupted,
        done.unanswered,
    )  # fmt: skip


def _lines(run: RunFolder) -> tuple[tuple[Line, ...], tuple[str, ...]]:
    """The table of the end, from the tables of the run."""
    rows: list[dict[str, Any]] = json.loads((run.path / "comparisons.json").read_text(encoding="utf-8"))
    base = rows[0]["base"]
    names = list(dict.fromkeys(row["other"] for row in rows))
    aligned = f"{base}+{run.settings.train.name}"
    controls = tuple(f"{base}+{one.name}" for one in run.settings.control)
    upper = next((name for name in names if name not in {aligned, *controls}), None)
    scores = {(s.model, s.metric): s.value for s in tables.read(run.table("scores"), Score)}
    by = {(row["other"], row["metric"]): row for row in rows}
    lines = tuple(
        Line(
            metric,
            scores[base, metric],
            scores[aligned, metric],
            None if upper is None else scores.get((upper, metric)),
            _difference(by[aligned, metric]),
            {name.removeprefix(base + "+"): _difference(by[name, metric]) for name in controls if (name, metric) in by},
        )
        for metric in HEADLINES
        if (base, metric) in scores and (aligned, metric) in by
    )
    return lines, tuple(name.removeprefix(base + "+") for name in controls)


def _difference(row: Mapping[str, Any]) -> str:
    """`+12.3 [+4.0, +20.6]`, or `+12.3 (too few)` where too few items changed for an interval."""
    digits = 1 if abs(row["base_value"]) >= 10 else 3
    if row["ci_low"] is None:
        return f"{row['difference']:+.{digits}f} (too few)"
    return f"{row['difference']:+.{digits}f} [{row['ci_low']:+.{digits}f}, {row['ci_high']:+.{digits}f}]"


def show(done: DemoResult, console: Console) -> None:
    """Base against aligned, then the controls, then where to look."""
    if done.interrupted:
        console.print("Stopped. The same command goes on.", highlight=False)
        return
    console.print(_table(done.lines))
    if done.controls:
        console.print(_controls(done.lines, done.controls))
    console.print("Intervals are paired, 95 %; (too few): too few items changed for one.")
    console.print("Paper: Silkie over its base on MME; another model, another benchmark.")
    if done.quick:
        console.print("[bold]--quick[/bold]: few scenes, no controls; these figures mean less than those of the demo.")
    console.print(
        f"{done.seconds:.0f} s, {done.calls_made:,} calls made, {done.calls_reused:,} reused", highlight=False
    )
    say(console, f"report: {done.report}")


def _table(lines: Sequence[Line]) -> Table:
    columns = ("metric", "base", "aligned", "difference [95 %]", "change", "strongest", "paper")
    found = table("base against aligned (pocket world)", *columns)
    for one in lines:
        digits = 1 if abs(one.base) >= 10 else 3
        change = f"{(one.aligned - one.base) / one.base:+.1%}" if one.base else ""
        upper = "" if one.upper is None else f"{one.upper:.{digits}f}"
        values = (f"{one.base:.{digits}f}", f"{one.aligned:.{digits}f}", one.difference, change, upper)
        found.add_row(one.metric, *values, PAPER.get(one.metric, ""))
    return found


def _controls(lines: Sequence[Line], names: Sequence[str]) -> Table:
    found = table("controls: difference to base [95 %]", "metric", *names)
    for one in lines:
        found.add_row(one.metric, *(one.controls.get(name, "") for name in names))
    return found
