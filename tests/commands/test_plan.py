"""Plans: sums that can be checked by hand, without network, data or keys."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from in_process import command
from rich.console import Console

from vlfeedback import config
from vlfeedback.commands._plan_estimate import Measured
from vlfeedback.commands._plan_models import Past
from vlfeedback.commands._plan_world import Seen
from vlfeedback.commands.plan import Assumptions, Pilot, Plan, PlanRow, _disk, plan, show
from vlfeedback.config import PluginTable
from vlfeedback.errors import ConfigError, PluginError
from vlfeedback.images import Roots
from vlfeedback.ledger import Intent, Ledger, Settled
from vlfeedback.records import Generation, Usage
from vlfeedback.run_models import bare

SILKIE = Path(__file__).parents[2] / "configs" / "silkie.toml"


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def settings(**changes: Any) -> config.Settings:
    data = {
        "source": [{"use": "jsonl", "path": "/nowhere/data.jsonl", "sample": 1000}],
        "pool": [
            {"use": "openai", "model": "gpt-4o", "share": 0.8},
            {"use": "openai", "model": "mine", "base_url": "http://localhost:8000/v1"},
            {"use": "transformers", "model": "org/vlm"},
        ],
        "decode": {"k": 2},
        "judge": [{"use": "openai", "model": "gpt-4o-2024-11-20"}],
    }
    return config.parse(data | changes, "test")


def text_of(found: Plan) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    show(found, console)
    return console.export_text()


def test_the_papers_recipe_can_be_planned_without_anything_in_place() -> None:
    found = plan(config.load(SILKIE))
    assert found.instructions == 80_258
    assert len(found.sources) == 9
    assert found.calls == pytest.approx(80_258 * 5, abs=12)
    share = sum(row.calls for row in found.rows if row.room == "decode" and row.model.startswith("gpt-4o"))
    assert share / 80_258 == pytest.approx(0.8, abs=0.001)
    # the paper: 1,485 steps an epoch on 379,994 pairs
    assert found.pairs == pytest.approx(379_994, rel=0.001)
    assert found.steps == pytest.approx(4_455, abs=5)
    judging = next(row for row in found.rows if row.room == "annotate")
    assert judging.cost / 1.02 == pytest.approx(1_153, rel=0.02)  # the notes' arithmetic: 513 in, 640 out
    assert found.budget is not None
    assert found.cost < found.budget
    missing = {one.what for one in found.missing}
    assert {"source 'svit'", "images of root 'coco'", "benchmark 'mme'", "key for api.openai.com"} <= missing
    assert all(Path(one.where).is_absolute() for one in found.missing if "key" not in one.what)
    assert set(found.viewers) == {"api.openai.com", "gpu1", "gpu2", "gpu3", "gpu4"}
    json.dumps(found.to_json())
    assert "who will see prompts and pictures" in text_of(found)


def test_sums_by_hand() -> None:
    assume = Assumptions(instruction=10, response=20, rating=5, width=512, height=512, asked_again=0.0)
    found = plan(settings(), assume=assume)
    gpt, mine, local = (row for row in found.rows if row.room == "decode")
    assert (gpt.calls, mine.calls, local.calls) == (800, 600, 600)
    assert (gpt.input_tokens, gpt.image_tokens, gpt.output_tokens) == (800 * (10 + 255), 800 * 255, 800 * 20)
    assert gpt.cost == pytest.approx((800 * 265 * 2.5 + 800 * 20 * 10) / 1e6)
    assert (mine.cost, local.cost) == (0, 0)
    assert mine.host == "localhost (this machine)"
    assert local.host == "this machine"
    [judge] = (row for row in found.rows if row.room == "annotate")
    assert (judge.calls, judge.output_tokens) == (1000, 1000 * 5 * 2 * 3)
    assert found.cost == pytest.approx(gpt.cost + judge.cost)


def test_orders_limit_and_judges_multiply() -> None:
    once = plan(settings())
    twice = plan(settings(annotate={"orders": 2}))
    assert [row.calls for row in twice.rows if row.room == "annotate"] == [2000]
    assert twice.cost > once.cost
    assert plan(settings(limit=100)).instructions == 100
    two = plan(settings(judge=[{"use": "openai", "model": "gpt-4o"}, {"use": "openai", "model": "gpt-4o-2024-11-20"}]))
    assert sum(row.room == "annotate" for row in two.rows) == 2


def test_an_unknown_price_is_refused_and_a_stated_one_taken(tmp_path: Path) -> None:
    judge = [{"use": "openai", "model": "brand-new", "base_url": "https://api.example/v1"}]
    with pytest.raises(ConfigError, match="no price for 'openai:brand-new'"):
        plan(settings(judge=judge))
    table = tmp_path / "prices.toml"
    table.write_text('[models."brand-new"]\ninput = 1\noutput = 1\nimages = "llava-336"\n')
    found = plan(settings(judge=judge, prices={"path": str(table)}))
    assert found.rows[-1].cost > 0
    assert plan(settings(judge=[judge[0] | {"local": True}])).rows[-1].cost == 0


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="base_url"):
        plan(settings(judge=[{"use": "openai", "model": "gpt-4o", "base_ulr": "http://x/v1"}]))
    with pytest.raises(PluginError, match="openai"):
        plan(settings(judge=[{"use": "opnai", "model": "gpt-4o"}]))


def test_a_source_without_a_sample_is_counted_or_unknown(tmp_path: Path) -> None:
    unknown = plan(settings(source=[{"use": "llava", "path": "/nowhere/x.json"}]))
    assert unknown.instructions is None
    assert "unknown instructions" in text_of(unknown)
    rows = [
        {"id": str(n), "conversations": [{"from": "human", "value": f"q{n}"}, {"from": "gpt", "value": "a"}]}
        for n in range(7)
    ]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    assert plan(settings(source=[{"use": "llava", "path": str(tmp_path / "x.json")}])).instructions == 7


def test_lengths_measured_in_a_ledger_replace_the_assumed_ones(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        for key in ("a" * 32, "b" * 32):
            ledger.intend([Intent(key, "openai:gpt-4o", "{}", "decode", 0.0)])
            reply = Generation("x", "stop", usage=Usage(input=1000, output=100))
            ledger.settle([Settled(key, reply, 0.0)])
    found = plan(settings(), ledger=path, assume=Assumptions(asked_again=0.0))
    gpt = found.rows[0]
    assert (gpt.measured, gpt.input_tokens, gpt.output_tokens) == (True, 800_000, 80_000)
    assert not found.rows[1].measured


def test_measured_lengths_are_those_of_the_model_that_a_run_would_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options that change the reply are part of who a model is; so is the content of a local folder."""
    monkeypatch.setenv("OPENAI_API_KEY", "one-to-open-them-with")
    weights = tmp_path / "tiny"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    asked: list[dict[str, Any]] = [
        {"use": "openai", "model": "gpt-4o"},
        {"use": "openai", "model": "gpt-4o", "detail": "low", "reasoning": True, "extra": {"top_k": 5}},
        {"use": "transformers", "model": str(weights)},
    ]
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        for number, table in enumerate(asked[1:], 1):
            model = bare(PluginTable.model_validate(table), "a pool", Roots({}))
            ledger.intend([Intent(f"{number}" * 32, model.identity, "{}", "decode", 0.0)])
            reply = Generation("x", "stop", usage=Usage(input=1000 * number, output=100))
            ledger.settle([Settled(f"{number}" * 32, reply, 0.0)])
    found = plan(settings(pool=asked, decode={"k": 3}), ledger=path, assume=Assumptions(asked_again=0.0))
    rows = found.rows[:3]
    assert [(row.measured, row.input_tokens) for row in rows[1:]] == [(True, 1_000_000), (True, 2_000_000)]
    assert not rows[0].measured


