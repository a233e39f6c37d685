"""The stage of decode: every planned slot becomes a response or a dropped slot."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vlfeedback.decode import Answered, Plan, PoolModel, answered, in_memory
from vlfeedback.errors import ModelUnavailable, StaleInput
from vlfeedback.ids import instruction_id
from vlfeedback.ledger import Ledger
from vlfeedback.models import scripted
from vlfeedback.models._ledgered import LedgerBook, Ledgered
from vlfeedback.records import Generation, Image, Instruction, Request, Response, Sampling

PICTURE = Image("a" * 64, "run:a.png", 4, 4)


def instruction(number: int) -> Instruction:
    return Instruction(instruction_id(f"p{number}", (PICTURE,)), f"p{number}", (PICTURE,), "test")


class Says:
    """A pool model that answers by a function of the request."""

    def __init__(self, identity: str, reply: Callable[[Request], Generation]) -> None:
        self.identity, self.reply, self.seen = identity, reply, list[Request]()

    async def answer(self, request: Request) -> Generation:
        self.seen.append(request)
        return self.reply(request)


GOOD = Generation("I see it.", "stop")


def ask(*replies: Generation, local: bool = False, count: int = 5) -> list[Answered]:
    pool = [
        PoolModel(Says(f"m{n}", lambda _, reply=reply: reply), local=local and n == 0)
        for n, reply in enumerate(replies)
    ]
    instructions = [instruction(n) for n in range(count)]
    return list(answered(instructions, pool, k=len(replies), sampling=Sampling(), in_flight=2))


@pytest.mark.parametrize("local", [False, True])
def test_slots_are_responses_plus_dropped(local: bool) -> None:
    done = ask(GOOD, GOOD, Generation("", "error", error="server", detail="503"), local=local)
    assert len(done) == 5
    for one in done:
        assert (len(one.responses), len(one.dropped)) == (2, 1)
        assert one.dropped[0].reason == "call_failed" and "503" in one.dropped[0].detail
        assert {response.instruction_id for response in one.responses} == {one.instruction.id}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Generation(" \n", "stop"), "empty_response"),
        (Generation("", "content_filter"), "content_filter"),
        (Generation("", "error", error="bad_request", detail="too large"), "call_failed"),
    ],
)
def test_what_is_no_response_is_dropped_with_its_reason(reply: Generation, reason: str) -> None:
    (one,) = ask(reply, count=1)
    assert [dropped.reason for dropped in one.dropped] == [reason]
    assert one.responses == ()


def test_a_refusal_in_words_and_a_cut_off_reply_are_responses() -> None:
    (one,) = ask(Generation("I cannot say.", "refused"), Generation("Long", "length"), count=1)
    assert sorted(response.finish for response in one.responses) == ["length", "refused"]


def test_pictures_come_first_and_the_prompt_is_plain_text() -> None:
    model = Says("m", lambda _: GOOD)
    odd = replace(instruction(1), prompt="<image> is literal")
    list(answered([odd], [PoolModel(model)], k=1, sampling=Sampling(temperature=1.0)))
    (request,) = model.seen
    assert [part.image for part in request.parts] == [PICTURE, None]
    assert request.parts[1].text == "<image> is literal"
    assert request.sampling.temperature == 1.0


def test_an_unusable_model_stops_the_room_and_says_so() -> None:
    def refuse(_: Request) -> Generation:
        raise ModelUnavailable("wrong key: set OPENAI_API_KEY")

    with pytest.raises(ModelUnavailable, match="wrong key"):
        list(answered([instruction(1)], [PoolModel(Says("m", refuse))], k=1, sampling=Sampling()))


def test_the_same_pool_gives_the_same_ids_whatever_the_order() -> None:
    pool = [PoolModel(Says(f"m{n}", lambda _: GOOD)) for n in range(6)]
    rows = [instruction(n) for n in range(8)]
    one = {r.id for a in answered(rows, pool, k=3, sampling=Sampling()) for r in a.responses}
    two = {r.id for a in answered(rows[::-1], pool[::-1], k=3, sampling=Sampling()) for r in a.responses}
    assert one == two and len(one) == 24


def test_pictures_in_memory_are_bounded_by_their_true_size() -> None:
    many = [instruction(number) for number in range(12)]
    models = [scripted.load(model=name, delay=0.02) for name in "ab"]
    pool = [PoolModel(model) for model in models]
    weight = 2 * in_memory(1_000_000)  # two calls on each, with a body of its own
    found = list(
        answered(
            many, pool, k=2, sampling=Sampling(), in_flight=8, bytes_in_flight=3 * weight, weigh=lambda _: 1_000_000
        )
    )
    assert len(found) == 12
    assert max(model.at_once for model in models) <= 3


def test_a_plan_of_other_instructions_or_models_is_refused() -> None:
    pool = [PoolModel(Says(name, lambda _: GOOD)) for name in ("a", "b")]
    asked = [instruction(1), instruction(2)]
    good = [Plan(one.id, ("b",)) for one in asked]
    for plan in ([], good[:1], good[::-1], [Plan(one.id, ("c",)) for one in asked]):
        with pytest.raises(StaleInput, match=r"plan\.parquet"):
            list(answered(asked, pool, k=1, sampling=Sampling(), planned=plan))
    done = list(answered(asked, pool, k=1, sampling=Sampling(), planned=good))
    assert {response.model for one in done for response in one.responses} == {"b"}


def in_the_memory() -> int:
    """Responses that somebody holds."""
    gc.collect()
    return sum(isinstance(one, Response) for one in gc.get_objects())


@pytest.mark.parametrize("before", [0, 2])
def test_responses_of_models_asked_in_turn_rest_in_the_ledger(before: int, tmp_path: Path) -> None:
    """Also those of the first models where an earlier run has asked them."""
    count = 60
    held = list[int]()

    def speak(request: Request) -> Generation:
        return Generation(f"Of {request.parts[-1].text}", "stop")

    def speak_last(request: Request) -> Generation:
        if not held:  # later ones are handed on, and held here
            held.append(in_the_memory())
        return speak(request)

    def free(_: object) -> float:
        return 0.0

    instructions = [instruction(n) for n in range(count)]
    others = in_the_memory()
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        book = LedgerBook(ledger)
        said = (Says("m0", speak), Says("m1", speak), Says("m2", speak_last))
        models = [Ledgered(one, book, price=free, reserve=free) for one in said]
        pool = [PoolModel(model, local=n > 0, in_flight=4) for n, model in enumerate(models)]
        for member in pool[:before]:
            list(answered(instructions, [member], k=1, sampling=Sampling(), in_flight=4))
        kept = list(answered(instructions, pool, k=3, sampling=Sampling(), in_flight=4))
        counters = book.counters
    assert held[0] - others < count / 2, "not even one model's"
    assert (counters.made, counters.reused) == (3 * count, before * count)
    plain = [PoolModel(Says(f"m{n}", speak), local=n > 0, in_flight=4) for n in range(3)]
    told = list(answered(instructions, plain, k=3, sampling=Sampling(), in_flight=4))
    assert {one.instruction.id: one for one in kept} == {one.instruction.id: one for one in told}


def test_failures_of_models_asked_in_turn_rest_nowhere(tmp_path: Path) -> None:
    """The ledger has no reply of theirs to be read again."""
    gone, empty = Generation("", "error", error="server", detail="503"), Generation(" ", "stop", detail="nothing")
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        book = LedgerBook(ledger)
        models = [
            Ledgered(Says(name, lambda _, reply=reply: reply), book, price=lambda _: 0.0, reserve=lambda _: 0.0)
            for name, reply in (("gone", gone), ("empty", empty), ("good", GOOD))
        ]
        pool = [PoolModel(model, local=True) for model in models]
        found = list(answered([instruction(n) for n in range(3)], pool, k=3, sampling=Sampling()))
    assert [sorted(gone.reason for gone in one.dropped) for one in found] == [["call_failed", "empty_response"]] * 3
    assert [len(one.responses) for one in found] == [1] * 3
