"""What goes to a worker is small, and what the worker sends is what would have been sent from here."""

from __future__ import annotations

import asyncio
import pickle
from collections import Counter
from pathlib import Path

import world
from hypothesis import given, strategies as st
from servers import serve

from vlfeedback.images import Roots
from vlfeedback.models import _chat
from vlfeedback.models._pictures import Addresses
from vlfeedback.models._secrets import Secret
from vlfeedback.records import Part, Request, Sampling
from vlfeedback.scale._parcels import Carrier, Parcel, Picture, filled, owner, packed, part_of, wanted

SHAPE = _chat.Shape(model="m")


def question(roots: Roots, *names: str) -> Request:
    parts = (*(Part(image=roots.find("own", name)) for name in names), Part(text="What is »it«?"))
    return Request("be kind", parts, Sampling(), purpose="decode")


def test_a_body_arrives_as_it_would_have_been_sent_from_here(tmp_path: Path) -> None:
    world.draw(tmp_path, 3)
    here, there = (Roots({"own": tmp_path / "pictures"}) for _ in range(2))
    for names in ((), ("1.png",), ("0.png", "2.png")):
        request = question(here, *names)
        plain = _chat.body(request, SHAPE, lambda one: Addresses(here, "data").address(one, "original"))
        pieces = packed(_chat.body(request, SHAPE, lambda one: wanted(one, "original")))
        assert sum(isinstance(piece, Picture) for piece in pieces) == len(names)
        moved = pickle.loads(pickle.dumps(pieces))
        assert b"".join(filled(moved, Addresses(there, "data"))) == b"".join(plain)


def test_a_parcel_holds_no_picture_and_no_readable_key(tmp_path: Path) -> None:
    world.draw(tmp_path, 1)
    roots = Roots({"own": tmp_path / "pictures"})
    pieces = packed(_chat.body(question(roots, "0.png"), SHAPE, lambda one: wanted(one, "original")))
    parcel = Parcel("http://127.0.0.1:1/v1", Secret("sk-secret-1234"), 4, 1.0, pieces)
    assert len(pickle.dumps(parcel)) < 2000
    assert "sk-secret" not in repr(parcel)


def test_a_worker_says_what_came_back(tmp_path: Path) -> None:
    faults = [None, "429", "reset", "truncated", "slow"]
    with serve(tmp_path / "served.jsonl", faults=faults, retry_after="7", slow=1.5) as server:

        async def send() -> list[tuple[str, int]]:
            carrier, said = Carrier(Roots({})), []
            for _ in faults:
                parcel = Parcel(
                    server.url, Secret("none"), 4, 0.8, (b'{"model":"m","messages":[{"content":"x","role":"user"}]}',)
                )
                found = await carrier.post(parcel)
                said.append((found.kind, found.status))
                if found.status == 429:
                    assert found.headers["retry-after"] == "7"
            nobody = await carrier.post(Parcel("http://127.0.0.1:9/v1", Secret("none"), 4, 0.8, (b"{}",)))
            return [*said, (nobody.kind, nobody.status)]

        kinds = asyncio.run(send())
    assert kinds == [("reply", 200), ("reply", 429), ("lost", 0), ("lost", 0), ("timeout", 0), ("not_sent", 0)]


def test_models_behind_one_address_have_keys_and_times_of_their_own(tmp_path: Path) -> None:
    with serve(tmp_path / "served.jsonl", delay=0.5, key="sk-second") as server:

        async def send() -> list[str]:
            carrier = Carrier(Roots({}))
            body = (b'{"model":"m","messages":[{"content":"x","role":"user"}]}',)
            ways = (("sk-first", 4, 9.0), ("sk-second", 4, 0.1), ("sk-second", 4, 9.0))
            found = [await carrier.post(Parcel(server.url, Secret(key), *way, body)) for key, *way in ways]
            return [f"{one.kind} {one.status}" for one in found]

        assert asyncio.run(send()) == ["reply 401", "timeout 0", "reply 200"]


def test_a_worker_that_cannot_read_a_picture_sends_nothing(tmp_path: Path) -> None:
    world.draw(tmp_path, 1)
    request = question(Roots({"own": tmp_path / "pictures"}), "0.png")
    pieces = packed(_chat.body(request, SHAPE, lambda one: wanted(one, "original")))
    with serve(tmp_path / "served.jsonl") as server:
        parcel = Parcel(server.url, Secret("none"), 4, 1.0, pieces)
        found = asyncio.run(Carrier(Roots({"own": tmp_path / "elsewhere"})).post(parcel))
        assert found.kind == "picture"
        assert server.served() == []


def test_all_calls_on_one_picture_are_one_part(tmp_path: Path) -> None:
    world.draw(tmp_path, 2)
    roots = Roots({"own": tmp_path / "pictures"})
    one, other = (question(roots, name) for name in ("0.png", "1.png"))
    parts = [part_of(packed(_chat.body(r, SHAPE, lambda i: wanted(i, "original")))) for r in (one, one, other)]
    assert parts[0] == parts[1] == one.images[0].sha256 != parts[2]


@given(st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=9, unique=True), st.text(max_size=20))
def test_a_part_moves_only_if_its_worker_is_lost(workers: list[str], part: str) -> None:
    mine = owner(part, workers)
    assert owner(part, list(reversed(workers))) == mine
    for lost in workers:
        rest = [worker for worker in workers if worker != lost]
        assert (owner(part, rest) == mine) == (lost != mine)


def test_parts_are_spread_evenly() -> None:
    workers = [f"{number}" for number in range(8)]
    share = Counter(owner(f"part {number}", workers) for number in range(8000))
    assert min(share.values()) > 850
    assert max(share.values()) < 1150
