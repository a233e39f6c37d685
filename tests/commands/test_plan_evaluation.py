"""The evaluation in a plan: counted item by item where the benchmark is here, by its known size where it is not."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from evaluate import copies
from rich.console import Console

from vlfeedback import config
from vlfeedback.commands.plan import Assumptions, plan, show
from vlfeedback.errors import ConfigError
from vlfeedback.ledger import Intent, Ledger, Settled
from vlfeedback.records import Generation, Usage

JUDGE = {"use": "openai", "model": "gpt-4o-2024-11-20"}
ASSUME = Assumptions(instruction=10, response=20, verdict=30, judged=200, asked_again=0.0, letters_per_token=4.0)


def settings(evaluate: dict[str, Any], images: Path | None = None, **more: Any) -> config.Settings:
    roots = {} if images is None else {"own": str(images)}
    data = {"train": {"model": "org/vlm"}, "images": roots, "evaluate": evaluate}
    return config.parse(data | more, "test")


def test_a_judged_benchmark_that_is_here_is_counted_and_priced_by_its_own_words(tmp_path: Path) -> None:
    copies.mmhal(tmp_path, questions=16)
    table = {"path": str(tmp_path), "images": "own", "runs": 2, "judge": JUDGE}
    control = [{"name": "dpo:shuffled", "set": {"pair.use": "shuffled"}}]
    found = plan(settings({"mmhal": table}, tmp_path / "pictures", control=control), assume=ASSUME)
    answers, grades = found.rows
    assert (answers.room, answers.benchmark, answers.host) == ("evaluate", "mmhal", "this machine")
    assert answers.calls == 16 * 3  # base, aligned and one control
    assert answers.output_tokens == 16 * 3 * 20 and answers.cost == 0
    assert (grades.room, grades.benchmark, grades.host) == ("grade", "mmhal", "api.openai.com")
    assert grades.calls == 16 * 3 * 2 == grades.output_tokens / 30
    assert grades.image_tokens == 0  # it sees texts only
    assert grades.input_tokens / grades.calls == pytest.approx((1_300 / 4) + 20, rel=0.3)
    assert grades.cost == pytest.approx((grades.input_tokens * 2.5 + grades.output_tokens * 10) / 1e6)
    assert found.cost == grades.cost
    assert (found.calls, found.evaluation_calls) == (0, 144)
    told = json.loads(json.dumps(found.to_json()))
    assert told["evaluation_calls"] == 144 and told["rows"][1]["benchmark"] == "mmhal"
    console = Console(width=200, file=io.StringIO(), record=True)
    show(found, console)
    text = console.export_text()
    assert "grade mmhal: gpt-4o-2024-11-20" in text and "144 calls of the evaluation" in text


def test_pictures_of_a_benchmark_are_taken_within_the_same_limits_as_by_a_run(tmp_path: Path) -> None:
    copies.mmhal(tmp_path, questions=16)
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    (tmp_path / "pictures").mkdir()
    for one in (tmp_path / "elsewhere").iterdir():
        (tmp_path / "pictures" / one.name).symlink_to(one)
    table = {"path": str(tmp_path), "images": "own", "judge": JUDGE}
    calls = [
        plan(settings({"mmhal": table}, tmp_path / "pictures", image_limits=limits)).evaluation_calls
        for limits in ({}, {"allow_outside": True}, {"allow_outside": True, "max_pixels": 10})
    ]
    assert calls == [2 * 2 * 96, 2 * 2 * 16, 2 * 2 * 96]


def test_a_benchmark_that_is_not_here_has_its_known_size_and_assumed_words() -> None:
    nowhere = {"path": "/nowhere", "images": "own", "judge_prompt": "/nowhere/eval_gpt4.py", "judge": JUDGE}
    found = plan(settings({"mmhal": nowhere, "mme": {"path": "/nowhere", "images": "own"}}), assume=ASSUME)
    calls = {(row.room, row.benchmark): row.calls for row in found.rows}
    assert calls == {("evaluate", "mmhal"): 192, ("grade", "mmhal"): 192, ("evaluate", "mme"): 2 * 2374}
    grades = next(row for row in found.rows if row.room == "grade")
    assert grades.input_tokens == 192 * (200 + 20)
    assert {"benchmark 'mmhal'", "judge prompt of 'mmhal'", "key for api.openai.com"} <= {
        one.what for one in found.missing
    }


def test_a_benchmark_of_unknown_size_is_said_and_not_taken_for_free() -> None:
    found = plan(settings({"rtvlm": {"path": "/nowhere", "images": "own", "judge": JUDGE}}))
    assert any("'rtvlm'" in warning and "cannot be counted" in warning for warning in found.warnings)


@pytest.mark.parametrize("where", ["judge", "upper"])
def test_an_unknown_price_is_refused(where: str) -> None:
    new = {"use": "openai", "model": "brand-new", "base_url": "https://api.example/v1"}
    judge = new if where == "judge" else JUDGE
    more: dict[str, Any] = {"upper": [new]} if where == "upper" else {}
    with pytest.raises(ConfigError, match="no price for 'openai:brand-new'"):
        plan(settings({"mmhal": {"path": "/nowhere", "images": "own", "judge": judge}}, **more))


def test_an_endpoint_that_answers_sees_the_pictures_and_is_paid(tmp_path: Path) -> None:
    copies.mmvet(tmp_path, questions=10)
    table = {"path": str(tmp_path), "images": "own", "runs": 5, "judge": JUDGE, "max_tokens": 7}
    found = plan(settings({"mmvet": table}, tmp_path / "pictures", upper=[JUDGE], train={}), assume=ASSUME)
    answers, grades = found.rows
    assert answers.calls == 10 and answers.image_tokens == 10 * 255 and answers.output_tokens == 70
    assert answers.cost > 0 and grades.calls == 50 and grades.output_tokens == 50 * 3  # the grader says a number
    assert found.viewers == {"api.openai.com": ("gpt-4o-2024-11-20",)}


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="imagse"):
        plan(settings({"mme": {"path": "/nowhere", "imagse": "own"}}))
    with pytest.raises(ConfigError, match="needs a judge"):
        plan(settings({"mmhal": {"path": "/nowhere", "images": "own"}}))


def test_what_a_ledger_measured_replaces_what_is_assumed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        for number in range(4):
            key = f"{number:032d}"
            ledger.intend([Intent(key, "openai:gpt-4o-2024-11-20", "{}", "grade", 1.0)])
            ledger.settle([Settled(key, Generation("4", "stop", usage=Usage(1000, 50)), 0.25)])
    found = plan(settings({"mmhal": {"path": "/nowhere", "images": "own", "judge": JUDGE}}), ledger=path, assume=ASSUME)
    grades = found.rows[-1]
    assert grades.measured and (grades.input_tokens, grades.output_tokens) == (192_000, 9_600)
    assert grades.cost == pytest.approx(192 * 0.25)


def test_the_demo_counts_its_own_benchmark() -> None:
    found = plan(settings({"pocket": {"images": 4}}, train={"use": "pocket", "model": "policy"}))
    assert [row.calls for row in found.rows] == [2 * 4 * 25]