def test_what_no_pilot_measured_is_in_both_ends_of_the_interval() -> None:
    """Measured calls that all cost the same make the interval a point: the whole plan, or something is left out."""
    calls = tuple(
        Measured("decode", "openai:gpt-4o", f"{number}", Seen(40, ()), Usage(input=1000, output=100), 0.0035, 1.0)
        for number in range(2)
    )
    nowhere = {"path": "/nowhere", "images": "own", "judge": {"use": "openai", "model": "gpt-4o"}}
    asked = settings(train={"model": "org/vlm"}, evaluate={"mmhal": nowhere}, limit=1000)
    found = plan(asked, measured=Pilot(2, 2, 0, 0, calls))
    first, *others = found.rows
    assert [row.room for row in others if row.cost] == ["annotate", "grade"]
    assert first.measured and not any(row.measured for row in others)
    assert found.cost_low == pytest.approx(found.cost) == found.cost_high
    assert found.cost == pytest.approx(first.cost + sum(row.cost for row in others))


def test_an_endpoint_that_counts_pictures_for_less_makes_no_room_on_the_disk() -> None:
    row = PlanRow("decode", "m", "h", 1000, 100_000, 765_000, 20_000, cost=0.0, hours=0.0, measured=True)
    assume = Assumptions(bytes_per_token=2.0, bytes_per_call=10.0)
    assert _disk((row,), assume, Past(None)) == 1000 * 10 + 20_000 * 2


def test_a_budget_that_is_too_small_is_said() -> None:
    assert "stop early" in text_of(plan(settings(annotate={"budget": 0.5})))


def test_what_a_second_stage_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names of tables stand in brackets, which are no markup."""
    assert command(monkeypatch, "plan", SILKIE.with_name("second_stage.toml")) == 0
    told = capsys.readouterr().out
    assert "checkpoint of [train] init:" in told
    assert told.count("run folder of [train] data:") == 2
    assert "the number of instructions" not in told
