"""The simulation of `benchmarks/coverage.py`: a small one always, the full one among the slow tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def simulation() -> Any:
    spec = importlib.util.spec_from_file_location("coverage_simulation", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["MME cognition", "MM-Vet total", "MMHal average", "POPE F1"])
def test_a_small_simulation_holds_loose_bounds(simulation: Any, name: str) -> None:
    benchmark = next(one for one in simulation.BENCHMARKS if one.name == name)
    anew = simulation.with_changes(benchmark, 0.2) if name != "POPE F1" else 0.5
    cases = {
        "total": (simulation.Setting(0, 0), "covers", 0.86),
        "difference": (simulation.Setting(anew, 0.1), "covers", 0.86),
        "told apart": (simulation.Setting(1, 0), "p_below_0.05", 0.0),
    }
    for what, (setting, key, low) in cases.items():
        found = simulation.population(benchmark, setting, fair=what == "told apart")
        got = simulation.measure(what, found, 60, np.random.default_rng(5))
        assert low <= got[key] <= (0.14 if what == "told apart" else 1.0), (what, got)


def test_what_is_true_of_a_population_is_what_large_benchmarks_show(simulation: Any) -> None:
    for benchmark in simulation.BENCHMARKS:
        found = simulation.population(benchmark, simulation.Setting(0.4, 0.3))
        rng = np.random.default_rng(2)
        seen = [simulation.two_models(benchmark, one).value for one in simulation.samples(found, 40, rng)]
        assert np.mean(seen) == pytest.approx(found.difference, abs=4 * found.se / 40**0.5), benchmark.name
        assert np.std(seen) == pytest.approx(found.se, rel=0.5), benchmark.name


@pytest.mark.slow
def test_every_line_of_the_simulation_is_within_its_bounds(simulation: Any) -> None:
    missed = [row for row in simulation.run(2000, 1) if not row["good"]]
    assert not missed, missed
