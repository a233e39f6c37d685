"""Workers in this process: who gets which call, and what is paid when one is lost."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import world
from servers import serve

from vlfeedback import api, flow
from vlfeedback.config import PluginTable
from vlfeedback.errors import BudgetExceeded, ConfigError, ImageError, ModelUnavailable
from vlfeedback.images import Roots
from vlfeedback.ledger import Ledger
from vlfeedback.models import openai, scripted
from vlfeedback.models._ledgered import LedgerBook, Ledgered
from vlfeedback.models._limits import Gate
from vlfeedback.models._purse import Purse
from vlfeedback.records import Generation, Part, Request, Sampling
from vlfeedback.scale._crew import Crew, Holder, Named, Spread, Told, WorkerGone, open_through
from vlfeedback.scale._parcels import Carried, Carrier, Parcel, wanted


class Here:
    """A worker in this process, that is lost while it has its `last`-th parcel in hand: before or after it was sent."""

    def __init__(self, name: str, roots: Roots, *, last: int | None = None, sends_last: bool = True) -> None:
        self.name = self.node = name
        self.computes = True
        self.carried = 0
        self._carrier = Carrier(roots)
        self._holder = Holder(make)
        self._last, self._sends_last = last, sends_last

    async def post(self, parcel: Parcel) -> Carried:
        self.carried += 1
        if self._last is None or self.carried < self._last:
            return await self._carrier.post(parcel)
        if self._sends_last and self.carried == self._last:
            await self._carrier.post(parcel)
        raise WorkerGone("killed")

    async def ask(self, named: Named, request: Request) -> Generation | Told:
        self.carried += 1
        if self._last is not None and self.carried >= self._last:
            raise WorkerGone("killed")
        return await self._holder.ask(named, request)

    async def release(self, number: int) -> None:
        await self._holder.release(number)


def make(table: PluginTable, where: str) -> Any:
    if table.use == "broken":
        raise ModelUnavailable(f"{where} is broken")
    return scripted.load(**table.options)


def nobody(_: Sequence[Any]) -> list[Any]:
    return []


def questions(roots: Roots, count: int) -> list[Request]:
    return [question(roots, f"{number}.png", f"What is number {number}?") for number in range(count)]


def question(roots: Roots, picture: str, prompt: str) -> Request:
    parts = (Part(image=roots.find("own", picture)), Part(text=prompt))
    return Request("", parts, Sampling(max_tokens=32), purpose="decode")


def ask_all(model: Any, requests: Sequence[Request], in_flight: int = 4) -> list[Generation]:
    return list(flow.each(requests, model.answer, in_flight=in_flight))


def through(crew: Crew, url: str, roots: Roots, **options: Any) -> openai.OpenAIModel:
    model = openai.load(model="m", base_url=url, roots=roots, **options)
    model.send_through(lambda pictures: open_through(crew, pictures), wanted)
    return model


def test_calls_go_through_all_workers_and_replies_are_the_same(tmp_path: Path) -> None:
    world.draw(tmp_path, 12)
    roots = Roots({"own": tmp_path / "pictures"})
    workers = [Here(name, Roots({"own": tmp_path / "pictures"})) for name in "abc"]
    with serve(tmp_path / "served.jsonl") as server:
        plain = {
            one.text for one in ask_all(openai.load(model="m", base_url=server.url, roots=roots), questions(roots, 12))
        }
        model = through(Crew(nobody, workers), server.url, roots)
        assert {one.text for one in ask_all(model, questions(roots, 12))} == plain
    assert all(worker.carried for worker in workers)
    assert set(server.good().values()) == {2}, "the bytes on the wire are the same too"


def test_a_worker_that_does_not_see_the_pictures_is_sent_them(tmp_path: Path) -> None:
    world.draw(tmp_path, 3)
    roots = Roots({"own": tmp_path / "pictures"})
    worker = Here("a", Roots({"own": tmp_path / "elsewhere"}))
    with serve(tmp_path / "served.jsonl") as server:
        assert all(
            one.finish == "stop"
            for one in ask_all(through(Crew(nobody, [worker]), server.url, roots), questions(roots, 3))
        )
        asked = questions(roots, 3)
        (tmp_path / "pictures" / "1.png").unlink()
        said = ask_all(through(Crew(nobody, [worker]), server.url, Roots({"own": tmp_path / "pictures"})), asked, 1)
        assert sorted(one.finish for one in said) == ["error", "stop", "stop"]
        assert len(server.served()) == 5


@pytest.mark.parametrize("sends_last", [True, False])
def test_a_lost_worker_costs_its_calls_in_flight_and_these_are_in_the_books(tmp_path: Path, sends_last: bool) -> None:
    world.draw(tmp_path, 20)
    roots = Roots({"own": tmp_path / "pictures"})
    workers = [Here("a", roots, last=3, sends_last=sends_last), Here("b", roots), Here("c", roots)]
    crew, in_flight = Crew(nobody, workers), 4
    with serve(tmp_path / "served.jsonl") as server, Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        book = LedgerBook(ledger, Purse(100.0, 0.0))
        model = Ledgered(
            through(crew, server.url, roots, in_flight=in_flight), book, price=lambda _: 0.5, reserve=lambda _: 1.0
        )
        said = ask_all(model, questions(roots, 20), in_flight)
        assert [one.finish for one in said] == ["stop"] * 20
        total = ledger.totals()[0]
        assert (total.calls, total.state) == (20, "done")
        assert 1 <= total.unsure <= in_flight
        assert sum(server.good().values()) - 20 <= total.unsure
        assert ledger.spent() == pytest.approx(20 * 0.5 + total.unsure * 1.0)
        assert book.purse.used == pytest.approx(ledger.spent())
    assert [worker.name for worker in crew.workers] == ["b", "c"]
    assert crew.lost == 1


def test_the_endpoint_is_not_blamed_for_a_lost_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blamed: list[Gate] = []
    monkeypatch.setattr(Gate, "failed", lambda gate: blamed.append(gate) or False)
    world.draw(tmp_path, 40)
    roots = Roots({"own": tmp_path / "pictures"})
    crew = Crew(nobody, [Here("a", roots, last=1), Here("b", roots)])
    with serve(tmp_path / "served.jsonl", delay=0.05) as server:
        model = through(crew, server.url, roots, in_flight=40)
        assert all(one.finish == "stop" for one in ask_all(model, questions(roots, 40), 40))
    assert crew.lost == 1
    assert blamed == []


def test_a_resent_call_needs_money_again(tmp_path: Path) -> None:
    world.draw(tmp_path, 1)
    roots = Roots({"own": tmp_path / "pictures"})
    crew = Crew(nobody, [Here("a", roots, last=1), Here("b", roots, last=1)])
    with serve(tmp_path / "served.jsonl") as server, Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        book = LedgerBook(ledger, Purse(1.5, 0.0))
        model = Ledgered(through(crew, server.url, roots), book, price=lambda _: 0.5, reserve=lambda _: 1.0)
        with pytest.raises(BudgetExceeded):
            ask_all(model, questions(roots, 1))
        assert len(server.served()) == 1
        assert ledger.spent() == 1.0


def test_a_worker_is_hired_where_none_is_left(tmp_path: Path) -> None:
    world.draw(tmp_path, 6)
    roots = Roots({"own": tmp_path / "pictures"})
    crew = Crew(lambda there: [] if there else [Here("fresh", roots)], [Here("a", roots, last=2)])
    with serve(tmp_path / "served.jsonl") as server:
        said = ask_all(through(crew, server.url, roots), questions(roots, 6), 1)
    assert all(one.finish == "stop" for one in said)
    assert [worker.name for worker in crew.workers] == ["fresh"]


def test_many_calls_without_a_worker_hire_one(tmp_path: Path) -> None:
    world.draw(tmp_path, 8)
    roots = Roots({"own": tmp_path / "pictures"})
    hired: list[Here] = []

    def hire(there: Sequence[Any]) -> list[Here]:
        time.sleep(0.05)
        hired.append(Here(f"new{len(hired)}", roots))
        return hired[-1:]

    with serve(tmp_path / "served.jsonl") as server:
        said = ask_all(through(Crew(hire, []), server.url, roots), questions(roots, 8), 8)
    assert all(one.finish == "stop" for one in said)
    assert len(hired) == 1


def test_limits_are_one_for_all_workers(tmp_path: Path) -> None:
    world.draw(tmp_path, 15)
    roots = Roots({"own": tmp_path / "pictures"})
    crew = Crew(nobody, [Here(name, roots) for name in "abc"])
    with serve(tmp_path / "served.jsonl", delay=0.05) as server:
        ask_all(through(crew, server.url, roots, in_flight=2), questions(roots, 15), 12)
        assert server.most_at_once <= 2
        paced = through(crew, server.url, roots, requests_per_minute=600)
        began = time.monotonic()
        ask_all(paced, questions(roots, 15), 12)
        assert time.monotonic() - began >= 14 * 0.1 - 0.05, "never faster than the pace, however many workers there are"


def test_without_any_worker_the_run_stops_and_says_so(tmp_path: Path) -> None:
    world.draw(tmp_path, 2)
    roots = Roots({"own": tmp_path / "pictures"})
    with serve(tmp_path / "served.jsonl") as server, Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        model = Ledgered(
            through(Crew(nobody, []), server.url, roots), LedgerBook(ledger), price=lambda _: 0.5, reserve=lambda _: 1.0
        )
        with pytest.raises(ModelUnavailable, match="no worker of the cluster is left"):
            ask_all(model, questions(roots, 2))
        assert server.served() == []
        assert ledger.spent() == 0


def local(crew: Crew, **options: Any) -> Spread:
    table = PluginTable(use="scripted", **options)
    return Spread(scripted.load(**options), crew, 1, table, "[[pool]] 1")


def test_a_local_models_questions_move_to_the_workers_that_are_left(tmp_path: Path) -> None:
    world.draw(tmp_path, 10)
    roots = Roots({"own": tmp_path / "pictures"})
    workers = [Here("a", roots, last=2), Here("b", roots)]
    crew = Crew(nobody, workers)
    model = local(crew, replies=["It is a number."])
    assert model.hosts == ()
    assert [one.text for one in ask_all(model, questions(roots, 10))] == ["It is a number."] * 10
    assert workers[1].carried
    model.close()
    crew.dismiss(workers[1])
    with pytest.raises(ModelUnavailable, match="run again"):
        ask_all(model, questions(roots, 1))


def test_a_question_that_ends_every_worker_ends_the_run() -> None:
    """Weights that no node has room for: new workers would be hired and lost without end."""
    names = iter(range(100))
    hired: list[Here] = []

    def hire(there: Sequence[Any]) -> list[Here]:
        hired.extend(new := [] if there else [Here(f"{next(names)}", Roots({}), last=1)])
        return new

    model = local(Crew(hire, []), replies=["x"])
    with pytest.raises(ModelUnavailable, match=r"3 workers in a row were lost .* more memory than a node has"):
        asyncio.run(model.answer(Request("", (Part(text="?"),), Sampling(), purpose="decode")))
    assert len(hired) == 3


def test_a_workers_error_arrives_as_what_it_was() -> None:
    crew = Crew(nobody, [Here("a", Roots({}))])
    model = Spread(scripted.load(replies=["x"]), crew, 1, PluginTable(use="broken"), "[[pool]] 3")
    with pytest.raises(ModelUnavailable, match=r"\[\[pool\]\] 3 is broken"):
        asyncio.run(model.answer(Request("", (Part(text="?"),), Sampling(), purpose="decode")))


def test_a_node_with_other_weights_at_the_same_path_does_not_answer(tmp_path: Path) -> None:
    """The head would keep its answers under the name of the weights that lie with the head."""
    crew = Crew(nobody, [Here("a", Roots({"own": tmp_path}))])
    table = PluginTable(use="scripted", identity="scripted:m@later")
    model = Spread(scripted.load(identity="scripted:m@first"), crew, 1, table, "[[pool]] 1")
    with pytest.raises(ConfigError, match=r"\[\[pool\]\] 1: on node .* it is scripted:m@later, and scripted:m@first"):
        asyncio.run(model.answer(Request("", (Part(text="?"),), Sampling(), purpose="decode")))


def test_an_error_with_a_constructor_of_its_own_arrives_too() -> None:
    from vlfeedback.scale._crew import _raised

    found = _raised(Told("ImageError", "bad picture"))
    assert isinstance(found, ImageError)
    assert str(found) == "bad picture"


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_command_says_what_to_install(tmp_path: Path) -> None:
    world.draw(tmp_path, 2)
    toml = world.settings(tmp_path, "http://127.0.0.1:9/v1")
    said = world.call("run", toml, "--out", tmp_path / "run", "--engine", "ray", code=2)
    assert "pip install 'vlfeedback[scale]'" in said
    said = world.call("run", toml, "--out", tmp_path / "run", "--engine", "rya", code=2)
    assert "no engine 'rya'" in said
    assert "ray" in said


def test_an_engine_that_does_not_exist_is_refused_from_python_too(tmp_path: Path) -> None:
    world.draw(tmp_path, 1)
    toml = world.settings(tmp_path, "http://127.0.0.1:9/v1")
    with pytest.raises(ConfigError, match="no engine 'dask'"):
        api.collect(toml, out=tmp_path / "run", engine="dask")
