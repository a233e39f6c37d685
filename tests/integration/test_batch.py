"""Judging in provider batches: half the price, the same ledger, and nothing bought twice by a crash."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import world
from batch_server import BatchServer, serve_batches

from vlfeedback.ledger import Ledger

COUNT = 6
FAST = "import vlfeedback.models._batch as batch\nbatch.POLL, batch.LINGER, batch.SHARD_CALLS = 0.1, 1.5, 4\n"
FAST += "batch.QUEUE_WAIT, batch.QUEUE_TRIES = 0.5, 12\n"


KILLED = "import os, vlfeedback.models._batch_desk as desk\nasync def end(*_): os._exit(9)\ndesk.Desk.send = end\n"
"""The process ends when it is about to send a shard that stands in its journal."""


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits and small shards in the processes that the tests start."""
    (tmp_path / "sitecustomize.py").write_text(FAST)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))


def settings(folder: Path, server: BatchServer) -> Path:
    world.draw(folder, COUNT)
    prices = folder / "prices.toml"
    rows = (
        f'[models."{name}"]\ninput = 1000\noutput = 10000\nbatch = 0.5\nimages = "openai-tiles"\n'
        for name in (*world.POOL, "judge")
    )
    prices.write_text("".join(rows), encoding="utf-8")
    toml = world.settings(folder, server.url, more=f'[prices]\npath = "{prices}"\n')
    text = toml.read_text(encoding="utf-8")
    toml.write_text(text.replace('model = "judge"', 'model = "judge"\nbatch = true'), encoding="utf-8")
    return toml


def cost_of_judging(run: Path) -> float:
    with Ledger.open(run / "ledger.sqlite", write=False) as ledger:
        return sum(one.cost + one.lost_cost for one in ledger.totals() if one.purpose == "annotate")


LIVE = 100 * 1000 / 1e6 + 10 * 10_000 / 1e6


def test_batches_cost_half_and_give_the_same_tables(tmp_path: Path) -> None:
    with serve_batches(tmp_path / "log") as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        world.collect(toml, "--out", run)
        assert len(server.lines("batch")) == COUNT
        assert len(server.lines("live")) == 4 * COUNT
        assert len(server.batches) >= 2, "six questions in shards of four at most"
        assert cost_of_judging(run) == pytest.approx(COUNT * LIVE / 2)
        assert not list((run / "ledger.sqlite.batches").rglob("*.json*")), "nothing is left under way"
        live = tmp_path / "live"
        toml.write_text(toml.read_text(encoding="utf-8").replace("batch = true", ""), encoding="utf-8")
        world.collect(toml, "--out", live)
        assert world.digest(run) == world.digest(live)


def test_what_a_batch_leaves_unanswered_is_asked_live_at_the_full_price(tmp_path: Path) -> None:
    gone: set[str] = set()

    def expire(key: str) -> bool:
        if len(gone) < 2:
            gone.add(key)
        return key in gone

    with serve_batches(tmp_path / "log", expire=expire) as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        done = world.collect(toml, "--out", run)
        assert done["calls_failed"] == 0
        assert len(server.lines("batch")) == COUNT - 2
        assert len(server.lines("live")) == 4 * COUNT + 2
        assert cost_of_judging(run) == pytest.approx((COUNT - 2) * LIVE / 2 + 2 * LIVE)


def test_line_ends_of_other_kinds_within_replies_are_part_of_them(tmp_path: Path) -> None:
    def mangle(_: int, line: str) -> str:
        return line.replace("Rationale: ", "Rationale: \u2028\u2029\u0085")

    with serve_batches(tmp_path / "log", mangle=mangle) as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        world.collect(toml, "--out", run)
        assert len(server.lines("batch")) == COUNT
        assert len(server.lines("live")) == 4 * COUNT
        assert cost_of_judging(run) == pytest.approx(COUNT * LIVE / 2)


