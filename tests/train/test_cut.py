"""A prompt with more responses than fit one forward: cut, bounded, and trained as the whole."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_llava
from hypothesis import given, settings, strategies as st

from vlfeedback.train import Recipe, train
from vlfeedback.train._collate import Encoded
from vlfeedback.train._cut import in_pieces, parts_of
from vlfeedback.train._layout import Layout, UnsharedRows
from vlfeedback.train._log import read_log
from vlfeedback.train._shared import SharedRows
from vlfeedback.train.plackett_luce import load as plackett_luce
from vlfeedback.train.sigmoid import load as sigmoid

Make = Callable[..., Recipe]


@st.composite
def cases(draw: st.DrawFn) -> Encoded:
    lengths = draw(st.lists(st.integers(1, 30), min_size=2, max_size=25))
    every = [(a, b) for a in range(len(lengths)) for b in range(len(lengths)) if a < b]
    pairs = tuple(draw(st.lists(st.sampled_from(every), min_size=1, unique=True)))
    return Encoded(
        "g", "", (), np.arange(draw(st.integers(1, 40)), dtype=np.int32), {}, 0,
        tuple(np.full(n, k, np.int32) for k, n in enumerate(lengths)), tuple(map(str, range(len(lengths)))), pairs,
        tuple(f"{a}-{b}" for a, b in pairs), tuple(float(a + 1) for a, _ in pairs), pairs[0][0],
        tuple(float(b) for _, b in pairs),
    )  # fmt: skip


@given(cases(), st.sampled_from([SharedRows(0), UnsharedRows(0)]), st.integers(60, 400))
@settings(deadline=None, max_examples=150)
def test_every_pair_is_in_one_part_and_parts_fit(group: Encoded, layout: Layout, budget: int) -> None:
    parts = parts_of([group], layout, budget, sigmoid()).groups
    assert Counter(name for part in parts for name in part.pair_ids) == Counter(group.pair_ids)
    for part in parts:
        assert layout.rows(part) * layout.cost(part) <= budget or len(part.responses) <= 3
        assert part.best is not None and part.response_ids[part.best] == group.response_ids[group.best or 0]
        for pair, name, weight, gap in zip(part.pairs, part.pair_ids, part.weights, part.gaps, strict=True):
            chosen, rejected = (int(part.response_ids[i]) for i in pair)
            assert (name, weight, gap) == (f"{chosen}-{rejected}", chosen + 1, rejected)
    pieces = in_pieces(group, layout, budget)
    assert [name for piece in pieces for name in piece.response_ids] == list(group.response_ids)


@given(cases(), st.integers(60, 400))
@settings(deadline=None, max_examples=150)
def test_a_winner_keeps_all_that_it_beats_or_is_dropped_alone(group: Encoded, budget: int) -> None:
    layout = SharedRows(0)
    parts, dropped = parts_of([group], layout, budget, plackett_luce())
    names = [name for part in parts for name in part.pair_ids] + [one.record_id for one in dropped]
    assert sorted(names) == sorted(group.pair_ids)
    where = Counter((name.split("-")[0], n) for n, part in enumerate(parts) for name in set(part.pair_ids))
    assert len({winner for winner, _ in where}) == len(where), "a winner is in one part"
    for winner in {one.record_id.split("-")[0] for one in dropped}:
        beaten = [int(name.split("-")[1]) for name in group.pair_ids if name.split("-")[0] == winner]
        said = sum(len(group.responses[i]) - 1 for i in [int(winner), *beaten])
        assert len(group.prompt) + said > budget


def measured(arrange: Any, sizes: list[int]) -> Any:
    """`arrange` that notes how many tokens a forward gets, whether to check, for the reference or to train."""

    def noted(self: Any, *given: Any) -> Any:
        rows = arrange(self, *given)
        sizes.append(rows.inputs["input_ids"].numel())
        return rows

    return noted


@pytest.mark.parametrize("name", ["sigmoid", "anchored", "mdpo", "mpo", "plackett_luce", "best_response"])
def test_a_cut_group_is_trained_as_the_whole_one_is(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    words = toy_llava.WORDS
    replies = [" ".join(words[(n + k) % 20] for k in range(3 + n % 9)) for n in range(14)]
    large = toy_llava.group("what is there ?", replies, list(range(14, 0, -1)), [colours.picture((9, 200, 30))])
    near = {(large.responses[a].id, large.responses[b].id) for a in range(14) for b in range(a + 1, min(a + 6, 14))}
    large = replace(large, pairs=tuple(pair for pair in large.pairs if (pair.chosen_id, pair.rejected_id) in near))
    groups = [*toy_llava.groups(colours, 3), large]
    load = importlib.import_module(f"vlfeedback.train.{name}").load
    widest: list[int] = []
    for layout in (SharedRows, UnsharedRows):
        monkeypatch.setattr(layout, "arrange", measured(layout.arrange, widest))
    logs: list[list[dict[str, Any]]] = []
    for budget in (1000, 90):
        widest.clear()
        made = recipe(tokens_per_batch=budget, pairs_per_step=200, epochs=3, learning_rate=1e-4)
        result = train(groups, made, roots=colours, out=tmp_path / f"{budget}", objective=load())
        assert (result.trained, result.steps, result.groups) == (67, 3, 4)
        logs.append([row for row in read_log(tmp_path / f"{budget}" / "train_log.jsonl") if "loss" in row])
    assert max(widest) <= 90
    for whole, cut in zip(*logs, strict=True):
        assert cut["pairs"] == whole["pairs"] == 67
        for key in ("loss", "grad_norm", "rewards/margins"):
            assert cut[key] == pytest.approx(whole[key], rel=1e-3, abs=1e-6), key


def test_winners_that_do_not_fit_are_dropped_with_their_reason(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replies = [" ".join(toy_llava.WORDS[n : n + 6]) for n in range(10)]
    groups = [toy_llava.group("what ?", replies, list(range(10, 0, -1)), [colours.picture((9, 200, 30))])]
    made = recipe(tokens_per_batch=70)
    result = train(groups, made, roots=colours, out=tmp_path / "out", objective=plackett_luce())
    assert result.trained and result.trained + len(result.dropped) == 45
    assert {one.reason for one in result.dropped} == {"too_long"}
    assert f"{len(result.dropped)} pairs cannot be cut apart" in capsys.readouterr().err
