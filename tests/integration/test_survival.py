"""A run against endpoints that fail in every way we know ends where an undisturbed one ends, and its books say so."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import world
from servers import UNSURE, Server, serve

COUNT = 12
CALLS = 5 * COUNT
MIX = (
    "429", "429_in_200", "429_date", "429_absurd", "500", "503", "503_rest", "408", "reset", "hang_up", "truncated",
    "cut_json", "no_choices", "nonsense", "empty", "error_in_200", "error_in_choice", "abort", "slow",
)  # fmt: skip
EACH = "attempts = 12\ntimeout = 3.0\n"


def say(body: dict) -> str:
    """Some refuse, always on the same question: a refusal is an answer."""
    from servers import number_of, say as usual

    return "I cannot help with that." if number_of(body, 10) == 3 else usual(body)


class Books(NamedTuple):
    """What a ledger says."""

    states: dict[str, int]
    attempts: int
    unsure: int


def books(run: Path) -> Books:
    with sqlite3.connect(run / "ledger.sqlite") as ledger:
        states = dict(ledger.execute("SELECT state, COUNT(*) FROM calls GROUP BY state").fetchall())
        attempts, unsure = ledger.execute("SELECT SUM(attempts), SUM(unsure) FROM calls").fetchone()
    return Books(states, attempts, unsure)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digest of a run in which nothing goes wrong."""
    folder = tmp_path_factory.mktemp("calm")
    world.draw(folder, COUNT)
    with serve(folder / "served.jsonl", reply=say) as server:
        world.collect(world.settings(folder, server.url), "--out", folder / "run")
    return world.digest(folder / "run")


def bad_weather(tmp_path: Path, **options: object) -> object:
    return serve(
        tmp_path / "served.jsonl", reply=say, share=0.3, retry_after="0.05", slow=5.0, **({"mix": MIX} | options)
    )  # type: ignore[arg-type]


def bought_twice(server: Server) -> int:
    """Whole replies that were served beyond the first, by the server's log; a cut one counts: it would be charged."""
    bought = Counter(line["body"] for line in server.served() if line["fault"] in (None, *UNSURE))
    return sum(count - 1 for count in bought.values())


def lost(server: Server) -> int:
    return sum(line["fault"] in UNSURE for line in server.served())


