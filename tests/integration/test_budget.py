"""The budget against the endpoint's own bill: a hard stop through kills, time-outs, resets and cut replies."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import world
from billing import Biller, bill
from servers import Server, serve

RATES = dict.fromkeys((*world.POOL, "judge"), (4.0, 40.0))
FAULTS = {5: "slow", 7: "truncated", 9: "reset", 11: "cut_json", 13: "no_choices", 17: "500"}


def settings(folder: Path, server: Server, budget: float, timeout: float = 60.0) -> Path:
    """A run whose models all cost the same."""
    prices = folder / "prices.toml"
    rows = (
        f'[models."{name}"]\ninput = {i}\noutput = {o}\nimages = "openai-tiles"\n' for name, (i, o) in RATES.items()
    )
    prices.write_text("".join(rows), encoding="utf-8")
    path = world.settings(folder, server.url, more=f'[prices]\npath = "{prices}"\n')
    text = path.read_text(encoding="utf-8").replace("attempts = 2", f"attempts = 3\ntimeout = {timeout}")
    path.write_text(text + f"budget = {budget}\n", encoding="utf-8")
    return path


class Spent(NamedTuple):
    """What a run that was killed and went on until its budget stopped it has cost, by the endpoint's log."""

    charged: float
    bought_after_the_stop: int


def until_the_budget_stops(tmp_path: Path, *, count: int, budget: float, kills: int) -> Spent:
    world.draw(tmp_path, count)
    moments = random.Random(kills)
    usage = Biller({"judge": 60.0, "": 20.0})
    with serve(tmp_path / "served.jsonl", every=FAULTS, slow=0.7, delay=0.02, usage=usage) as server:
        run, toml = tmp_path / "run", settings(tmp_path, server, budget, timeout=0.3)
        for _ in range(kills):
            goal = len(server.served()) + moments.randint(1, 12)
            process = world.start("run", toml, "--out", run, "--to", "annotate")
            while process.poll() is None and len(server.served()) < goal:
                time.sleep(0.005)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        assert "the budget of" in world.call("run", toml, "--out", run, "--to", "annotate", code=1)
        served = len(server.served())
        assert "the budget of" in world.call("run", toml, "--out", run, "--to", "annotate", code=1)
        time.sleep(1.0)
        return Spent(bill(server.log, RATES), len(server.served()) - served)


# What is unsure is taken at its upper bound, and the rest is still spent; a used-up budget buys next to nothing.


def test_a_budget_holds_by_the_servers_bill(tmp_path: Path) -> None:
    spent = until_the_budget_stops(tmp_path, count=12, budget=0.15, kills=2)
    assert 0.15 * 0.15 <= spent.charged <= 1.01 * 0.15
    assert spent.bought_after_the_stop <= 12


@pytest.mark.slow
def test_a_budget_holds_through_ten_kills(tmp_path: Path) -> None:
    spent = until_the_budget_stops(tmp_path, count=60, budget=0.8, kills=10)
    assert 0.15 * 0.8 <= spent.charged <= 1.01 * 0.8
    assert spent.bought_after_the_stop <= 12


def test_an_undisturbed_budget_is_spent_to_the_end_although_many_calls_are_in_flight(tmp_path: Path) -> None:
    world.draw(tmp_path, 12)
    with serve(tmp_path / "served.jsonl", usage=Biller({"": 20.0})) as server:
        toml = settings(tmp_path, server, 0.05)
        assert "the budget of" in world.call("run", toml, "--out", tmp_path / "run", "--to", "decode", code=1)
        assert 0.04 <= bill(server.log, RATES) <= 0.05


def test_a_reply_without_usage_is_paid_at_its_upper_bound(tmp_path: Path) -> None:
    world.draw(tmp_path, 12)
    with serve(tmp_path / "served.jsonl", usage=lambda _body: {}) as server:
        toml = settings(tmp_path, server, 0.1)
        assert "the budget of" in world.call("run", toml, "--out", tmp_path / "run", "--to", "annotate", code=1)
        assert 0 < len(server.served()) < 40