@pytest.mark.parametrize(
    "cut",
    [lambda line: line[: len(line) // 2], lambda line: line.replace('"choices"', '"choice"')],
    ids=["half a line", "no reply in it"],
)
def test_what_a_batch_answered_and_cannot_be_read_counts_as_spent(cut: Callable[[str], str], tmp_path: Path) -> None:
    expired: list[str] = []

    def mangle(number: int, line: str) -> str:
        return cut(line) if number == 0 else line

    def expire(key: str) -> bool:
        if not expired:
            expired.append(key)
        return key in expired

    with serve_batches(tmp_path / "log", mangle=mangle, expire=expire) as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        world.collect(toml, "--out", run)
        lost = len(server.lines("live")) - 4 * COUNT - 1
        assert lost == sum("output_file_id" in one for one in server.batches.values()), "the first of each batch"
        billed = (COUNT - 1) * LIVE / 2 + (1 + lost) * LIVE  # what the provider itself calls expired is not billed
        assert cost_of_judging(run) > billed
        with Ledger.open(run / "ledger.sqlite", write=False) as ledger:
            assert sum(one.unsure for one in ledger.totals()) == lost


def test_pages_of_something_else_are_waited_through_and_files_that_lack_lines_fetched_again(tmp_path: Path) -> None:
    bad = {"files": [200], "batches": [200], "look": [404, 200, 408], "content": [200]}
    with serve_batches(tmp_path / "log", bad=bad, short=(1, 0)) as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        world.collect(toml, "--out", run)
        assert not any(server.bad.values()), "all of it came"
        assert len(server.lines("live")) == 4 * COUNT
        assert cost_of_judging(run) == pytest.approx(COUNT * LIVE / 2)


def test_what_a_completed_batch_never_names_is_asked_live_and_counts_as_spent(tmp_path: Path) -> None:
    with serve_batches(tmp_path / "log", short=(0, 1)) as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        world.collect(toml, "--out", run)
        lost = len(server.lines("live")) - 4 * COUNT
        assert lost == len(server.batches)
        assert cost_of_judging(run) > (COUNT - lost) * LIVE / 2 + lost * LIVE + lost * LIVE / 2
        with Ledger.open(run / "ledger.sqlite", write=False) as ledger:
            assert sum(one.unsure for one in ledger.totals()) == lost


def test_a_batch_of_which_nobody_can_say_whether_it_was_made_has_a_way_out(tmp_path: Path) -> None:
    with serve_batches(tmp_path / "log", bad={"list": [404] * 9}) as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        (tmp_path / "sitecustomize.py").write_text(FAST + KILLED)
        process = world.start("run", toml, "--out", run, "--to", "pair")
        process.communicate(timeout=60)
        assert process.returncode == 9
        (tmp_path / "sitecustomize.py").write_text(FAST)
        said = world.call("run", run, "--to", "pair", code=1)
        note = Path(said.split("was never made, delete ")[1].split(": its questions")[0])
        note.unlink()
        server.bad["list"].clear()
        world.collect(run)
        judged = [row["body"] for row in server.lines("batch")]
        assert len(judged) == len(set(judged)) == COUNT  # responses in flight at the kill may be bought twice
        assert not [row for row in server.lines("live") if row["model"] == "judge"]


@pytest.mark.parametrize("what", ["gone", "no json"])
def test_a_batch_that_nobody_can_look_at_ends_the_command(what: str, tmp_path: Path) -> None:
    with serve_batches(tmp_path / "log", looks=10**6) as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        killed_when_sent(server, toml, run)
        server.looked = {"gone": 404, "no json": 200}[what]
        said = world.call("run", run, "--to", "pair", code=1)
        assert ("is gone for good, delete" in said) == (what == "gone")


def wait_for(condition: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def sent(server: BatchServer) -> int:
    """Questions in batches so far."""
    return sum(len(server.files[one["input_file_id"]].splitlines()) for one in list(server.batches.values()))


def killed_when_sent(server: BatchServer, toml: Path, run: Path) -> None:
    """Begin a run, and kill it when all its questions lie at the provider."""
    process = world.start("run", toml, "--out", run, "--to", "pair")
    wait_for(lambda: sent(server) == COUNT)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_batches_of_a_killed_process_are_found_again(tmp_path: Path) -> None:
    with serve_batches(tmp_path / "log", looks=10**6) as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        killed_when_sent(server, toml, run)
        made = len(server.batches)
        for batch in server.batches.values():
            batch["left"] = 0
        world.collect(run)
        assert len(server.batches) == made
        assert set(server.bought().values()) == {1}
        assert cost_of_judging(run) == pytest.approx(COUNT * LIVE / 2), "no intent was counted as lost"


def test_a_batch_whose_id_never_arrived_is_found_by_its_name(tmp_path: Path) -> None:
    with serve_batches(tmp_path / "log", lose_answer=1) as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        world.collect(toml, "--out", run)
        # A slow machine may fill two shards; none of them may be made twice, although nobody would look at the first.
        names = [batch["metadata"]["vlfeedback"] for batch in server.batches.values()]
        assert len(names) == len(set(names))
        assert set(server.bought().values()) == {1}


def test_a_full_queue_is_waited_for_and_the_shard_sent_again(tmp_path: Path) -> None:
    with serve_batches(tmp_path / "log", queue=1, looks=40) as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        world.collect(toml, "--out", run)
        assert any(batch["status"] == "failed" for batch in server.batches.values()), "the queue was never full"
        assert len(server.lines("batch")) == COUNT
        assert set(server.bought().values()) == {1}
        assert cost_of_judging(run) == pytest.approx(COUNT * LIVE / 2)


def test_a_queue_that_is_always_full_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAST + "batch.QUEUE_TRIES = 3\n")
    with serve_batches(tmp_path / "log", refuse="Enqueued token limit reached for judge.") as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        assert "Enqueued token limit" in world.call("run", toml, "--out", run, "--to", "pair", code=1)
        assert len(server.batches) > 3
        assert cost_of_judging(run) == 0


def stopped_when_sent(server: BatchServer, toml: Path, run: Path, *arguments: str, count: int) -> None:
    """Begin a run, stop it with Ctrl-C when so many questions lie at the provider, and let their batches end."""
    process = world.start("run", toml, "--out", run, "--to", "pair", *arguments)
    wait_for(lambda: sent(server) == count)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    for batch in server.batches.values():
        batch["left"] = 0


def test_ctrl_c_leaves_batches_to_the_next_run(tmp_path: Path) -> None:
    with serve_batches(tmp_path / "log", looks=10**6) as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        stopped_when_sent(server, toml, run, count=COUNT)
        world.collect(run)
        assert set(server.bought().values()) == {1}
        assert cost_of_judging(run) == pytest.approx(COUNT * LIVE / 2)


def test_batches_are_fetched_after_the_user_wants_no_more_of_them(tmp_path: Path) -> None:
    with serve_batches(tmp_path / "log", looks=10**6) as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        stopped_when_sent(server, toml, run, "--limit", "4", count=4)
        made = list(server.batches)
        process = world.start("run", run, "--to", "pair", "--set", "judge.0.batch=false", "--set", "limit=6")
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
        assert "4 questions of an earlier run lie in batches (batch_1" in told
        assert list(server.batches) == made
        assert set(server.bought().values()) == {1}
        assert (len(server.lines("batch")), len(server.lines("live"))) == (4, 4 * COUNT + 2)
        assert cost_of_judging(run) == pytest.approx(4 * LIVE / 2 + 2 * LIVE)
        assert not list((run / "ledger.sqlite.batches").rglob("*.json*")), "nothing is left under way"
        assert world.collect(run)["calls_made"] == 0


def test_what_was_never_uploaded_is_asked_live_without_batches(tmp_path: Path) -> None:
    with serve_batches(tmp_path / "log", looks=10**6) as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        killed_when_sent(server, toml, run)
        for note in (run / "ledger.sqlite.batches").rglob("*.json"):
            note.write_text(json.dumps({**json.loads(note.read_text()), "batch": ""}), encoding="utf-8")
            note.with_suffix(".jsonl").touch()
        server.batches.clear()
        world.collect(run, "--set", "judge.0.batch=false")
        assert not server.batches
        assert set(server.bought().values()) == {1}
        assert cost_of_judging(run) == pytest.approx(COUNT * LIVE), "no intent was counted as lost"


def test_what_a_killed_process_had_spooled_and_not_uploaded_costs_nothing(tmp_path: Path) -> None:
    with serve_batches(tmp_path / "log", looks=10**6) as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        (tmp_path / "sitecustomize.py").write_text(f"{FAST}batch.LINGER, batch.SHARD_CALLS = 600.0, 1000\n")
        process = world.start("run", toml, "--out", run, "--to", "pair")
        wait_for(lambda: any(len(spool.read_bytes().splitlines()) == COUNT for spool in run.rglob("*.spool")))
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        (tmp_path / "sitecustomize.py").write_text(FAST)
        world.collect(run, "--set", "judge.0.batch=false")
        assert not server.batches
        assert cost_of_judging(run) == pytest.approx(COUNT * LIVE), "no intent was counted as lost"


def test_a_refused_batch_is_said_and_costs_nothing(tmp_path: Path) -> None:
    with serve_batches(tmp_path / "log", refuse="the file is no file") as server:
        run, toml = tmp_path / "run", settings(tmp_path, server)
        assert "the file is no file" in world.call("run", toml, "--out", run, "--to", "pair", code=1)
        assert cost_of_judging(run) == 0


def test_the_plan_knows_the_discount_and_refuses_an_unknown_one(tmp_path: Path) -> None:
    with serve_batches(tmp_path / "log") as server:
        toml = settings(tmp_path, server)
        half = json.loads(world.call("plan", toml, "--json"))["rows"][-1]
        text = toml.read_text(encoding="utf-8")
        toml.write_text(text.replace("batch = true", ""), encoding="utf-8")
        full = json.loads(world.call("plan", toml, "--json"))["rows"][-1]
        assert half["cost"] == pytest.approx(full["cost"] / 2)
        assert "in batches" in half["host"]
        prices = tmp_path / "prices.toml"
        prices.write_text(prices.read_text().replace("batch = 0.5\n", ""))
        toml.write_text(text, encoding="utf-8")
        assert "what a batched call costs" in world.call("plan", toml, code=2)