def test_three_faults_in_ten_calls_change_no_digest_and_are_all_accounted_for(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    world.draw(tmp_path, COUNT)
    with bad_weather(tmp_path) as server:
        run = tmp_path / "run"
        done = world.collect(world.settings(tmp_path, server.url, each=EACH), "--out", run)
        assert done["calls_made"] == CALLS
        found = books(run)
        assert found.states == {"done": CALLS}
        assert found.attempts == len(server.served())
        assert found.unsure >= lost(server) >= 3  # more where this machine was slower than the time-out
        assert bought_twice(server) <= found.unsure
        served = len(server.served())
        assert world.collect(run)["calls_made"] == 0
        assert len(server.served()) == served
    assert world.digest(run) == undisturbed


def test_what_failed_in_one_run_is_asked_by_the_next_and_nothing_else_is(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    world.draw(tmp_path, COUNT)
    with bad_weather(tmp_path, mix=tuple(fault for fault in MIX if fault != "slow")) as server:
        run = tmp_path / "run"
        done = world.attempt(world.settings(tmp_path, server.url, each="attempts = 1"), "--out", run)
        assert done["calls_failed"] == sum(one["calls"] for one in done["unanswered"]) > 0
        assert done["last_line"].startswith(f"{done['calls_failed']} calls have no answer (openai:")
        assert not all(room["complete"] for room in done["rooms"])
        for _ in range(12):
            good = server.good()
            done = world.attempt(run)
            assert all(server.good()[body] == count for body, count in good.items()), (
                "what is there is not bought again"
            )
            if not done["calls_failed"]:
                break
        assert all(room["complete"] for room in done["rooms"])
    assert world.digest(run) == undisturbed


def test_an_endpoint_that_asks_for_hours_is_left_alone_and_holds_up_no_other(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    world.draw(tmp_path, COUNT)
    tired = world.POOL[:3]
    with (
        serve(tmp_path / "tired.jsonl", every={1: "429_hours"}, reply=say) as resting,
        serve(tmp_path / "served.jsonl", reply=say) as server,
    ):
        toml = world.settings(tmp_path, server.url, elsewhere=dict.fromkeys(tired, resting.url), in_flight=2)
        began, then = time.monotonic(), time.time()
        done = world.attempt(toml, "--out", tmp_path / "run")
        assert time.monotonic() - began < 60
        rests = {one["model"]: one["until"] - then for one in done["unanswered"]}
        assert rests.keys() == {f"openai:{name}" for name in tired}
        assert all(7_200 <= rest <= 7_260 for rest in rests.values())
        assert re.search(r"Run it after \d\d \w+ \d\d:\d\d: openai:model-0[0-2] asks to wait", done["last_line"])
        assert len(resting.served()) <= 3 * 2  # what was under way when the first word came
        assert done["calls_failed"] > 0
        assert {line["model"] for line in server.served()} >= set(world.POOL) - set(tired)
        resting.every.clear()
        assert world.collect(tmp_path / "run")["calls_failed"] == 0
    assert world.digest(tmp_path / "run") == undisturbed


def judged(server: Server) -> int:
    return sum(line["model"] == "judge" for line in server.served())


def test_a_judge_waits_for_responses_that_may_still_come_and_is_paid_once(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    world.draw(tmp_path, COUNT)
    tired = dict.fromkeys(world.POOL[:3], "")
    with (
        serve(tmp_path / "tired.jsonl", every={1: "429_hours"}, reply=say) as resting,
        serve(tmp_path / "served.jsonl", reply=say) as server,
    ):
        toml = world.settings(tmp_path, server.url, elsewhere=dict.fromkeys(tired, resting.url))
        run = tmp_path / "run"
        done = world.attempt(toml, "--out", run)
        rooms = {room["room"]: room for room in done["rooms"]}
        waiting = rooms["annotate"]["waiting"]
        assert 0 < waiting < COUNT and judged(server) == rooms["annotate"]["kept"] == COUNT - waiting
        assert f" {waiting} instructions wait for the missing responses" in done["last_line"]
        assert f"{waiting} instructions wait" in world.call("status", run)
        assert json.loads(world.call("status", run, "--json"))["waiting"] == waiting
        words = world.call("annotate", run, code=1)  # a room of its own knows it from the tables
        assert f"{waiting} instructions wait" in words and judged(server) == COUNT - waiting
        resting.every.clear()
        world.collect(run)
        assert judged(server) == COUNT
    assert world.digest(run) == undisturbed


def test_who_wants_partial_groups_judged_pays_for_them_again(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    world.draw(tmp_path, COUNT)
    with (
        serve(tmp_path / "tired.jsonl", every={1: "429_hours"}, reply=say) as resting,
        serve(tmp_path / "served.jsonl", reply=say) as server,
    ):
        toml = world.settings(tmp_path, server.url, elsewhere={world.POOL[0]: resting.url})
        run = tmp_path / "run"
        done = world.attempt(toml, "--out", run, "--set", "annotate.partial=true")
        assert judged(server) == COUNT and not any(room["waiting"] for room in done["rooms"])
        resting.every.clear()
        again = world.collect(run)
        assert judged(server) == COUNT + done["calls_failed"] == COUNT + again["calls_made"] - done["calls_failed"]
    assert world.digest(run) == undisturbed


def test_a_response_that_failed_for_good_holds_nothing_up(tmp_path: Path) -> None:
    world.draw(tmp_path, COUNT)
    with (
        serve(tmp_path / "wrong.jsonl", every={2: "422", 3: "content_filter"}) as refusing,
        serve(tmp_path / "served.jsonl") as server,
    ):
        toml = world.settings(tmp_path, server.url, elsewhere={world.POOL[0]: refusing.url})
        done = world.collect(toml, "--out", tmp_path / "run")
        assert done["rooms"][1]["dropped"] > 0
        assert done["rooms"][2]["kept"] == judged(server) == COUNT


@pytest.mark.slow
def test_a_dead_endpoint_is_reported_and_not_hammered(tmp_path: Path) -> None:
    world.draw(tmp_path, COUNT)
    with serve(tmp_path / "served.jsonl", every={1: "500"}) as server:
        toml = world.settings(tmp_path, server.url, each="attempts = 9\npatience = 3.0")
        said = world.call("run", toml, "--out", tmp_path / "run", "--to", "pair", code=1)
        assert "nothing has been answered" in said
        assert len(server.served()) < 250


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    world.draw(tmp_path, COUNT)
    (tmp_path / "sitecustomize.py").write_text(
        "import random, time\n"
        "real, draw = time.time, random.Random(1)\n"
        "time.time = lambda: real() + draw.choice((0, 0, 3600, -3600, 86400 * 400, -real()))\n"
    )
    with bad_weather(tmp_path) as server:
        path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
        toml = world.settings(tmp_path, server.url, each=EACH)
        done = world.collect(toml, "--out", tmp_path / "run", PYTHONPATH=path)
        assert done["calls_made"] == CALLS
        assert books(tmp_path / "run").states == {"done": CALLS}
    assert world.digest(tmp_path / "run") == undisturbed


class Killed(NamedTuple):
    """What is left of a run that was killed at random moments and then went on to its end.

    Attributes:
        twice: Calls that the endpoint answered well more than once.
        lost: Answers that it sent and that were damaged on their way, and calls that were under way at a kill.
        unsure: Sendings whose fate the books call unknown.
    """

    states: dict[str, int]
    digest: dict[str, str]
    twice: int
    lost: int
    unsure: int


def killed(tmp_path: Path, kills: int) -> Killed:
    """Kill a run in bad weather at random moments and let the last one end."""
    world.draw(tmp_path, COUNT)
    draw, in_flight = random.Random(7), 3
    with bad_weather(tmp_path, delay=0.02) as server:
        run, toml = tmp_path / "run", world.settings(tmp_path, server.url, each=EACH, in_flight=in_flight)
        dead = 0
        for _ in range(kills):
            process = world.start("run", toml, "--out", run, "--to", "pair")
            goal, seen = draw.randrange(1, 5), len(server.served())
            while process.poll() is None and len(server.served()) < seen + goal:
                time.sleep(0.002)
            time.sleep(draw.random() * 0.05)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                dead += 1
            process.communicate()
        world.collect(run)
        found = books(run)
        lost_calls = lost(server) + dead * in_flight * 5
        return Killed(found.states, world.digest(run), bought_twice(server), lost_calls, found.unsure)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3, 50])
def test_kills_in_bad_weather_lose_nothing(tmp_path: Path, kills: int, undisturbed: dict[str, str]) -> None:
    left = killed(tmp_path, kills)
    assert left.states == {"done": CALLS}
    assert left.twice <= left.lost
    assert left.twice <= left.unsure, "every call that may have been bought twice is counted"
    assert left.digest == undisturbed
