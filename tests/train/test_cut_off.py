"""Responses that the limit of tokens cut off: their words are trained, and no end that they did not have."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_llava

from vlfeedback.records import Dropped, Finish, Group
from vlfeedback.train import Recipe, train
from vlfeedback.train._collate import Encoded, Encoder, collate, reader
from vlfeedback.train._layouts import layouts
from vlfeedback.train._log import read_log
from vlfeedback.train._logps import forward_logps, grouped_logps
from vlfeedback.train._tokens import Wording
from vlfeedback.train.sigmoid import load as sigmoid

Make = Callable[..., Recipe]


@pytest.fixture
def encode(processor: Any, colours: toy_llava.Colours) -> Callable[..., tuple[list[Encoded], Counter[str]]]:
    """Groups as ids, and what was left out by reason."""

    def run(group: Group, longest: int = 128) -> tuple[list[Encoded], Counter[str]]:
        items = list(Encoder(Wording(processor, reader(colours, mean=None)), longest).encode(group))
        kept = [item for item in items if isinstance(item, Encoded)]
        return kept, Counter(item.reason for item in items if isinstance(item, Dropped))

    return run


def cut(group: Group, *places: int, finish: Finish = "length") -> Group:
    """The group with some of its responses stopped before their end."""
    made = (replace(one, finish=finish if n in places else one.finish) for n, one in enumerate(group.responses))
    return replace(group, responses=tuple(made))


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_response_that_was_cut_off_gets_no_end(encode: Any, finish: Finish) -> None:
    group = toy_llava.group("what ?", ["a red", "no", ""], (3, 2, 1))
    ((whole,), _), ((made,), _) = encode(group), encode(cut(group, 0, 2, finish=finish))
    assert whole.responses[0].tolist() == [*made.responses[0].tolist(), 3]
    assert [one.tolist() for one in made.responses[1:]] == [one.tolist() for one in whole.responses[1:]]
    assert (made.cut, whole.cut) == ({group.responses[0].id}, frozenset()), "nothing said is nothing cut"
    fits = len(whole.prompt) + 2
    assert encode(cut(group, 0), fits)[1] == Counter()
    assert encode(group, fits)[1] == {"too_long": 2}


def test_words_that_differ_by_an_end_alone_are_identical(encode: Any) -> None:
    group = toy_llava.group("what ?", ["a dog", "a  dog", "no"], (3, 2, 1))
    for places in ((0,), (1,), (0, 1)):
        assert encode(cut(group, *places))[1] == {"identical": 1}


def test_log_p_is_over_the_words_alone(encode: Any, model: Any, processor: Any) -> None:
    group = toy_llava.group("what ?", ["a red circle", "no"], (2, 1))
    ((whole,), _), ((made,), _) = encode(group), encode(cut(group, 0))
    for way in layouts(model, processor):
        whole_rows, rows = (collate([one], layout=way.layout, pictures=lambda _: {}).rows for one in (whole, made))
        with torch.no_grad():
            every, found = forward_logps(model, whole_rows).double(), grouped_logps(model, rows)
        assert found.lengths.tolist() == [3, 2], way.name
        assert float(found.total[0]) == pytest.approx(float(every[:3].sum()), abs=1e-5), way.name


def test_what_was_cut_off_is_counted_and_is_other_data(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group = toy_llava.group("what ?", ["a red", "no"], (2, 1), [colours.picture((9, 9, 9))])
    lengths: list[tuple[float, float]] = []
    for given in (group, cut(group, 0, 1)):
        result = train([given], recipe(), roots=colours, out=tmp_path, objective=sigmoid())
        row = read_log(tmp_path / "train_log.jsonl")[0]
        lengths.append((row["lengths/chosen"], row["lengths/rejected"]))
    assert lengths == [(3, 2), (2, 1)]
    words = "2 responses were cut off in decoding: they are trained without an end token"
    assert result.warnings == (words,) and capsys.readouterr().err.count(words) == 1
    assert json.loads((tmp_path / "train.json").read_text())["result"]["warnings"] == [words]
