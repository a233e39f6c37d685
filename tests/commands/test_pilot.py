"""Pilots: what a plan says after two hundred instructions, against the bill of the whole run."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
import world
from billing import Biller, bill, text_tokens, tile_tokens
from PIL import Image as Pillow
from servers import Server, serve

from vlfeedback.commands._plan_estimate import Known, Measured, Stratum, _slope, interval, stratum
from vlfeedback.commands._plan_world import Seen
from vlfeedback.images import Size
from vlfeedback.records import Usage

RATES = dict.fromkeys((*world.POOL, "judge"), (2.0, 8.0))
SIZES = ((320, 240), (1024, 768), (1920, 1080), (700, 1400), (2600, 1900), (512, 513))


def draw(folder: Path, count: int) -> None:
    """Pictures of many sizes in two shapes of prompts, as JSON lines."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    rows: list[str] = []
    for number in range(count):
        size = SIZES[number * number % len(SIZES)]
        name = f"{number}.png"
        Pillow.new("RGB", size, (number % 256, number // 256, 90)).save(pictures / name, compress_level=1)
        prompt = f"What is number {number}? " + "Look well. " * (number % 13)
        rows.append(json.dumps({"id": str(number), "prompt": prompt, "image": name}))
    (folder / "instructions.jsonl").write_text("\n".join(rows), encoding="utf-8")


def settings(folder: Path, server: Server) -> Path:
    prices = folder / "prices.toml"
    rows = (
        f'[models."{name}"]\ninput = {i}\noutput = {o}\nimages = "openai-tiles"\n' for name, (i, o) in RATES.items()
    )
    prices.write_text("".join(rows), encoding="utf-8")
    toml = world.settings(folder, server.url, more=f'[prices]\npath = "{prices}"\n', in_flight=16)
    text = toml.read_text(encoding="utf-8").replace("max_tokens = 64", "max_tokens = 4096")
    toml.write_text(text + "max_tokens = 8192\n", encoding="utf-8")
    return toml


def against_the_bill(tmp_path: Path, count: int, pilot: int) -> tuple[dict, float, dict[str, int]]:
    """A plan after a pilot, what the whole run then cost, and its tokens."""
    draw(tmp_path, count)
    usage = Biller({"judge": 300.0, "": 60.0}, spread=1.0)
    with serve(tmp_path / "served.jsonl", usage=usage, keep_bodies=False) as server:
        toml, run = settings(tmp_path, server), tmp_path / "run"
        found = json.loads(world.call("plan", toml, "--pilot", str(pilot), "--out", run, "--json"))
        assert len(server.served()) == 5 * pilot
        done = world.collect(toml, "--out", run)
        assert (done["calls_made"], done["calls_reused"]) == (5 * (count - pilot), 5 * pilot)
        lines = server.served()
    assert len({line["body"] for line in lines}) == len(lines) == 5 * count
    tokens = {
        "input": sum(line["usage"]["prompt_tokens"] for line in lines),
        "image": sum(line["usage"]["prompt_tokens_details"]["image_tokens"] for line in lines),
    }
    return found, bill(server.log, RATES), tokens


def check(found: dict, charged: float, tokens: dict[str, int]) -> None:
    rows = found["rows"]
    assert all(row["measured"] for row in rows)
    assert sum(row["image_tokens"] for row in rows) == pytest.approx(tokens["image"], rel=0.02)
    assert sum(row["input_tokens"] for row in rows) == pytest.approx(tokens["input"], rel=0.02)
    assert found["cost_low"] <= charged <= found["cost_high"]
    assert found["warnings"] == []


def test_a_pilot_is_not_bought_twice_and_foretells_the_bill(tmp_path: Path) -> None:
    found, charged, tokens = against_the_bill(tmp_path, 60, 30)
    check(found, charged, tokens)
    assert found["pilot"] == 30
    assert found["spent"] < found["cost"]


def test_what_a_pilot_did_not_meet_is_in_both_ends_of_its_interval(tmp_path: Path) -> None:
    draw(tmp_path, 40)
    with serve(tmp_path / "served.jsonl", usage=Biller({"": 5.0}, spread=0.01), keep_bodies=False) as server:
        toml = settings(tmp_path, server)
        found = json.loads(world.call("plan", toml, "--pilot", "2", "--out", tmp_path / "run", "--json"))
    assert sum(not row["measured"] for row in found["rows"]) >= 4, "two instructions ask at most eight of twelve"
    assert found["cost_low"] <= found["cost"] <= found["cost_high"]


@pytest.mark.slow
def test_after_a_pilot_of_two_hundred_the_total_is_within_a_tenth(tmp_path: Path) -> None:
    found, charged, tokens = against_the_bill(tmp_path, 1200, 200)
    check(found, charged, tokens)
    assert found["cost"] == pytest.approx(charged, rel=0.10)


def test_a_plan_looks_at_the_pictures_that_are_there(tmp_path: Path) -> None:
    draw(tmp_path, 24)
    with serve(tmp_path / "served.jsonl") as server:
        toml = settings(tmp_path, server)
        found = json.loads(world.call("plan", toml, "--json"))
        assert server.served() == []
    mean = sum(tile_tokens(*SIZES[number * number % len(SIZES)]) for number in range(24))
    assert [row["image_tokens"] for row in found["rows"] if row["room"] == "annotate"] == [mean]
    assert any("all 24 instructions" in line for line in found["assumptions"])


def test_a_rule_that_the_endpoint_does_not_follow_is_said(tmp_path: Path) -> None:
    draw(tmp_path, 12)
    usage = Biller({"": 20.0})

    def dearer(body: dict) -> dict:
        found = usage(body)
        pictures = found["prompt_tokens_details"]["image_tokens"]
        found["prompt_tokens"] += pictures
        found["prompt_tokens_details"]["image_tokens"] = 2 * pictures
        return found

    with serve(tmp_path / "served.jsonl", usage=dearer) as server:
        toml = settings(tmp_path, server)
        found = json.loads(world.call("plan", toml, "--pilot", "12", "--out", tmp_path / "run", "--json"))
    assert any("judge: the endpoint counts 2.00 times" in line for line in found["warnings"])


def test_an_unknown_price_is_refused_before_the_pilot(tmp_path: Path) -> None:
    draw(tmp_path, 6)
    with serve(tmp_path / "served.jsonl") as server:
        toml = settings(tmp_path, server)
        text = toml.read_text(encoding="utf-8").replace('model = "judge"', 'model = "dear"\nlocal = false')
        toml.write_text(text, encoding="utf-8")
        assert "no price for 'openai:dear'" in world.call(
            "plan", toml, "--pilot", "6", "--out", tmp_path / "run", code=2
        )
        assert server.served() == []


# ── The estimate alone, by simulation ──

INPUT, OUTPUT = 2e-6, 8e-6


def simulated(seed: int, size: int = 4000, pilot: int = 200) -> tuple[float, float, float, float]:
    """Estimate, lower and upper end, and truth of a run whose reply lengths are log-normal with spread 1."""
    draws = random.Random(seed)
    people = [Seen(draws.randint(20, 600), (Size(*draws.choice(SIZES)),)) for _ in range(size)]
    models = ["a", "b", "c"]
    strata: list[tuple[float, Stratum]] = []
    truth = 0.0
    calls: list[Measured] = []

    def pictures(one: Seen) -> float:
        return float(sum(tile_tokens(*picture) for picture in one.sizes))

    for number, one in enumerate(people):
        for room, model, median in [
            *(("decode", name, 120.0) for name in draws.sample(models, 2)),
            ("annotate", "j", 500.0),
        ]:
            output = max(1, round(median * math.exp(draws.gauss(0, 1))))
            entered = 7 + text_tokens("x" * one.letters) + round(pictures(one)) + (800 if room == "annotate" else 0)
            cost = entered * INPUT + output * OUTPUT
            truth += cost
            if number < pilot:
                calls.append(Measured(room, model, str(number), one, Usage(entered, output), cost, 1.0))  # type: ignore[arg-type]
    known = Known(
        sum(one.letters for one in people) / size, sum(map(pictures, people)) / size, pictures, INPUT, 1 / 4.45
    )
    for room, model, share in [*(("decode", name, 2 / 3) for name in models), ("annotate", "j", 1.0)]:
        found = stratum([one for one in calls if (one.room, one.model) == (room, model)], known)
        assert found is not None
        strata.append((size * share, found))
    bounds = interval(strata, size)
    assert bounds is not None
    return sum(number * one.cost for number, one in strata), bounds.low, bounds.high, truth


def test_the_estimate_is_without_bias_and_its_interval_holds() -> None:
    runs = [simulated(seed) for seed in range(60)]
    ratios = [estimate / truth for estimate, _, _, truth in runs]
    assert sum(ratios) / len(ratios) == pytest.approx(1, abs=0.015)
    assert sum(abs(ratio - 1) <= 0.10 for ratio in ratios) >= 57
    assert sum(low <= truth <= high for _, low, high, truth in runs) >= 54


@pytest.mark.parametrize("silent", ["further samples", "no details"])
def test_pictures_are_compared_where_a_reply_tells_their_tokens(silent: str) -> None:
    draws = random.Random(0)
    people = [Seen(draws.randint(20, 600), (Size(*draws.choice(SIZES)),)) for _ in range(60)]

    def pictures(one: Seen) -> float:
        return float(sum(tile_tokens(*picture) for picture in one.sizes))

    calls: list[Measured] = []
    for number, one in enumerate(people):
        image = round(pictures(one))
        entered = 2 * one.letters + image
        told = Usage(entered, 10, image=image)
        other = Usage(0, 10) if silent == "further samples" else replace(told, image=0)
        for usage in (told, other):
            calls.append(Measured("annotate", "j", str(number), one, usage, usage.input * INPUT, 1.0))
    known = Known(sum(one.letters for one in people) / 60, sum(map(pictures, people)) / 60, pictures, INPUT, 0.25)
    found = stratum(calls, known)
    assert found is not None and found.billed == pytest.approx(1.0)
    assert found.input == pytest.approx(sum(one.usage.input for one in calls) / len(calls), rel=1e-3)
    assert _slope(calls, 1.0, known) == pytest.approx(2.0)


def test_a_pilot_of_everything_leaves_nothing_open() -> None:
    estimate, low, high, truth = simulated(1, size=150, pilot=150)
    assert low == pytest.approx(high)
    assert estimate == pytest.approx(truth, rel=0.03)  # which models an instruction got is taken at its expectation
