"""The stage: what it reads, what it refuses, and where a pair's record points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from vlfeedback.errors import BooksError, ConfigError, PluginError
from vlfeedback.ids import pair_id
from vlfeedback.pair import (
    ASPECTS,
    Candidate,
    Decision,
    Example as Case,
    Sketch,
    all_pairs,
    annotation_ids,
    candidates_of,
    pairs,
    single_aspect,
    strongest_as_best,
    tally,
)
from vlfeedback.records import Annotation, Dropped, Group, PreferencePair, Rating


def group(*responses: Sketch) -> Group:
    return Case("", responses, ()).group()


TWO = group(Sketch("m1", "one", (5, 4, 5)), Sketch("m2", "two", (4, 4, 5)))


def test_a_pair_says_where_it_comes_from() -> None:
    judged = {TWO.instruction.id: ("an1", "an2")}
    (record,) = pairs([TWO], all_pairs.load(), judged=judged)
    good, bad = (response.id for response in TWO.responses)
    assert record == PreferencePair(
        pair_id(good, bad, "all_pairs"), TWO.instruction.id, good, bad, 1 / 3, "all_pairs", 1.0, ("an1", "an2")
    )


def test_a_dropped_pair_has_one_id_whichever_way_round() -> None:
    tied = group(Sketch("m1", "one", (4, 4, 4)), Sketch("m2", "two", (4, 4, 4)))
    (one,) = pairs([tied], all_pairs.load())
    (other,) = pairs([replace(tied, responses=tied.responses[::-1])], all_pairs.load())
    low, high = sorted(response.id for response in tied.responses)
    assert one == other == Dropped("pair", pair_id(low, high, "all_pairs"), "tie", f"{low} {high}")


def test_several_annotations_are_averaged_per_aspect() -> None:
    name = TWO.responses[0].id
    more = (Rating(name, "Helpfulness", 2), Rating(name, "Visual Faithfulness", None), Rating(name, "Other", 1))
    (candidate, _) = candidates_of(replace(TWO, ratings=TWO.ratings + more), ASPECTS)
    assert dict(candidate.means) == {"Helpfulness": 3.5, "Visual Faithfulness": 4, "Ethical Considerations": 5}
    assert candidate.overall is not None and candidate.overall * 6 == 25


def said(judged: dict[str, list[int | None]]) -> Group:
    """Ratings of helpfulness alone, by text: one of each judge."""
    texts = group(*(Sketch("m", text, (None, None, None)) for text in judged))
    return replace(
        texts,
        ratings=tuple(
            Rating(response.id, "Helpfulness", given)
            for turn in zip(*judged.values(), strict=True)
            for response, given in zip(texts.responses, turn, strict=True)
        ),
    )


@pytest.mark.parametrize("missing", [None, 0, 10])
@pytest.mark.parametrize("turn", [1, -1])
def test_a_missing_rating_of_a_strict_judge_is_no_high_one(missing: int | None, turn: int) -> None:
    """Both judges find the second text better; the strict one says nothing of the first, and no pair turns round."""
    judged: dict[str, list[int | None]] = {"one": [4, missing][::turn], "two": [5, 2][::turn], "three": [3, 1][::turn]}
    found = said(judged)
    texts = {response.id: response.text for response in found.responses}
    chosen = [(texts[one.chosen_id], texts[one.rejected_id], one.margin)
              for one in pairs([found], all_pairs.load()) if isinstance(one, PreferencePair)]  # fmt: skip
    assert chosen == [("two", "one", 1), ("one", "three", 1), ("two", "three", 2)]


def test_annotations_that_rate_as_many_responses_count_together_or_the_order_has_no_say() -> None:
    both = said({"one": [5, 4], "two": [4, 2], "three": [None, None]})
    assert [one.overall for one in candidates_of(both)] == [4.5, 3, None]
    apart = said({"one": [None, 2], "two": [4, 1], "three": [3, None], "four": [1, 5]})
    turned = replace(apart, ratings=apart.ratings[4:] + apart.ratings[:4])
    assert [one.overall for one in candidates_of(apart)] == [one.overall for one in candidates_of(turned)]
    assert sum(one.overall is not None for one in candidates_of(apart)) == 3
    nobody = said({"one": [None, None], "two": [None, None]})
    assert [one.overall for one in candidates_of(nobody)] == [None, None]


def test_the_rubrics_aspects_decide_what_is_complete() -> None:
    half = group(Sketch("m1", "one", (5, 4, None)), Sketch("m2", "two", (4, 4, None)))
    assert tally(pairs([half], all_pairs.load())).incomplete == 1
    assert tally(pairs([half], all_pairs.load(), aspects=ASPECTS[:2])).pairs == 1
    two = replace(half, ratings=tuple(rating for rating in half.ratings if rating.aspect in ASPECTS[:2]))
    assert tally(pairs([two], all_pairs.load())).pairs == 1, "a rubric of two aspects"
    assert tally(pairs([two], all_pairs.load(), aspects=ASPECTS)).incomplete == 1
    assert tally(pairs([replace(half, ratings=())], all_pairs.load())).incomplete == 1


@pytest.mark.parametrize("score", [0, 10, -1])
def test_a_score_off_the_scale_is_missing(score: int) -> None:
    """Seen elsewhere: a ten that should have been a one was trained on."""
    wrong = group(Sketch("m1", "one", (score, 4, 5)), Sketch("m2", "two", (4, 4, 5)))
    assert tally(pairs([wrong], all_pairs.load())).incomplete == 1
    assert tally(pairs([wrong], all_pairs.load(), scale=(-5, 10))).pairs == 1


def test_a_rating_of_nothing_is_not_overlooked() -> None:
    lost = replace(TWO, ratings=(*TWO.ratings, Rating("stranger", "Helpfulness", 5)))
    with pytest.raises(BooksError, match="stranger"):
        list(pairs([lost], all_pairs.load()))


def test_a_strategy_for_another_rubric_is_refused() -> None:
    with pytest.raises(ConfigError, match="Beauty; choose from Helpfulness"):
        list(pairs([TWO], single_aspect.load(aspect="Beauty")))


@dataclass(frozen=True)
class Says:
    """A strategy that says the same of everything."""

    decisions: tuple[Decision, ...]
    name: str = "says"
    aspects: tuple[str, ...] = ()

    def decide(self, candidates: Sequence[Candidate]) -> Iterable[Decision]:
        return self.decisions


def test_what_a_strategy_does_not_mention_is_filtered() -> None:
    books = tally(pairs([TWO], Says(())))
    assert (books.filtered, books.dropped, books.pairs) == (1, 1, 0)


@pytest.mark.parametrize(
    "decisions",
    [(Decision(0, 1), Decision(1, 0)), (Decision(0, 0),), (Decision(0, 2),), (Decision(-1, 0),)],
    ids=["twice", "itself", "nobody", "backwards"],
)
def test_a_strategy_cannot_break_the_books(decisions: tuple[Decision, ...]) -> None:
    with pytest.raises(PluginError, match="says"):
        list(pairs([TWO], Says(decisions)))


def test_groups_of_fewer_than_two_give_nothing() -> None:
    assert list(pairs([group(), group(Sketch("m1", "one", (5, 5, 5)))], all_pairs.load())) == []


def test_it_is_a_stream() -> None:
    read = 0

    def source() -> Iterator[Group]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield TWO

    next(pairs(source(), all_pairs.load()))
    assert read == 1


def test_the_strongest_model_is_found_over_the_whole_run() -> None:
    """In the first group `b` is better, over all of them `a` is."""
    groups = [
        group(Sketch("a", "1", (3, 3, 3)), Sketch("b", "2", (5, 5, 5)), Sketch("c", "3", (1, None, 1))),
        group(Sketch("a", "1", (5, 5, 5)), Sketch("b", "2", (1, 1, 1)), Sketch("c", "3", (5, 5, 5))),
        group(Sketch("a", "1", (5, 5, 5)), Sketch("b", "2", (1, 1, 1)), Sketch("c", "3", (1, 1, 1))),
    ]
    for source in (groups, iter(groups)):
        records = list(pairs(source, strongest_as_best.load()))
        assert tally(records).pairs == 6 and tally(records).filtered == 3
        assert {record.strategy for record in records if isinstance(record, PreferencePair)} == {
            "strongest_as_best(model=a)"
        }
        margins = [record.margin for record in records if isinstance(record, PreferencePair)]
        assert margins == [-2.0, None, 4.0, 0.0, 4.0, 4.0]


def test_a_model_is_strong_by_its_mean_and_not_by_how_often_it_answered() -> None:
    often = [group(Sketch("often", str(k), (3, 3, 3)), Sketch("weak", f"{k}!", (1, 1, 1))) for k in range(3)]
    rare = group(Sketch("rare", "1", (5, 5, 5)), Sketch("weak", "2", (1, 1, 1)))
    assert tally(pairs([*often, rare], strongest_as_best.load())).pairs == 1


def test_books_with_a_hole_are_refused() -> None:
    records = list(pairs([TWO], all_pairs.load()))
    tally(records).balance(1)
    for count in (0, 2):
        with pytest.raises(BooksError, match="1 pairs"):
            tally(records).balance(count)


def test_annotation_ids_are_of_those_that_rate_something() -> None:
    def annotation(name: str, score: int | None) -> Annotation:
        return Annotation(name, "i", "j", "r", None, "ok", (Rating("x", "Helpfulness", score),), "c")

    assert annotation_ids([annotation("b", 4), annotation("a", 5), annotation("c", None)]) == {"i": ("a", "b")}
