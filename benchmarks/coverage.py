"""Do the intervals hold what they promise? Simulated benchmarks, the truth known, the real functions of `stats`.

    python benchmarks/coverage.py [--trials 2000] [--seed 0] [--only TEXT] [--out FOLDER]

A case is a population of units (pictures or questions, each with the values of two models) from which a benchmark of
the real one's size is drawn anew in every trial; what is true of the population is known exactly. Three questions:

* coverage: how often does the 95 % interval hold the truth (totals of one model, differences of two with 10, 20 and
  40 % of their items changed, without and with a real gain of half the detectable size)? Trials in which the tool
  prints no interval because too few items changed are left out and their share is given. Must be 93 to 97 %.
* two sampled generations of one model: how often does the interval tell them apart? 3 to 7 %; the p-value at most so.
* a real gain of the detectable size (2.8 standard errors): how often is it found? 75 to 85 %.

Writes `coverage.json` and `coverage.md`; exit code 1 if a line is outside its bounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "intervals"))
from cases import BENCHMARKS, Benchmark, Floats, Pair, Setting

from vlfeedback import stats

RESULTS = Path(__file__).parent / "results"
POOL = 20_000
"""Units of a population, per stratum."""

FLIPS = 2_000
"""Drawn sign flips of a p-value that is not counted out: a fifth of the tool's, for speed; intervals need none."""

BOUNDS = {"coverage": (0.93, 0.97), "told apart": (0.03, 0.07), "found": (0.75, 0.85)}

# ── populations ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Population:
    """All units that could have been drawn, by stratum, and what is true of them."""

    benchmark: Benchmark
    strata: list[Pair]
    truth: Pair = field(init=False)
    se: float = field(init=False)
    changed: float = field(init=False)

    def __post_init__(self) -> None:
        self.truth = Pair(*(np.array(self._result(side)) for side in (0, 1)))
        squares = [self._deviations(one).var() / n for one, n in zip(self.strata, self.benchmark.sizes, strict=True)]
        self.se = float(np.sqrt(sum(squares)))
        self.changed = float(np.mean([np.mean(one.old != one.new) for one in self.strata]))

    @property
    def difference(self) -> float:
        """What the second model gains."""
        return float(self.truth.new - self.truth.old)

    def _result(self, side: int) -> float:
        if self.benchmark.f1:
            over, under = f1_parts(self.strata[0][side])
            return float(over.sum() / under.sum())
        return float(sum(one[side].mean() for one in self.strata))

    def _deviations(self, one: Pair) -> Floats:
        """Per unit, what the difference of the results is a mean of."""
        if not self.benchmark.f1:
            return (one.new - one.old).mean(1)
        parts = [f1_parts(side) for side in (one.new, one.old)]
        return np.asarray(
            sum(
                sign * ((over - over.sum() / under.sum() * under) / under.mean()).mean(1)
                for sign, (over, under) in zip((1, -1), parts, strict=True)
            )
        )


def f1_parts(coded: Floats) -> tuple[Floats, Floats]:
    """2 · true positives, and yes said + yes true."""
    said, true = coded // 2, coded % 2
    return 2 * said * true, said + true


def population(benchmark: Benchmark, setting: Setting, *, fair: bool = False) -> Population:
    """A population, the same for the same setting; `fair` adds every unit with its models exchanged."""
    strata: list[Pair] = []
    for number in range(len(benchmark.sizes)):
        made = benchmark.draw(np.random.default_rng([7, number]), number, POOL, setting)
        if fair:
            made = Pair(np.vstack([made.old, made.new]), np.vstack([made.new, made.old]))
        strata.append(made)
    return Population(benchmark, strata)


def solved(find: Callable[[float], float], target: float, high: float) -> float:
    """The argument between 0 and `high` at which a rising function meets the target, by bisection."""
    low = 0.0
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if find(middle) < target else (low, middle)
    return high


def with_changes(benchmark: Benchmark, share: float) -> float:
    """Share of answers given anew at which so many differ."""
    return solved(lambda anew: population(benchmark, Setting(anew, 0)).changed, share, 1.0)


def with_gain(benchmark: Benchmark, anew: float, errors: float = stats.POWER) -> Setting:
    """A gain of so many of its own standard errors."""

    def size(gain: float) -> float:
        found = population(benchmark, Setting(anew, gain))
        return abs(found.difference) / found.se

    return Setting(anew, solved(size, errors, 6.0))


# ── trials ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Sample(NamedTuple):
    """One drawn benchmark, item by item, as the tool gets it."""

    new: list[float]
    old: list[float]
    clusters: list[str] | None
    strata: list[str] | None


def samples(found: Population, trials: int, rng: np.random.Generator) -> Iterator[Sample]:
    """Draw benchmarks of the real size."""
    sizes = found.benchmark.sizes
    width = found.strata[0].old.shape[1]
    clusters = [str(unit) for unit in range(sum(sizes)) for _ in range(width)] if width > 1 else None
    strata = [str(k) for k, n in enumerate(sizes) for _ in range(n)] if len(sizes) > 1 else None
    for _ in range(trials):
        picks = [rng.integers(0, len(one.old), n) for one, n in zip(found.strata, sizes, strict=True)]
        old, new = (
            np.concatenate([one[side][pick].ravel() for one, pick in zip(found.strata, picks, strict=True)]).tolist()
            for side in (0, 1)
        )
        yield Sample(new, old, clusters, strata)


