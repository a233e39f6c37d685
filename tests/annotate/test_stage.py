"""The stage: what is asked, what becomes of every reply, and books that balance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from annotate.judging import PICTURE, ScriptedJudge, answered, four
from hypothesis import given, strategies as st

from vlfeedback.annotate import (
    Answered,
    Cell,
    Judge,
    Parsed,
    Waiting,
    annotations,
    orders_of,
    read_reply,
    rubric_name,
    tally,
    vlfeedback,
)
from vlfeedback.errors import BooksError, ConfigError, ModelUnavailable, PluginError
from vlfeedback.ids import annotation_id, call_key
from vlfeedback.records import Annotation, Dropped, Finish, Generation, Rating, Request

RUBRIC = vlfeedback.load()


def shown(request: Request) -> list[str]:
    """Texts of a request, each of one line, in the order in which they are shown."""
    lines = (request.parts[-1].text or "").splitlines()
    return [line.removeprefix("> ") for line in lines if line.startswith("> ")]


def by_text(request: Request) -> Generation:
    """A judge without position: a text's score depends on the text alone."""
    blocks = ["A preamble."]
    for aspect in RUBRIC.aspects:
        blocks.append(f"#### {aspect} Assessment")
        for number, text in enumerate(shown(request), 1):
            blocks.append(f"##### Output for Text {number}\nRating: {score(text)}\nRationale: {text}")
    return Generation("\n".join(blocks), "stop")


def score(text: str) -> int:
    return len(text) % 5 + 1


def says(text: str, finish: Finish = "stop") -> ScriptedJudge:
    return ScriptedJudge(lambda _: Generation(text, finish))


def run(cases: Sequence[Answered], *judges: ScriptedJudge, **options: Any) -> list[Annotation | Dropped]:
    return list(annotations(cases, [Judge(judge) for judge in judges], options.pop("rubric", RUBRIC), **options))


def test_every_rating_lands_on_the_text_it_is_of() -> None:
    cases = [answered([f"{'x' * n}{k}" for n in range(1, 5)], f"question {k}") for k in range(20)]
    records = run(cases, ScriptedJudge(by_text), orders=3)
    texts = {response.id: response.text for case in cases for response in case.responses}
    assert len(records) == 60
    for record in records:
        assert isinstance(record, Annotation) and record.status == "ok"
        assert len(record.ratings) == 12
        for rating in record.ratings:
            assert rating.rationale == texts[rating.response_id]
            assert rating.score == score(texts[rating.response_id])


def test_an_annotation_says_what_was_asked_of_whom() -> None:
    judge = ScriptedJudge(by_text)
    case = four()
    (record,) = run([case], judge)
    (request,) = judge.asked
    assert isinstance(record, Annotation)
    texts = {response.id: response.text for response in case.responses}
    assert [texts[name] for name in record.order or ()] == shown(request)
    assert (record.instruction_id, record.judge, record.rubric) == (
        case.instruction.id,
        judge.identity,
        rubric_name(RUBRIC),
    )
    assert record.call_key == call_key(judge.identity, request)
    assert record.id == annotation_id(record.call_key, rubric_name(RUBRIC), f"{RUBRIC.name}@{RUBRIC.parser}")


def test_sampling_and_recipe_are_the_stages() -> None:
    judge = ScriptedJudge(by_text)
    run([four()], judge, temperature=0.3, top_p=0.9, max_tokens=77, seed=5, recipe="fit-512-jpeg90")
    (request,) = judge.asked
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.seed) == (0.3, 0.9, 77, 5)
    assert (request.recipe, request.purpose, request.images) == ("fit-512-jpeg90", "annotate", (PICTURE,))


def test_a_judge_that_wants_its_pictures_prepared_is_asked_so_and_the_key_says_it() -> None:
    judge, other = ScriptedJudge(by_text), ScriptedJudge(by_text, "other")
    judge.recipe = "fit-512-jpeg90"
    records = run([four()], judge, other)
    ((asked,), (as_it_is,)) = judge.asked, other.asked
    assert (asked.recipe, as_it_is.recipe) == ("fit-512-jpeg90", "original")
    keys = {record.judge: record.call_key for record in records if isinstance(record, Annotation)}
    assert keys == {judge.identity: call_key(judge.identity, asked), "other": call_key("other", as_it_is)}


def test_a_call_that_failed_is_dropped_and_never_rated() -> None:
    judge = ScriptedJudge(lambda _: Generation("", "error", error="rate_limited", detail="try later"))
    case = four()
    (record,) = run([case], judge)
    assert record == Dropped(
        "annotate", f"{case.instruction.id}/judge/scripted/0", "call_failed", "rate_limited: try later"
    )


