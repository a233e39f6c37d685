"""The CHAIR-like caption metric: which things a caption mentions, and what is pooled."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluate import copies
from evaluate.asking import answer
from hypothesis import given, strategies as st

from vlfeedback import evaluate
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.evaluate import chair
from vlfeedback.evaluate._chair_words import WORDS, mentioned


@pytest.mark.parametrize(
    ("text", "things"),
    [
        ("Two men ride bikes past a fire truck.", {"person", "bicycle", "truck"}),
        ("A hot dog, not a dog.", {"hot dog", "dog"}), ("A teddy bear.", {"teddy bear"}), ("Bears!", {"bear"}),
        ("A roll of toilet paper.", set()), ("A stop sign and traffic lights", {"stop sign", "traffic light"}),
        ("The man's tie", {"tie"}), ("Three buses, two knives", {"bus", "knife"}), ("A scenic carpet.", set()),
        ("SHEEP and sheep", {"sheep"}), ("", set()), ("A hot\ndog", {"hot dog"}), ("Puppies play.", {"dog"}),
        ("a train station", set()), ("baseball bats", {"baseball bat"}), ("strawberries", set()),
        ("A baby elephant", {"elephant"}), ("Adult giraffes.", {"giraffe"}), ("Passengers leave", {"person"}),
        ("A passenger train, passenger planes", {"train", "airplane"}), ("A baby holds a bear", {"person", "bear"}),
        ("Motor bikes and a bike", {"motorcycle", "bicycle"}), ("a stuffed bear", {"teddy bear"}),
    ],
)  # fmt: skip
def test_things_are_words_and_the_longest_phrase_counts(text: str, things: set[str]) -> None:
    assert mentioned(text) == things


@given(st.text())
def test_the_reader_is_total_and_knows_its_eighty_things(text: str) -> None:
    assert mentioned(text) <= WORDS.keys() and len(WORDS) == 80


@pytest.mark.parametrize("name", sorted(WORDS))
def test_every_thing_is_found_under_each_of_its_words(name: str) -> None:
    for word in (name, *WORDS[name]):
        assert mentioned(f"There is a {word} here.") == {name}, word


def test_invented_things_are_pooled_over_captions_and_reference_captions_are_truth(tmp_path: Path) -> None:
    roots = copies.chair(tmp_path)
    benchmark = chair.load(path=tmp_path, images="pictures", roots=roots)
    items = list(benchmark.items())
    # A man and a couch are in the reference captions; the first thing is a cat or a dining table.
    assert {item.expected for item in items} == {"cat, couch, person", "couch, dining table, person"}
    texts = ("A man and a dog.", "A cat, a table, a zebra and a sofa.", "Nothing much.", "A person.")
    answers = [answer(item, text, benchmark="chair") for item, text in zip(items, texts, strict=True)]
    scores = evaluate.item_scores(benchmark, items, answers)
    found = {one.metric: one.value for one in benchmark.summarise(scores)}
    assert found["chair_i"] == (1 + 2) / (2 + 4 + 0 + 1) and found["chair_s"] == 2 / 4
    assert found["recall"] == pytest.approx((1 / 3 + 2 / 3 + 0 + 1 / 3) / 4)
    assert sum(one.state == "unparsable" for one in scores if one.metric == "chair_s") == 1


def test_a_larger_sample_holds_the_smaller_one(tmp_path: Path) -> None:
    roots = copies.chair(tmp_path)
    small, large = (
        [item.item_id for item in chair.load(path=tmp_path, images="pictures", roots=roots, sample=n).items()]
        for n in (2, 4)
    )
    assert large[:2] == small and len(set(large)) == 4
    with pytest.raises(ConfigError, match="at least 1"):
        chair.load(path=tmp_path, images="pictures", roots=roots, sample=0)
    (tmp_path / "instances_val2014.json").write_text("{}")
    with pytest.raises(DataError, match="annotation file of COCO"):
        list(chair.load(path=tmp_path, images="pictures", roots=roots).items())
