"""The stage: asking, three states, books by id, headlines refused, comparisons paired."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from evaluate.asking import answer, say

from vlfeedback import evaluate, tables
from vlfeedback.errors import BooksError, ConfigError, DataError, ModelUnavailable
from vlfeedback.evaluate import Item
from vlfeedback.ids import call_key
from vlfeedback.records import Answer, Generation, Image, ItemScore, Request, Score

PICTURE = Image("0" * 64, "run:a.png", 8, 8)


def item(number: int, stratum: str = "s", cluster: str = "") -> Item:
    return Item(f"i{number}", f"Question {number}?", (PICTURE,), cluster or f"c{number}", stratum, "yes")


@dataclass
class Exact:
    """A benchmark whose score is whether the text equals the expected answer; `break_it` damages what it gives."""

    break_it: str = ""
    name: str = "exact"
    protocol: str = "exact/1"

    def items(self) -> Iterator[Item]:
        return (item(number) for number in range(4))

    def score(self, items: Sequence[Item], answers: Iterable[Answer]) -> Iterator[ItemScore]:
        expected = {one.item_id: one.expected for one in items}
        for number, given in enumerate(answers):
            failed = given.finish == "error" and self.break_it != "scores what failed"
            state = "failed" if failed else "scored" if given.text else "unparsable"
            one = ItemScore(
                given,
                self.protocol,
                "accuracy",
                None if failed else float(given.text == expected[given.item_id]),
                state,
            )
            if self.break_it == "loses" and number == 1:
                continue
            if self.break_it == "invents":
                one = dataclasses.replace(one, answer=dataclasses.replace(given, item_id="other"))
            yield one
            if self.break_it == "repeats":
                yield one

    def summarise(self, item_scores: Iterable[ItemScore]) -> list[Score]:
        return evaluate.summarise(item_scores)


@dataclass
class Recorder:
    identity: str = "recorder"
    recipe: str = "fit-8-png"
    asked: list[Request] = field(default_factory=list)

    async def answer(self, request: Request) -> Generation:
        self.asked.append(request)
        text = request.parts[-1].text or ""
        if "2" in text:
            return Generation("half a", "error", error="server", detail="reset")
        return Generation("no" if "3" in text else "yes", "length" if "1" in text else "stop")


def test_every_item_is_asked_once_greedily_with_its_pictures_first() -> None:
    model = Recorder()
    items = list(Exact().items())
    found = list(evaluate.answers(items, model, benchmark="exact", model_name="m", in_flight=2))
    assert {one.item_id for one in found} == {one.item_id for one in items} and len(found) == 4
    assert len(model.asked) == 4
    for request in model.asked:
        assert request.sampling.temperature == 0 and request.purpose == "evaluate" and request.system == ""
        assert request.parts[0].image == PICTURE and (request.parts[1].text or "").startswith("Question")
        assert request.recipe == "fit-8-png"
    by_id = {one.item_id: one for one in found}
    assert by_id["i0"].call_key == call_key("recorder", evaluate.request(items[0], recipe="fit-8-png"))
    assert by_id["i0"].model == "m" and by_id["i1"].finish == "length"


def test_a_call_without_a_reply_has_no_text_and_is_never_scored() -> None:
    items = list(Exact().items())
    found = list(evaluate.answers(items, Recorder(), benchmark="exact", in_flight=4))
    lost = next(one for one in found if one.item_id == "i2")
    assert (lost.text, lost.finish, lost.model) == ("", "error", "recorder")
    scores = evaluate.item_scores(Exact(), items, found)
    assert [one.state for one in scores] == ["scored", "scored", "failed", "scored"]
    assert [one.value for one in scores] == [1, 1, None, 0]


def test_a_model_that_cannot_be_used_stops_the_room() -> None:
    class Gone(Recorder):
        async def answer(self, request: Request) -> Generation:
            raise ModelUnavailable("the key is wrong")

    with pytest.raises(ModelUnavailable, match="key"):
        list(evaluate.answers(Exact().items(), Gone(), benchmark="exact"))


@pytest.mark.parametrize("damage", ["loses", "repeats", "invents", "scores what failed"])
def test_a_scorer_that_cooks_the_books_is_caught(damage: str) -> None:
    items = list(Exact().items())
    answers = [answer(one, "yes", finish="error" if one.item_id == "i0" else "stop") for one in items]
    evaluate.item_scores(Exact(), items, answers)
    with pytest.raises(BooksError):
        evaluate.item_scores(Exact(damage), items, answers)


def test_answers_are_joined_by_id_and_none_may_be_missing_or_foreign() -> None:
    items = list(Exact().items())
    answers = say(items, lambda one: "yes" if one.item_id == "i0" else "no")
    scores = evaluate.item_scores(Exact(), items, reversed(answers))
    assert [(one.answer.item_id, one.value) for one in scores] == [("i0", 1), ("i1", 0), ("i2", 0), ("i3", 0)]
    with pytest.raises(BooksError, match="1 of 4 items have no answer"):
        evaluate.item_scores(Exact(), items, answers[1:])
    with pytest.raises(BooksError, match="1 answers have no item"):
        evaluate.item_scores(Exact(), items[1:], answers)
    with pytest.raises(BooksError, match="twice"):
        evaluate.item_scores(Exact(), items, [*answers, answers[0]])
    with pytest.raises(ConfigError, match="several models"):
        evaluate.item_scores(Exact(), items, [*answers[1:], answer(items[0], "yes", model="other")])


# ── summaries ───────────────────────────────────────────────────────────────────────────────────────────────────────


def scored(
    values: Sequence[float | None],
    *,
    metric: str = "accuracy",
    model: str = "m",
    strata: int = 1,
    prefix: str = "i",
    judge: str | None = None,
) -> list[ItemScore]:
    found: list[ItemScore] = []
    for number, value in enumerate(values):
        one = item(number, f"s{number % strata}")
        given = dataclasses.replace(answer(one, "t", benchmark="b", model=model), item_id=f"{prefix}{number}")
        found.append(ItemScore(given, "b/1", metric, value, "failed" if value is None else "scored", judge))
    return found


def test_means_have_intervals_and_counts() -> None:
    (one,) = evaluate.summarise(scored([1.0, 0.0, 0.5] * 20))
    assert one.value == pytest.approx(0.5) and one.n == 60 and one.ci_low is not None and one.ci_low < 0.5
    assert (one.benchmark, one.protocol, one.metric, one.model) == ("b", "b/1", "accuracy", "m")


def test_sums_are_of_stratum_means_and_the_parts_follow() -> None:
    scores = evaluate.summarise(scored([200.0, 50.0, 0.0] * 30, metric="perception", strata=3))
    assert {one.metric: one.value for one in scores} == {
        "perception": 250, "perception/s0": 200, "perception/s1": 50, "perception/s2": 0
    }  # fmt: skip


def test_a_headline_is_refused_when_too_many_replies_are_missing() -> None:
    few = scored([1.0] * 50 + [0.0] * 48 + [None] * 2)
    (one,) = evaluate.summarise(few)
    assert one.n == 98 and one.n_failed == 2 and one.value == pytest.approx(50 / 98)
    with pytest.raises(DataError, match="3 of 100 items of 'accuracy' have no reply from m"):
        evaluate.summarise(scored([1.0] * 97 + [None] * 3))
    assert evaluate.summarise(scored([1.0] * 97 + [None] * 3), max_failed=0.1)


def test_a_metric_without_any_value_has_no_score_rather_than_a_zero() -> None:
    scores = [
        dataclasses.replace(one, value=None, state="unparsable") for one in scored([0.0] * 40, metric="hallucination")
    ]
    assert evaluate.summarise(scores) == []


def test_models_protocols_and_judges_never_mix() -> None:
    rows = [*scored([1.0] * 40), *scored([0.0] * 40, model="n"), *scored([0.5] * 40, judge="j")]
    assert {(one.model, one.judge): one.value for one in evaluate.summarise(rows)} == {
        ("m", None): 1, ("n", None): 0, ("m", "j"): 0.5
    }  # fmt: skip


def test_scores_survive_their_table(tmp_path: Path) -> None:
    rows = scored([1.0, None, 0.0])
    tables.write(tmp_path / "item_scores.parquet", ItemScore, rows, room="evaluate")
    assert list(tables.read(tmp_path / "item_scores.parquet", ItemScore)) == rows


# ── comparisons ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_models_are_compared_on_the_items_both_have() -> None:
    old = scored([0.0] * 60 + [None] + [1.0] * 5)
    new = list(reversed(scored([1.0] * 30 + [0.0] * 30 + [1.0] * 6, model="n")))[:-1]
    (row,) = evaluate.compare(old, new)
    assert (row.old_model, row.new_model) == ("m", "n")
    assert row.difference.n == 64 and row.unshared == 2
    assert row.new - row.old == pytest.approx(row.difference.value) == pytest.approx(29 / 64)
    assert row.difference.low is not None and row.difference.low > 0
    assert "is beyond the noise; 95 % interval" in evaluate.sentence(row)


def test_a_difference_within_noise_says_what_would_have_been_found() -> None:
    old = scored([1.0, 0.0] * 40)
    new = scored([1.0, 0.0] * 20 + [0.0, 1.0] * 19 + [1.0, 1.0], model="n")
    (row,) = evaluate.compare(old, new)
    words = evaluate.sentence(row)
    assert f"is inside the noise: 80 questions detect {row.difference.mde:.2g};" in words


def test_sums_are_compared_within_strata_and_parts_on_request() -> None:
    old, new = (
        scored([50.0] * 90, metric="cognition", strata=3),
        scored([200.0] * 90, metric="cognition", strata=3, model="n"),
    )
    (row,) = evaluate.compare(old, new)
    assert row.difference.value == 450
    assert [one.metric for one in evaluate.compare(old, new, parts=True)] == [
        "cognition", "cognition/s0", "cognition/s1", "cognition/s2"
    ]  # fmt: skip


def test_what_cannot_be_compared_is_refused() -> None:
    old = scored([1.0] * 40)
    with pytest.raises(ConfigError, match="share no item"):
        evaluate.compare(old, scored([1.0] * 40, model="n", judge="another judge"))
    with pytest.raises(ConfigError, match="share no item"):
        evaluate.compare(old, scored([1.0] * 40, model="n", prefix="other"))
    with pytest.raises(ConfigError, match="one side holds m, n"):
        evaluate.compare(old, [*old, *scored([1.0] * 40, model="n")])
    with pytest.raises(BooksError, match="two scores"):
        evaluate.compare([*old, old[0]], old)


def test_a_comparison_is_written_as_the_report_reads_it() -> None:
    (row,) = evaluate.compare(scored([0.0] * 50), scored([1.0, 0.0] * 25, model="n"))
    entry = row.to_json()
    assert {
        "benchmark",
        "protocol",
        "metric",
        "base",
        "other",
        "difference",
        "ci_low",
        "ci_high",
        "p",
        "mde",
        "n",
    } <= entry.keys()
    assert entry["base"] == "m" and entry["other"] == "n" and entry["difference"] == 0.5