@pytest.mark.parametrize(
    ("text", "finish", "status"),
    [
        ("no rating anywhere", "stop", "unparsed"),
        ("", "stop", "unparsed"),
        ("I'm sorry, but I can't assist with that request.", "stop", "refused"),
        ("I cannot rate these texts.", "stop", "refused"),
        ("I'm sorry. " + "On the other hand, " * 100, "stop", "unparsed"),
        ("I'm sorry.\n#### Helpfulness Assessment\n##### Output for Text 1\nRating: 4\n", "stop", "partial"),
        ("", "refused", "refused"),
        ("", "content_filter", "refused"),
        ("#### Helpfulness", "length", "truncated"),
    ],
)
def test_no_verdict_is_a_state_and_no_number(text: str, finish: Finish, status: str) -> None:
    (record,) = run([four()], says(text, finish))
    assert isinstance(record, Annotation)
    assert record.status == status
    assert len(record.ratings) == 12
    assert sum(rating.score is not None for rating in record.ratings) == (1 if status == "partial" else 0)


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_reply_that_was_cut_off_loses_its_last_block(finish: Finish) -> None:
    """`Rating: 1` at the very end may have been on its way to 10."""
    text = "#### Helpfulness Assessment\n##### Output for Text 1\nRating: 4\n##### Output for Text 2\nRating: 1"
    (record,) = run([four()], says(text, finish))
    assert isinstance(record, Annotation)
    assert [rating.score for rating in record.ratings if rating.aspect == "Helpfulness"] == [4, None, None, None]
    (whole,) = run([four()], says(text))
    assert isinstance(whole, Annotation)
    assert [rating.score for rating in whole.ratings if rating.aspect == "Helpfulness"] == [4, 1, None, None]


def test_what_cannot_be_judged_is_dropped_once_per_question() -> None:
    case = four()
    double = Answered(case.instruction, (case.responses[0], case.responses[0]))
    foreign = Answered(case.instruction, (replace(case.responses[0], instruction_id="another"),))
    judges = [ScriptedJudge(by_text, "one"), ScriptedJudge(by_text, "two")]
    for bad, reason in (
        (Answered(case.instruction, ()), "no_responses"),
        (double, "repeated_id"),
        (foreign, "bad_record"),
        (Waiting(case.instruction, 1), "waiting"),
    ):
        records = run([bad], *judges, orders=2)
        assert [record.reason for record in records if isinstance(record, Dropped)] == [reason] * 4
        names = {record.record_id for record in records if isinstance(record, Dropped)}
        assert len(names) == 4 and all(name.startswith(case.instruction.id) for name in names)
    assert judges[0].asked == judges[1].asked == []


@given(st.integers(1, 6), st.integers(1, 12))
def test_rotations_put_every_response_everywhere(count: int, orders: int) -> None:
    _, responses = answered([f"text {number}" for number in range(count)])
    found = orders_of(responses, orders)
    ids = sorted(response.id for response in responses)
    assert all(sorted(order) == ids for order in found)
    for start in range(0, orders - count + 1, count):
        square = found[start : start + count]
        for place in range(count):
            assert sorted(order[place] for order in square) == ids


def test_the_first_order_depends_on_content_and_not_on_the_pool() -> None:
    first_place: Counter[int] = Counter()
    for number in range(400):
        _, responses = answered(["a", "b", "c", "d"], f"question {number}")
        (order,) = orders_of(responses, 1)
        assert orders_of(responses[::-1], 1) == (order,)
        first_place[[response.id for response in responses].index(order[0])] += 1
    assert min(first_place.values()) > 60, f"a place is rarely first: {first_place}"


def test_the_papers_order_is_the_pools() -> None:
    _, responses = four()
    ids = tuple(response.id for response in responses)
    assert orders_of(responses, 2, "fixed") == (ids, (*ids[1:], ids[0]))


def test_repeated_orders_are_questions_of_their_own() -> None:
    judge = ScriptedJudge(by_text)
    records = run([answered(["a", "bb"])], judge, orders=5, in_flight=1)
    assert len({record.id for record in records if isinstance(record, Annotation)}) == 5
    assert [request.sampling.sample_index for request in judge.asked] == [0, 0, 1, 1, 2]


def test_books_balance_with_several_judges_and_orders() -> None:
    failing = iter(range(1000))

    def sometimes(request: Request) -> Generation:
        return Generation("", "error", error="server") if next(failing) % 3 == 0 else by_text(request)

    cases = [answered(["a", "bb", "ccc"], f"question {k}") for k in range(10)] + [Answered(four().instruction, ())]
    records = run(cases, ScriptedJudge(sometimes, "one"), ScriptedJudge(by_text, "two"), says("?"), orders=2)
    books = tally(records, RUBRIC.aspects)
    books.balance(instructions=11, judges=3, orders=2)
    assert books.annotations + books.dropped == 66
    assert (books.ok, books.unparsed) == (books.annotations - 20, 20)
    assert books.wanted == books.annotations * 9 == books.ratings + books.missing
    with pytest.raises(BooksError, match="questions"):
        tally(records[1:], RUBRIC.aspects).balance(instructions=11, judges=3, orders=2)


def test_books_notice_a_lost_rating() -> None:
    (record,) = run([four()], ScriptedJudge(by_text))
    assert isinstance(record, Annotation)
    lossy = replace(record, ratings=record.ratings[1:])
    with pytest.raises(BooksError, match="11 given"):
        tally([lossy], RUBRIC.aspects).balance(instructions=1, judges=1, orders=1)