def one_model(benchmark: Benchmark, sample: Sample) -> stats.Estimate:
    """The tool's estimate of the first model's result."""
    if benchmark.f1:
        return stats.ratio(*_parts(sample.old), clusters=sample.clusters)
    return stats.mean(sample.old, clusters=sample.clusters, strata=sample.strata)


def two_models(benchmark: Benchmark, sample: Sample) -> stats.Difference:
    """The tool's difference of the second from the first."""
    if benchmark.f1:
        return stats.paired_ratio(_parts(sample.new), _parts(sample.old), clusters=sample.clusters, resamples=FLIPS)
    return stats.paired(sample.new, sample.old, clusters=sample.clusters, strata=sample.strata, resamples=FLIPS)


def _parts(coded: list[float]) -> tuple[list[float], list[float]]:
    over, under = f1_parts(np.array(coded))
    return over.tolist(), under.tolist()


def measure(question: str, found: Population, trials: int, rng: np.random.Generator) -> dict[str, float]:
    """Run the trials of one line."""
    held = beyond = small = printed = 0
    for sample in samples(found, trials, rng):
        if question == "total":
            one, truth, p = one_model(found.benchmark, sample), float(found.truth.old), 1.0
        else:
            one = two_models(found.benchmark, sample)
            truth, p = found.difference, one.p
        small += p < 0.05
        if one.low is not None and one.high is not None and one.method != "exact":
            printed += 1
            held += one.low <= truth <= one.high
            beyond += not one.low <= 0 <= one.high
    return {
        "interval_given": printed / trials, "covers": held / max(1, printed),
        "excludes_zero": beyond / max(1, printed), "p_below_0.05": small / trials,
    }  # fmt: skip


def lines(benchmark: Benchmark) -> Iterator[tuple[str, str, Callable[[], Population]]]:
    """(kind, what is simulated, its population) of every line of a benchmark."""
    yield "coverage", "total", lambda: population(benchmark, Setting(0, 0))
    for share in (0.1, 0.2, 0.4):
        yield (
            "coverage",
            f"difference, {share:.0%} changed",
            lambda s=share: population(benchmark, Setting(with_changes(benchmark, s), 0), fair=True),
        )
        yield (
            "coverage",
            f"difference, {share:.0%} changed, real gain",
            lambda s=share: population(benchmark, with_gain(benchmark, with_changes(benchmark, s), stats.POWER / 2)),
        )
    yield "told apart", "two sampled generations", lambda: population(benchmark, Setting(1, 0), fair=True)
    yield (
        "found",
        "gain of the detectable size, 20% changed",
        lambda: population(benchmark, with_gain(benchmark, with_changes(benchmark, 0.2))),
    )


def run(trials: int, seed: int, only: str = "") -> Iterator[dict[str, Any]]:
    """All lines whose benchmark holds a text."""
    for place, benchmark in enumerate(BENCHMARKS):
        if only.lower() not in benchmark.name.lower():
            continue
        for number, (kind, what, make) in enumerate(lines(benchmark)):
            began, found = time.perf_counter(), make()
            got = measure(what, found, trials, np.random.default_rng([seed, place, number]))
            low, high = BOUNDS[kind]
            # The tool's verdict is the interval's. The p-value of a rate is that of a sign test, a step function: it
            # may tell two equal models apart less often than one in twenty, never more often.
            value = got["covers"] if kind == "coverage" else got["excludes_zero"]
            good = low <= value <= high and (kind != "told apart" or got["p_below_0.05"] <= high)
            row = (
                {"benchmark": benchmark.name, "kind": kind, "what": what, "truth": found.difference, "se": found.se,
                 "changed": found.changed, "trials": trials, **got, "bounds": [low, high], "good": good}
            )  # fmt: skip
            told = (
                f"{benchmark.name}: {what}: {value:.1%} ({low:.0%} to {high:.0%}; {got['interval_given']:.0%} printed)"
            )
            print(f"{'pass' if good else 'MISS'}  {told}  {time.perf_counter() - began:.0f} s", flush=True)
            yield row


def markdown(rows: list[dict[str, Any]], command: str) -> str:
    """The lines as a table."""
    text = [
        f"Simulated with `{command}`. Shares of trials; bounds 93 to 97 % (covers), 3 to 7 % (told apart), 75 to 85 % "
        "(found).", "",
        "| benchmark | simulated | changed | interval given | covers | excludes 0 | p < 0.05 | |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        total = row["what"] == "total"
        cells = [
            row["benchmark"], row["what"], "" if total else f"{row['changed']:.0%}", f"{row['interval_given']:.1%}",
            f"{row['covers']:.1%}", "" if total else f"{row['excludes_zero']:.1%}",
            "" if total else f"{row['p_below_0.05']:.1%}", "pass" if row["good"] else "MISS",
        ]  # fmt: skip
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only benchmarks whose name holds this")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    command = " ".join(["python", "benchmarks/coverage.py", *sys.argv[1:]])
    asked.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for row in run(asked.trials, asked.seed, asked.only):
        rows.append(row)  # written as it goes, so that a long simulation can be stopped
        found = {"command": command, "rows": rows}
        (asked.out / "coverage.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (asked.out / "coverage.md").write_text(markdown(rows, command), encoding="utf-8")
    good = sum(row["good"] for row in rows)
    print(f"{good} of {len(rows)} lines within their bounds")
    sys.exit(0 if good == len(rows) else 1)


if __name__ == "__main__":
    main()
