"""Figures to the last digit that the official scripts print, whatever the version of Python."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from vlfeedback.commands.score import score
from vlfeedback.evaluate import _digits, _llava_bench_result, _mme_result, _mmvet_result, _pope_result
from vlfeedback.evaluate._mmvet_files import Grade
from vlfeedback.evaluate._mmvet_result import score_grades


def test_sums_run_from_left_to_right() -> None:
    assert _digits.added([0.1] * 10) == 0.9999999999999999
    assert math.fsum([0.1] * 10) == 1.0  # what `sum` gives since Python 3.12


@pytest.mark.parametrize(("value", "shown"), [(49.45, 49.4), (0.35, 0.4), (36.25, 36.2), (24.75, 24.8), (0.0, 0.0)])
def test_numbers_are_rounded_as_numpy_does(value: float, shown: float) -> None:
    assert _digits.rounded(value, 1) == shown


def test_mmvet_prints_what_the_official_script_prints(tmp_path: Path) -> None:
    # One hundred questions with 49.5 and 49.4 points: 49.45, which formatting rounds to 49.5.
    grades = {f"v1_{n}": [Grade(0.5)] * 2 for n in range(218)}
    grades |= {f"v1_{n}": [Grade(0.45), Grade(0.44)] for n in range(10)}
    needs = {name: ["rec"] if int(name[3:]) < 100 else ["ocr", "math"] for name in grades}
    found = score_grades(grades, needs)
    assert found.capabilities["rec"] == pytest.approx(49.45)
    assert f"{found.capabilities['rec']:.1f}" == "49.5"
    assert found.printed["capabilities"] == {"math": 50.0, "ocr": 50.0, "rec": 49.4}
    assert found.printed["combinations"]["rec"] == 49.4 and len(found.printed["runs"]) == 2
    assert found.to_json()["printed"] == found.printed


def _mme(folder: Path) -> list[Path]:
    for task, pictures in (("posters", 147), ("celebrity", 170), ("count", 30), ("position", 30)):
        says = [("yes" if n % 2 else "no", "no" if n % 8 else "yes") for n in range(pictures)]
        rows = [(n, *row) for n, said in enumerate(says) for row in zip(("Yes", "No"), said, strict=True)]
        lines = (f"{n}.jpg\tIs it {truth}?\t{truth}\t{said}\n" for n, truth, said in rows)
        (folder / f"{task}.txt").write_text("".join(lines))
    return [folder]


def _pope(folder: Path) -> list[Path]:
    for step, split in ((3, "adversarial"), (5, "popular"), (11, "random")):
        rows = [
            {"question_id": n, "image": f"{n // 6}", "text": "?", "label": ("yes", "no")[n % 2],
             "answer": "No" if n % step == 0 else "Yes"}
            for n in range(31)
        ]  # fmt: skip
        (folder / f"{split}.json").write_text("\n".join(map(json.dumps, rows)))
    return sorted(folder.glob("*.json"))


def _mmvet(folder: Path) -> list[Path]:
    tenths = [n % 11 / 10 for n in range(218)]
    grades = {f"v1_{n}": {"model": ["g"], "content": [str(one)], "score": [one]} for n, one in enumerate(tenths)}
    (folder / "caps.jsn").write_text(json.dumps({name: ["rec"] for name in grades}))
    (folder / "g.json").write_text(json.dumps(grades))
    return [folder / "g.json"]


def _llava_bench(folder: Path) -> list[Path]:
    rows = [{"question_id": n, "category": "conv", "content": f"8.{n % 10} 6.{n % 7}"} for n in range(60)]
    (folder / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return [folder / "r.jsonl"]


@pytest.mark.parametrize("make", [_mme, _pope, _mmvet, _llava_bench])
def test_figures_do_not_depend_on_how_python_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    paths = make(tmp_path)
    caps = tmp_path / "caps.jsn"

    def found() -> dict[str, Any]:
        return score(make.__name__[1:], paths, capabilities=caps if caps.exists() else None).to_json()

    before = found()
    for module in (_mme_result, _pope_result, _mmvet_result, _llava_bench_result):
        monkeypatch.setattr(module, "sum", _corrected, raising=False)
    assert found() == before


def _corrected(values: Any, start: float = 0) -> Any:
    """`sum` since Python 3.12, which keeps track of what rounding lost."""
    listed = list(values)
    return math.fsum(listed) + start if any(isinstance(one, float) for one in listed) else sum(listed, start)