def test_it_is_a_stream() -> None:
    """Judging starts when the first instruction is there, and the source is read no faster than it is judged."""
    read = 0

    def source() -> Iterator[Answered]:
        nonlocal read
        for number in range(10_000):
            read += 1
            yield answered(["a", "b"], f"question {number}")

    stream = annotations(source(), [Judge(ScriptedJudge(by_text))], RUBRIC, in_flight=4)
    assert isinstance(next(stream), Annotation)
    assert read < 50
    stream.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert read < 50


def test_leaving_early_closes_the_room_above() -> None:
    closed: list[bool] = []

    def source() -> Iterator[Answered]:
        try:
            for number in range(10_000):
                yield answered(["a", "b"], f"question {number}")
        finally:
            closed.append(True)

    above = source()
    stream = annotations(above, [Judge(ScriptedJudge(by_text))], RUBRIC, in_flight=2)
    next(stream)
    stream.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert closed == [True]


def test_objects_of_another_room_do_as_well() -> None:
    case = four()
    like = SimpleNamespace(instruction=case.instruction, responses=list(case.responses))
    assert run([like], ScriptedJudge(by_text)) == run([case], ScriptedJudge(by_text))  # pyright: ignore[reportArgumentType]


def test_a_judge_that_cannot_be_used_stops_the_room() -> None:
    def dead(_: Request) -> Generation:
        raise ModelUnavailable("no such model; check its name")

    with pytest.raises(ModelUnavailable, match="check its name"):
        run([four()], ScriptedJudge(dead))


def test_mistakes_of_the_caller() -> None:
    with pytest.raises(ConfigError, match="no judge"):
        run([four()])
    with pytest.raises(ConfigError, match="judge/scripted"):
        run([four()], ScriptedJudge(by_text), ScriptedJudge(by_text))
    with pytest.raises(ConfigError, match="orders"):
        run([four()], ScriptedJudge(by_text), orders=0)


class Forgetful:
    """The papers' rubric with one function replaced."""

    name, version, parser, aspects, scale = "forgetful", "1", "1", RUBRIC.aspects, RUBRIC.scale
    render, parse = staticmethod(RUBRIC.render), staticmethod(RUBRIC.parse)


def test_a_rubric_cannot_leave_out_the_picture() -> None:
    """Seen elsewhere: pictures were skipped in silence, and the answers ignored them."""

    class Blind(Forgetful):
        @staticmethod
        def render(instruction: Any, responses: Any, order: Any) -> Request:
            return RUBRIC.render(replace(instruction, images=()), responses, order)

    with pytest.raises(PluginError, match="pictures"):
        run([four()], ScriptedJudge(by_text), rubric=Blind())


@pytest.mark.parametrize(
    "ratings",
    [
        [Rating("stranger", "Helpfulness", 3)],
        [Rating("{first}", "Beauty", 3)],
        [Rating("{first}", "Helpfulness", 10)],
        [Rating("{first}", "Helpfulness", 0)],
        [Rating("{first}", "Helpfulness", 3), Rating("{first}", "Helpfulness", 3)],
    ],
)
def test_a_parser_cannot_invent(ratings: list[Rating]) -> None:
    class Inventive(Forgetful):
        @staticmethod
        def parse(text: str, order: Sequence[str]) -> Parsed:
            return Parsed(tuple(replace(r, response_id=r.response_id.format(first=order[0])) for r in ratings))

    with pytest.raises(PluginError, match="forgetful"):
        run([four()], says("whatever"), rubric=Inventive())


def test_a_rubric_cannot_forget_to_count() -> None:
    class Silent(Forgetful):
        @staticmethod
        def parse(text: str, order: Sequence[str]) -> Parsed:
            return Parsed((Rating(order[-1], "Helpfulness", 3),))

    (record,) = run([four()], says("whatever"), rubric=Silent())
    assert isinstance(record, Annotation)
    assert record.status == "partial"
    assert {Cell(rating.response_id, rating.aspect) for rating in record.ratings} == {
        Cell(response, aspect) for response in record.order or () for aspect in RUBRIC.aspects
    }


def test_a_kept_reply_is_read_again_without_a_call() -> None:
    judge = ScriptedJudge(by_text)
    case = four()
    (record,) = run([case], judge)
    assert isinstance(record, Annotation) and record.order is not None
    kept = (case.instruction.id, judge.identity, judge.asked[0], record.order, by_text(judge.asked[0]))
    again = read_reply(RUBRIC, *kept)
    assert again == record

    class Mended(Forgetful):
        name, version, parser = RUBRIC.name, RUBRIC.version, RUBRIC.parser + "+"

    mended = read_reply(Mended(), *kept)
    assert mended is not None
    assert (mended.call_key, mended.rubric, mended.ratings) == (record.call_key, record.rubric, record.ratings)
    assert mended.id != record.id
