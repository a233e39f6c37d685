"""The benchmarks that a run's settings name: loaded, with the judge of each and how answers are chosen."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from vlfeedback import config, registry
from vlfeedback.config import EvaluateTable
from vlfeedback.errors import ConfigError
from vlfeedback.evaluate import GREEDY, Benchmark, Decoding, Judged
from vlfeedback.models import Model
from vlfeedback.run_folder import RunFolder
from vlfeedback.run_models import Access


def say_what_is_missing(benchmark: Benchmark | Judged, items: int) -> None:
    """A benchmark of known size that has other items is scored, and nobody is to overlook it."""
    size = getattr(benchmark, "size", items)
    if items != size:
        text = f"INCOMPLETE: {benchmark.name} has {items:,} of its {size:,} questions here; not comparable with others."
        print(text, file=sys.stderr, flush=True)


def _content(path: object) -> str | None:
    """Digest of a judge prompt: an edited file under the same name is another prompt."""
    found = Path(path) if isinstance(path, str) else None
    return hashlib.sha256(found.read_bytes()).hexdigest() if found is not None and found.is_file() else None


class Grader(NamedTuple):
    """The judge of a benchmark.

    Attributes:
        clock: When the reply to a call came.
    """

    model: Model
    in_flight: int
    clock: Callable[[str], float | None]


class Test(NamedTuple):
    """A benchmark as these settings ask it."""

    benchmark: Benchmark | Judged
    judge: Grader | None
    decoding: Decoding


def described(table: EvaluateTable) -> list[Any]:
    """A benchmark's settings and judge prompt; runs from before answers could be sampled stay fresh."""
    found = table.model_dump(mode="json")
    if not table.temperature:
        for name in config.SAMPLED:
            del found[name]
    return [found, _content(table.options.get("judge_prompt"))]


def benchmarks_of(run: RunFolder, reach: Access) -> list[Test]:
    """The benchmarks of [evaluate], each with its judge."""
    if not run.settings.evaluate:
        raise ConfigError("there is no [evaluate.NAME] in run.toml: add a benchmark, such as [evaluate.mme].")
    found: list[Test] = []
    for name, table in run.settings.evaluate.items():
        plugin = registry.find("evaluate", table.use or name, allow_plugins=reach.allow_plugins)
        benchmark = registry.bind(plugin, table.options, f"[evaluate.{name}]", inject={"roots": run.roots})
        decoding = Decoding(table.temperature, table.top_p, table.sampling_seed) if table.temperature else GREEDY
        found.append(Test(benchmark, _grader(name, table, benchmark, reach), decoding))
    return found


def _grader(name: str, table: EvaluateTable, benchmark: Any, reach: Access) -> Grader | None:
    """The model of [evaluate.NAME.judge]; who trains a policy is not taken for its judge unasked."""
    where = f"[evaluate.{name}.judge]"
    if not isinstance(benchmark, Judged):
        if table.judge is not None:
            raise ConfigError(f"{where}: {benchmark.name} is scored without a judge; remove the table.")
        return None
    if table.judge is None:
        raise ConfigError(f'{benchmark.name} needs a judge: add {where} with use = "openai", model = "…".')
    model = reach.ledgered(reach.bare(table.judge, where))

    def clock(key: str) -> float | None:
        call = reach.book.ledger.find(key)
        return call.finished if call is not None else None

    return Grader(model, table.judge_in_flight, clock)
