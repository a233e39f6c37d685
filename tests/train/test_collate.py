"""Groups to ids: what is kept, what is dropped and why, and which response is best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import toy_llava

from vlfeedback.errors import DataError
from vlfeedback.records import Dropped, Group, Rating
from vlfeedback.train._collate import Encoded, Encoder, reader
from vlfeedback.train._tokens import Wording

Make = Callable[..., Encoder]


@pytest.fixture
def encoder(processor: Any, colours: toy_llava.Colours) -> Make:
    def make(max_length: int = 128) -> Encoder:
        return Encoder(Wording(processor, reader(colours, mean=None)), max_length)

    return make


def split(items: list[Encoded | Dropped]) -> tuple[list[Encoded], Counter[str]]:
    kept = [item for item in items if isinstance(item, Encoded)]
    return kept, Counter(item.reason for item in items if isinstance(item, Dropped))


def test_each_response_is_there_once_with_all_its_pairs(encoder: Make, colours: toy_llava.Colours) -> None:
    group = toy_llava.group("what ?", ["yes", "no", "a dog", "a cat"], (4, 3, 2, 1), [colours.picture((1, 2, 3))])
    (made,), dropped = split(list(encoder().encode(group)))
    assert len(made.responses) == 4
    assert sorted(made.pairs) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert made.best == 0
    assert not dropped


def test_too_long_responses_take_their_pairs_with_them_and_leave_the_others(
    encoder: Make, colours: toy_llava.Colours
) -> None:
    long = " ".join(["sky"] * 60)
    group = toy_llava.group("what ?", [long, "no", "a dog", "a cat"], (4, 3, 2, 1), [colours.picture((1, 2, 3))])
    (made,), dropped = split(list(encoder(40).encode(group)))
    assert dropped == {"too_long": 3}
    assert len(made.pairs) == 3
    assert made.best == 0
    assert made.response_ids[0] == group.responses[1].id
    assert (made.prompt == 4).sum() == 9  # pictures are never cut


def test_the_longest_allowed_row_is_kept_and_one_token_more_is_not(encoder: Make) -> None:
    group = toy_llava.group("what ?", ["a red dog", "no"], (2, 1))
    prompt = len(next(item for item in encoder().encode(group) if isinstance(item, Encoded)).prompt)
    fits, none = split(list(encoder(prompt + 4).encode(group)))  # three words and the end token
    assert len(fits[0].pairs) == 1
    assert not none
    assert split(list(encoder(prompt + 3).encode(group))) == ([], {"too_long": 1})


def test_a_prompt_that_is_too_long_drops_all_pairs(encoder: Make, colours: toy_llava.Colours) -> None:
    group = toy_llava.group("the sky " * 40, ["yes", "no", "a"], (3, 2, 1), [colours.picture((1, 2, 3))])
    kept, dropped = split(list(encoder(40).encode(group)))
    assert (kept, dropped) == ([], {"too_long": 3})


def test_equal_texts_are_dropped_as_identical(encoder: Make) -> None:
    group = toy_llava.group("what ?", ["a dog", "a  dog", "no"], (3, 2, 1))  # equal ids under this tokenizer
    (made,), dropped = split(list(encoder().encode(group)))
    assert dropped == {"identical": 1}
    assert len(made.pairs) == 2


def test_missing_and_broken_pictures_drop_the_pairs_with_their_reason(
    encoder: Make, colours: toy_llava.Colours
) -> None:
    missing, broken = colours.picture((1, 2, 3)), colours.picture((3, 2, 1))
    del colours.bytes[missing.sha256]
    colours.bytes[broken.sha256] = b"no picture"
    for image, reason in ((missing, "missing_image"), (broken, "bad_image")):
        kept, dropped = split(list(encoder().encode(toy_llava.group("what ?", ["yes", "no"], (2, 1), [image]))))
        assert (kept, dropped) == ([], {reason: 1})


def test_a_prompt_without_its_image_tokens_is_dropped(encoder: Make, colours: toy_llava.Colours) -> None:
    made = encoder()
    made._wording._image_token_id = 77  # a processor and a model that disagree on the token
    group = toy_llava.group("what ?", ["yes", "no", "a"], (3, 2, 1), [colours.picture((1, 2, 3))])
    assert split(list(made.encode(group))) == ([], {"image_tokens": 3})


def test_tied_groups_are_nothing_for_pairs_and_one_response_for_imitation(encoder: Make) -> None:
    tied = toy_llava.group("what ?", ["yes", "no"], (3, 3))
    assert list(encoder().encode(tied)) == []
    (made,), _ = split(list(encoder().encode(tied, bare=True)))
    assert (made.pairs, made.best, len(made.responses)) == ((), 0, 1)
    unrated = replace(tied, ratings=(*tied.ratings, Rating(tied.responses[0].id, "Helpfulness", None)))
    assert list(encoder().encode(unrated, bare=True)) == []


def test_pairs_and_not_ratings_say_which_response_is_best(encoder: Make) -> None:
    """Shuffled ratings are a control: the true best must not come back through the anchor."""
    group = toy_llava.group("what ?", ["yes", "no", "a dog"], (1, 2, 3))
    liars = tuple(Rating(r.response_id, r.aspect, 6 - (r.score or 0)) for r in group.ratings)
    (made,), _ = split(list(encoder().encode(replace(group, ratings=liars))))
    assert made.response_ids[made.best or 0] == group.responses[2].id


def test_a_pair_of_a_stranger_is_an_error(encoder: Make) -> None:
    group = toy_llava.group("what ?", ["yes", "no"], (2, 1))
    other = toy_llava.group("is it ?", ["yes", "no"], (2, 1))
    with pytest.raises(DataError, match="does not have"):
        list(encoder().encode(Group(group.instruction, group.responses, (), other.pairs)))
