"""Collecting through the installed command against a loopback endpoint: what costs money is bought once."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import world
from servers import Server, serve

from vlfeedback import tables
from vlfeedback.records import PreferencePair

COUNT = 12


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    world.draw(tmp_path, COUNT)
    with serve(tmp_path / "served.jsonl") as found:
        yield found


def calls(done: dict) -> tuple[int, int]:
    return done["calls_made"], done["calls_reused"]


def test_a_second_run_makes_no_call_and_changes_no_digest(tmp_path: Path, server: Server) -> None:
    run, toml = tmp_path / "run", world.settings(tmp_path, server.url)
    first = world.collect(toml, "--out", run)
    assert calls(first) == (5 * COUNT, 0)
    assert [room["kept"] for room in first["rooms"][:3]] == [COUNT, 4 * COUNT, COUNT]
    before = world.digest(run)
    (run / "annotations.parquet").unlink()
    (run / "responses.parquet").unlink()
    assert calls(world.collect(run)) == (0, 5 * COUNT)
    assert world.digest(run) == before
    assert len(server.served()) == 5 * COUNT


def test_a_plan_of_a_run_folder_takes_the_lengths_that_were_measured(tmp_path: Path, server: Server) -> None:
    run, toml = tmp_path / "run", world.settings(tmp_path, server.url)
    world.collect(toml, "--out", run)
    rows = json.loads(world.call("plan", run, "--json"))["rows"]
    assert any(row["measured"] for row in rows if row["room"] == "decode")
    assert not any(row["measured"] for row in json.loads(world.call("plan", toml, "--json"))["rows"])


def test_other_pictures_for_a_model_are_other_questions(tmp_path: Path, server: Server) -> None:
    run = tmp_path / "run"
    world.collect(world.settings(tmp_path, server.url), "--out", run)
    before = len(server.served())
    done = world.collect(run, "--set", "judge.0.recipe=fit-16-jpeg90")
    assert done["calls_made"] == COUNT and len(server.served()) == before + COUNT
    change = [f"--set=pool.{number}.recipe=fit-16-jpeg90" for number in range(len(world.POOL))]
    done = world.collect(run, *change, "--set", "judge.0.recipe=fit-16-jpeg90")
    assert len(server.served()) >= before + 5 * COUNT
    assert world.collect(run)["calls_made"] == 0


def test_decode_alone_writes_what_it_has_when_it_stops(tmp_path: Path, server: Server) -> None:
    prices = tmp_path / "prices.toml"
    rows = (f'[models."{name}"]\ninput = 4.0\noutput = 40.0\nimages = "openai-tiles"\n' for name in world.POOL)
    prices.write_text("".join(rows), encoding="utf-8")
    toml = world.settings(tmp_path, server.url, more=f'[prices]\npath = "{prices}"\n', in_flight=1)
    toml.write_text(toml.read_text(encoding="utf-8") + "budget = 0.02\n", encoding="utf-8")
    run = tmp_path / "run"
    world.call("run", toml, "--out", run, "--to", "decode", code=1)
    assert json.loads(world.call("status", run, "--json"))
    found = tables.info(run / "responses.parquet")
    assert not found.complete and found.rows > 0


def test_moving_the_endpoint_to_another_port_buys_nothing(tmp_path: Path, server: Server) -> None:
    run = tmp_path / "run"
    world.collect(world.settings(tmp_path, server.url), "--out", run)
    with serve(tmp_path / "elsewhere.jsonl") as moved:
        done = world.collect(world.settings(tmp_path, moved.url), "--out", run, "--set", "decode.in_flight=3")
        assert done["calls_made"] == 0
        assert moved.served() == []


def test_another_pair_rule_makes_no_call(tmp_path: Path, server: Server) -> None:
    run = tmp_path / "run"
    world.collect(world.settings(tmp_path, server.url), "--out", run)
    before = world.digest(run)
    done = world.collect(run, "--set", "pair.use=best_worst")
    assert calls(done) == (0, 0)
    assert world.digest(run)["pairs"] != before["pairs"]
    assert world.digest(run)["annotations"] == before["annotations"]


def test_another_parser_makes_no_call(tmp_path: Path, server: Server) -> None:
    run = tmp_path / "run"
    world.collect(world.settings(tmp_path, server.url), "--out", run)
    before = world.digest(run)
    (tmp_path / "mended.py").write_text(
        "from vlfeedback.annotate import vlfeedback\n"
        "class Mended:\n"
        "    def __init__(self): self.inner = vlfeedback.load()\n"
        "    def __getattr__(self, name): return 'mended' if name == 'parser' else getattr(self.inner, name)\n"
        "def load(): return Mended()\n"
    )
    done = world.collect(run, "--allow-plugins", "--set", "annotate.rubric=mended:load", PYTHONPATH=str(tmp_path))
    assert calls(done) == (0, COUNT)
    assert world.digest(run)["annotations"] != before["annotations"]
    assert len(server.served()) == 5 * COUNT


def test_pairs_are_made_on_the_scale_of_the_rubric(tmp_path: Path, server: Server) -> None:
    """A rubric of one's own from 2 to 10: its best ratings are no missing ones."""
    run = tmp_path / "run"
    world.collect(world.settings(tmp_path, server.url), "--out", run)
    before = sorted(tables.read(run / "pairs.parquet", PreferencePair), key=lambda pair: pair.id)
    (tmp_path / "twice.py").write_text(
        "from dataclasses import replace\n"
        "from vlfeedback.annotate import vlfeedback\n"
        "class Twice:\n"
        "    parser, scale = 'twice', (2, 10)\n"
        "    def __init__(self): self.inner = vlfeedback.load()\n"
        "    def __getattr__(self, name): return getattr(self.inner, name)\n"
        "    def parse(self, text, order):\n"
        "        found = self.inner.parse(text, order)\n"
        "        return found._replace(ratings=tuple(\n"
        "            replace(one, score=one.score and 2 * one.score) for one in found.ratings))\n"
        "def load(): return Twice()\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = world.collect(run, "--allow-plugins", "--set", "annotate.rubric=twice:load", PYTHONPATH=path)
    assert calls(done) == (0, COUNT)
    after = sorted(tables.read(run / "pairs.parquet", PreferencePair), key=lambda pair: pair.id)
    assert before and [(pair.id, pair.margin) for pair in after] == [(pair.id, 2 * pair.margin) for pair in before]


def test_another_rubric_judges_again_and_decodes_nothing(tmp_path: Path, server: Server) -> None:
    run = tmp_path / "run"
    world.collect(world.settings(tmp_path, server.url), "--out", run)
    before = world.digest(run)
    done = world.collect(run, "--set", "annotate.rubric=json_schema")
    assert done["calls_made"] == COUNT
    assert {line["model"] for line in server.served()[5 * COUNT :]} == {"judge"}
    assert world.digest(run)["responses"] == before["responses"]


def test_a_shared_ledger_buys_once(tmp_path: Path, server: Server) -> None:
    toml = world.settings(tmp_path, server.url, more=f'[ledger]\npath = "{tmp_path}/shared.sqlite"\n')
    assert calls(world.collect(toml, "--out", tmp_path / "one")) == (5 * COUNT, 0)
    assert calls(world.collect(toml, "--out", tmp_path / "two")) == (0, 5 * COUNT)
    assert world.digest(tmp_path / "one") == world.digest(tmp_path / "two")
    assert not (tmp_path / "one" / "ledger.sqlite").exists()


def test_one_new_instruction_costs_its_own_calls_only(tmp_path: Path, server: Server) -> None:
    run, toml = tmp_path / "run", world.settings(tmp_path, server.url)
    world.collect(toml, "--out", run)
    world.draw(tmp_path, COUNT + 1)
    assert calls(world.collect(toml, "--out", run)) == (5, 5 * COUNT)


def test_limit_tries_a_few_first(tmp_path: Path, server: Server) -> None:
    done = world.collect(world.settings(tmp_path, server.url), "--out", tmp_path / "run", "--limit", "3")
    assert calls(done) == (15, 0)
    assert done["rooms"][0]["dropped"] == COUNT - 3


def wait_for(condition: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_second_writer_is_refused_and_readers_are_not(tmp_path: Path) -> None:
    world.draw(tmp_path, COUNT)
    with serve(tmp_path / "served.jsonl", delay=0.5) as server:
        run, toml = tmp_path / "run", world.settings(tmp_path, server.url, in_flight=1)
        first = world.start("run", toml, "--out", run, "--to", "pair")
        wait_for(lambda: len(server.served()) > 4)
        refused = world.call("run", run, "--to", "pair", code=1)
        assert "being written by another command" in refused
        assert "instructions" in world.call("status", run)
        first.kill()
        first.communicate()


def test_the_first_ctrl_c_drains_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    world.draw(tmp_path, COUNT)
    with serve(tmp_path / "served.jsonl", delay=0.2) as server:
        run, toml = tmp_path / "run", world.settings(tmp_path, server.url, in_flight=2)
        process = world.start("run", toml, "--out", run, "--to", "pair")
        wait_for(lambda: len(server.served()) > 8)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Stopped. The same command goes on." in err
        served = len(server.served())
        assert served < 5 * COUNT
        world.collect(run)
        assert len(server.served()) == 5 * COUNT, "a drained run must not buy anything again"
        undisturbed = tmp_path / "other"
        world.collect(world.settings(tmp_path, server.url), "--out", undisturbed)
        assert world.digest(run) == world.digest(undisturbed)


def test_the_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    world.draw(tmp_path, COUNT)
    with serve(tmp_path / "served.jsonl", delay=12) as server:  # its end waits for its answers
        process = world.start("run", world.settings(tmp_path, server.url), "--out", tmp_path / "run", "--to", "pair")
        wait_for(lambda: len(server.served()) > 0)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        # Two signals that are pending together are one: the second is sent when the first has been heard.
        assert any("Stopping" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        assert process.returncode == 130


def kill_and_resume(tmp_path: Path, kills: int) -> int:
    """Kill a run at moments spread over its course; compare with one that was left alone. Returns the calls kept."""
    world.draw(tmp_path, COUNT)
    in_flight = 3
    with serve(tmp_path / "served.jsonl", delay=0.03) as server:
        run, toml = tmp_path / "run", world.settings(tmp_path, server.url, in_flight=in_flight)
        killed = 0
        for number in range(kills):
            goal = len(server.served()) + 1 + number % 4
            process = world.start("run", toml, "--out", run, "--to", "pair")
            while process.poll() is None and len(server.served()) < goal:
                time.sleep(0.002)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
            process.communicate()
        done = world.collect(run)
        assert killed >= kills // 2
        twice = sum(count - 1 for count in server.good().values())
        # An instruction under way has four calls in flight, and one more may be with the judge.
        assert twice <= killed * in_flight * 5
        assert done["calls_reused"] + done["calls_made"] == 5 * COUNT
        undisturbed = tmp_path / "other"
        world.collect(world.settings(tmp_path, server.url), "--out", undisturbed)
        assert world.digest(run) == world.digest(undisturbed)
        with sqlite3.connect(run / "ledger.sqlite") as ledger:
            kept = ledger.execute("SELECT COUNT(*) FROM calls WHERE state = 'done'").fetchone()[0]
            unsure = ledger.execute("SELECT SUM(unsure) FROM calls").fetchone()[0]
        assert twice <= unsure, "every call that was served twice must be counted"
        return int(kept)


def test_kill_nine_loses_no_reply_that_was_committed(tmp_path: Path) -> None:
    assert kill_and_resume(tmp_path, kills=4) == 5 * COUNT


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    assert kill_and_resume(tmp_path, kills=20) == 5 * COUNT
