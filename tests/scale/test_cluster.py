"""A run on a simulated cluster ends where a run in one process ends, also when a node is lost with its folder.

Needs Ray: put an environment of its own that has it on PYTHONPATH, and run with `-m peers`.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
import world
from billing import Biller, bill
from nodes import cluster, ended, on
from servers import UNSURE, Server, serve

pytestmark = pytest.mark.peers
COUNT = 16
IN_FLIGHT = 4
RATES = dict.fromkeys((*world.POOL, "judge"), (4.0, 40.0))


def bought_twice(server: Server) -> int:
    bought = Counter(line["body"] for line in server.served() if line["fault"] in (None, *UNSURE))
    return sum(count - 1 for count in bought.values())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digest of the run in one process."""
    folder = tmp_path_factory.mktemp("alone")
    world.draw(folder, COUNT)
    with serve(folder / "served.jsonl") as server:
        world.collect(world.settings(folder, server.url), "--out", folder / "run")
    return world.digest(folder / "run")


def test_a_run_on_three_nodes_is_the_run_of_one_process(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    world.draw(tmp_path, COUNT)
    with cluster(2) as nodes, serve(tmp_path / "served.jsonl") as server:
        toml = world.settings(tmp_path, server.url, in_flight=IN_FLIGHT)
        ended(on(nodes, toml, "--out", tmp_path / "run", "--to", "pair"))
        assert len(server.served()) == 5 * COUNT
        assert server.most_at_once <= 2 * IN_FLIGHT * 4, "the bound of calls in flight is one for all workers"
        assert bought_twice(server) == 0
        assert world.digest(tmp_path / "run") == undisturbed
        ended(on(nodes, tmp_path / "run", "--to", "pair"))
        assert len(server.served()) == 5 * COUNT


def test_a_lost_node_costs_at_most_its_calls_in_flight(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    world.draw(tmp_path, COUNT)
    with cluster(2) as nodes, serve(tmp_path / "served.jsonl", delay=0.15) as server:
        each = f"attempts = 3\nin_flight = {IN_FLIGHT}"
        toml = world.settings(tmp_path, server.url, each=each, in_flight=IN_FLIGHT)
        process = on(nodes, toml, "--out", tmp_path / "run", "--to", "pair")
        while process.poll() is None and len(server.served()) < COUNT:
            time.sleep(0.01)
        assert process.poll() is None
        at_once = server._at_once
        nodes.lose(nodes.others[0])
        said = ended(process)
        assert "lost" in said
        assert bought_twice(server) <= max(at_once, 1) + IN_FLIGHT
        assert set(Counter(line["body"] for line in server.served()).values()) <= {1, 2}
        assert len(server.good()) == 5 * COUNT
    assert world.digest(tmp_path / "run") == undisturbed
    assert not list((tmp_path / "run").rglob("*.part"))


def test_the_budget_is_one_for_all_workers(tmp_path: Path) -> None:
    world.draw(tmp_path, COUNT)
    budget = 0.15
    prices = tmp_path / "prices.toml"
    rows = (
        f'[models."{name}"]\ninput = {i}\noutput = {o}\nimages = "openai-tiles"\n' for name, (i, o) in RATES.items()
    )
    prices.write_text("".join(rows), encoding="utf-8")
    usage = Biller({"judge": 60.0, "": 20.0})
    with cluster(2) as nodes, serve(tmp_path / "served.jsonl", usage=usage, delay=0.05, every={7: "reset"}) as server:
        toml = world.settings(tmp_path, server.url, more=f'[prices]\npath = "{prices}"\n', each="attempts = 3")
        toml.write_text(toml.read_text(encoding="utf-8") + f"budget = {budget}\n", encoding="utf-8")
        process = on(nodes, toml, "--out", tmp_path / "run", "--to", "annotate")
        while process.poll() is None and len(server.served()) < 6:
            time.sleep(0.01)
        if process.poll() is None:
            nodes.lose(nodes.others[0])
        assert "the budget of" in ended(process, code=1)
        charged = bill(server.log, RATES)
    assert 0.1 * budget <= charged <= 1.01 * budget


@pytest.mark.parametrize("gpus", [0, 2])
def test_local_models_are_held_by_the_workers(gpus: int, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import tiny_models

    count = 6
    world.draw(tmp_path, count)
    for seed in (1, 2):
        tiny_models.write_llava(tmp_path / f"model{seed}", seed)
    with serve(tmp_path / "served.jsonl") as server:
        toml = world.settings(tmp_path, server.url)
        text = toml.read_text(encoding="utf-8")
        pool = "".join(f'[[pool]]\nuse = "transformers"\nmodel = "{tmp_path}/model{seed}"\n\n' for seed in (1, 2))
        rest = text[text.index("[decode]") :].replace("k = 4", "k = 2").replace("max_tokens = 64", "max_tokens = 8")
        toml.write_text(text[: text.index("[[pool]]")] + pool + rest, encoding="utf-8")
        world.collect(toml, "--out", tmp_path / "alone")
        served = len(server.served())
        with cluster(1, gpus) as nodes:
            ended(on(nodes, toml, "--out", tmp_path / "run", "--to", "pair"))
        assert len(server.served()) == 2 * served
    assert world.digest(tmp_path / "run") == world.digest(tmp_path / "alone")
