"""The same model, adapters and pairs through TRL: `pytest -m peers`; its environment is made on first use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.peers
def test_losses_and_gradient_are_those_of_trl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import train_vs_trl as bench
    from shapes import Shape

    place = Path(os.environ.get("VLFEEDBACK_TRL", BENCHMARKS.parent / "build" / "trl"))
    one = bench.Bench(tmp_path, bench.Case("peers", Shape(2000, 290, 20, 1), 1, None), bench.environment(place))
    found = one.exactness()
    assert (found["rows"], found["trl_rows"]) == (1, 12)
    assert found["relative_gradient_error"] < 1e-4
    assert found["losses"].keys() == found["trl_losses"].keys() == {"sigmoid", "hinge", "ipo", "robust", "mpo"}
    for name, loss in found["losses"].items():
        assert loss == pytest.approx(found["trl_losses"][name], rel=1e-5), name
    assert len({round(loss, 4) for loss in found["losses"].values()}) == 5
    assert sys.executable != str(place / "bin" / "python")


def test_trl_is_timed_on_several_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step of a process is the slowest, and ours are means of many."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import train_vs_trl as bench

    assert all(3 <= case.theirs <= case.shape.instructions for case in (*bench.CASES, *bench.cases("2b")))
