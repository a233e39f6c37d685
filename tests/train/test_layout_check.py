"""The comparison of layouts before the first step: what is wrong is seen in the default precision too."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import families
import numpy as np
import pytest
import tiny_models
import torch
import toy_llava
from families import FAMILIES, Album

from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.train import Lora, Recipe, _chosen, _collate, _exact, _layouts, _probe, _shared, train
from vlfeedback.train._alone import shown_groups
from vlfeedback.train._chosen import agreed, chosen_layout
from vlfeedback.train._collate import Batch, Encoded
from vlfeedback.train._exact import in_fp32
from vlfeedback.train._layouts import Candidate, CheckedLayout, checked_layout, layouts
from vlfeedback.train._logps import forward_logps
from vlfeedback.train._scoring import Scorer
from vlfeedback.train._shared import SharedRows
from vlfeedback.train.sigmoid import load as sigmoid

TOKENIZER = SimpleNamespace(pad_token_id=0, eos_token_id=3)
CPU = torch.device("cpu")


class Setting:
    """A tiny LLaVA in bf16 as a run holds it, and two groups of it."""

    def __init__(self, name: str = "LLaVA-1.5", seed: int = 0) -> None:
        family = next(one for one in (*FAMILIES, *families.MORE) if one.name == name)
        self.model = families.build(family, seed)
        self.album = Album(family, self.model)
        self.groups = [
            self.album.group(30 + seed, pictures=1, responses=4, words=9),
            self.album.group(60 + seed, pictures=0, responses=3, words=5),
        ]

    def chosen(self, dtype: str = "bf16") -> CheckedLayout:
        if dtype == "bf16":
            self.model.to(torch.bfloat16)
        recipe = Recipe(model="", dtype=cast("Any", dtype))
        score = Scorer(self.model, recipe, CPU)
        return chosen_layout(self.model, TOKENIZER, self.groups, cast("Any", self.album), score, recipe)


class Fellow:
    """Two processes, of which the other has chosen a layout by its place."""

    def __init__(self, place: int) -> None:
        self.place = place

    def added(self, values: Sequence[float], _: object = None) -> list[float]:
        return [value + (place == self.place) for place, value in enumerate(values)]


@pytest.mark.parametrize(("other", "name"), [(0, "shared"), (2, "plain")])
def test_all_processes_take_the_slowest_layout_that_one_of_them_needs(other: int, name: str) -> None:
    setting = Setting()
    candidates = layouts(setting.model, TOKENIZER)
    chosen = agreed(setting.chosen("fp32"), candidates, cast("Any", Fellow(other)))
    assert (chosen.name, chosen.layout) == (name, next(one.layout for one in candidates if one.name == name))
    assert bool(chosen.warnings) == (name == "plain")


def test_in_16_bits_rounding_alone_refuses_no_layout() -> None:
    assert _layouts._allowed([0.2, 0.01], "bf16") > 0.2  # pyright: ignore[reportPrivateUsage]
    assert _layouts._allowed([0.2], "fp32") == pytest.approx(1e-3)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(("most", "used", "left"), [("1000", "400", 600.0), ("max", "400", float("inf"))])
def test_a_containers_bound_is_kept(
    most: str, used: str, left: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    monkeypatch.setattr(_exact, "_CONTAINER", tmp_path)
    assert _exact._left_to_us() == left  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(_exact, "_CONTAINER", tmp_path / "none")
    assert _exact._left_to_us() == float("inf")  # pyright: ignore[reportPrivateUsage]


class RunningOn(SharedRows):
    """Positions that run on through the row, as if the responses were one text."""

    def _positions(self, groups: Any, pictures: Any, places: Any) -> torch.Tensor:
        return torch.from_numpy(np.tile(np.arange(places.shape[1]), (places.shape[0], 1)))


def sees_all(segments: Any, places: Any, blocks: Any = None) -> Any:
    """Responses see the responses before them."""
    columns = np.arange(segments.shape[1])
    said = (segments[:, :, None] > 0) & (segments[:, None, :] > 0)
    return RIGHT(segments, places, blocks) | (said & (columns[None, None, :] <= columns[None, :, None]))


RIGHT = _shared.visible


def wrong_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shared, "visible", sees_all)


def wrong_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(model: Any, processor: Any) -> list[Candidate]:
        shared, *others = layouts(model, processor)
        kept = {field.name: getattr(shared.layout, field.name) for field in fields(cast("Any", shared.layout))}
        return [Candidate(shared.name, RunningOn(**kept)), *others]

    monkeypatch.setattr(_chosen, "layouts", changed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spoil", [wrong_mask, wrong_positions])
def test_rounding_to_16_bits_hides_no_wrong_layout(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[pytest.MonkeyPatch], None], seed: int
) -> None:
    setting = Setting(seed=seed)
    spoil(monkeypatch)
    found = setting.chosen()
    assert (found.name, found.precision) == ("features once", "fp32")
    assert found.differences["shared"] > 10 * found.limit >= 1e-3
    assert found.differences["features once"] < 1e-5


@pytest.mark.parametrize("seed", range(3))
def test_a_right_layout_is_taken_in_16_bits_and_both_numbers_are_kept(seed: int) -> None:
    setting = Setting(seed=seed)
    told = (found := setting.chosen()).to_json()
    assert found.name == told["layout"] == "shared" and not found.warnings
    assert told["layout_differences"]["shared"] < 1e-5 < told["layout_tolerance"] == 1e-4
    assert told["layout_precision"] == "fp32"
    assert 0 <= told["layout_difference_as_run"] < 0.05
    assert all(one.dtype == torch.bfloat16 for one in setting.model.parameters())


def test_without_memory_for_fp32_the_models_own_rounding_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_exact, "_free", lambda device: 0.0)
    right = Setting().chosen()
    assert (right.name, right.precision, right.rounded) == ("shared", "bf16", None)
    wrong_mask(monkeypatch)
    wrong = Setting().chosen()
    assert wrong.name == "features once" and wrong.differences["shared"] > wrong.limit


def test_a_layout_that_16_bits_alone_get_wrong_is_not_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kernel of 16 bits that takes no notice of the mask, say."""
    setting = Setting()
    plain = Scorer.tokens

    def tokens(self: Scorer, batch: Batch) -> list[float]:
        narrow = next(setting.model.parameters()).dtype == torch.bfloat16
        shared = batch.rows.inputs["attention_mask"].dim() == 4
        return [value - 0.5 * (narrow and shared) for value in plain(self, batch)]

    monkeypatch.setattr(Scorer, "tokens", tokens)
    found = setting.chosen()
    assert found.name == "plain" and found.warnings[0] in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", [RuntimeError, KeyError, TypeError])
def test_a_model_that_computes_not_even_one_response_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception], dtype: str
) -> None:
    """As Llama 3.2 Vision, whose mask for pictures has to be as long as the row."""

    def tokens(self: Scorer, batch: Batch) -> list[float]:
        raise kind("the size of tensor a (39) must match\nthe size of tensor b (2)")

    monkeypatch.setattr(Scorer, "tokens", tokens)
    with pytest.raises(ConfigError, match=r"cannot compute one response .*size of tensor a .*please report its name"):
        Setting().chosen(dtype)


def test_running_out_of_memory_is_no_word_about_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def tokens(self: Scorer, batch: Batch) -> list[float]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Scorer, "tokens", tokens)
    with pytest.raises(torch.OutOfMemoryError):
        Setting().chosen()


@pytest.mark.parametrize("fails", [False, True])
def test_every_weight_is_afterwards_what_it_was(fails: bool) -> None:
    model = Setting().model.to(torch.bfloat16)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        with in_fp32(model) as exact:
            assert exact and all(one.dtype == torch.float32 for one in model.parameters())
            assert fails is False or 1 / 0
    except ZeroDivisionError:
        pass
    after = model.state_dict()
    assert all(after[name].dtype == value.dtype and torch.equal(after[name], value) for name, value in before.items())


def measured(setting: Setting, change: Callable[[Batch, list[float]], list[float]], **options: Any) -> CheckedLayout:
    def tokens(batch: Batch) -> Sequence[float]:
        with torch.no_grad():
            return change(batch, forward_logps(setting.model, batch.rows).tolist())

    ways = layouts(setting.model, TOKENIZER)
    return checked_layout(ways, setting.groups, cast("Any", setting.album), tokens, "fp32", **options)


def is_shared(batch: Batch) -> bool:
    return batch.rows.inputs["attention_mask"].dim() == 4


def test_errors_of_two_tokens_do_not_cancel() -> None:
    def change(batch: Batch, values: list[float]) -> list[float]:
        return [values[0] + 0.3, values[1] - 0.3, *values[2:]] if is_shared(batch) else values

    found = measured(Setting(), change)
    assert found.name == "features once" and found.differences["shared"] == pytest.approx(0.3, abs=1e-4)


def test_what_goes_wrong_in_the_longest_group_alone_is_seen() -> None:
    setting = Setting()
    setting.groups.append(setting.album.group(90, pictures=0, responses=2, words=60))

    def change(batch: Batch, values: list[float]) -> list[float]:
        long = is_shared(batch) and batch.rows.inputs["input_ids"].shape[1] > 60
        return [value + 0.01 * long for value in values]

    assert measured(setting, change).name == "features once"


def test_the_groups_that_are_looked_at() -> None:
    album = Setting().album
    groups: list[Encoded] = [
        album.group(1, pictures=0, responses=2),
        album.group(2, pictures=1, responses=1),
        album.group(3, pictures=1, responses=3),
        album.group(4, pictures=2, responses=2),
        album.group(5, pictures=1, responses=2, words=40),
        album.group(6, pictures=1, responses=2, words=400),
    ]
    names = {group.group_id for group in shown_groups(groups, 100)}
    assert names == {"group-3", "group-5", "group-4", "group-1"}
    assert [group.group_id for group in shown_groups(groups[5:], 100)] == ["group-6"]


def test_a_model_that_mixes_rows_up_is_judged_by_one_response_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    """HunYuanVL counts pictures over all rows for its positions: only the first row of several is right."""
    setting = Setting("HunYuanVL")
    assert setting.chosen("fp32").name == "shared" and not capsys.readouterr().err
    groups, album = setting.groups, cast("Any", setting.album)
    score = Scorer(setting.model, Recipe(model="", dtype="fp32"), CPU).tokens
    with pytest.raises(ConfigError, match=r"'plain' changes log p of a token by .*report its name"):
        checked_layout(layouts(setting.model, TOKENIZER)[1:], groups, album, score, "fp32")


def test_gemma_4_reads_pictures_both_ways_in_its_sliding_layers_only() -> None:
    setting = Setting("Gemma 4")
    album = setting.album
    setting.groups += [album.group(4, pictures=2, responses=8), album.group(5, pictures=1, responses=2, words=30)]
    found = setting.chosen()
    assert found.name == "shared" and found.differences["shared"] < 1e-5
    shared: Any = found.layout
    for spoilt in (replace(shared, blocks="none"), replace(shared, one_way=())):
        ways = [Candidate("shared", spoilt), *layouts(setting.model, TOKENIZER)[1:]]
        with in_fp32(setting.model):
            score = Scorer(setting.model, Recipe(model="", dtype="fp32"), CPU).tokens
            other = checked_layout(ways, setting.groups, cast("Any", setting.album), score, "fp32")
        assert other.name != "shared" and other.differences["shared"] > 1e-3


def test_a_run_that_declares_that_it_cannot_share_says_so_once(
    recipe: Callable[..., Recipe],
    colours: toy_llava.Colours,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in (_shared, _chosen):
        monkeypatch.setattr(module, "why_not", lambda model: "its attention is 'eager'")
    train(toy_llava.groups(colours, 2), recipe(), roots=colours, out=tmp_path / "out", objective=sigmoid())
    told = [line for line in capsys.readouterr().err.splitlines() if "'eager'" in line]
    assert told == ["prompts are not shared, every response is computed with one of its own: its attention is 'eager'"]
    check = json.loads((tmp_path / "out" / "selfcheck.json").read_text())
    assert (check["layout"], check["not_shared_because"]) == ("features once", "its attention is 'eager'")


def test_rows_without_a_picture_among_others_take_no_layout_away(
    recipe: Callable[..., Recipe], colours: toy_llava.Colours, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Qwen2.5-VL makes positions from a track that words alone come without."""
    folder = tiny_models.write_qwen2_5_vl(tmp_path / "model")
    shown = toy_llava.groups(colours, 3)
    data = [*shown, toy_llava.told(shown[0])]
    settings = recipe(model=str(folder), lora=Lora(r=2))
    result = train(data, settings, roots=colours, out=tmp_path / "out", objective=sigmoid())
    check = json.loads((tmp_path / "out" / "selfcheck.json").read_text())
    assert check["layout"] == "shared" and check["layout_differences"]["shared"] < 1e-5
    assert not result.warnings and result.trained == 18 and "layout" not in capsys.readouterr().err


def test_words_alone_are_told_from_their_response_where_prompts_are_read_both_ways() -> None:
    """PaliGemma reads all of a row both ways, its future too, that no track divides and nothing pads."""
    found = Setting("PaliGemma").chosen("fp32")
    assert found.name == "shared" and found.differences["shared"] < 1e-5


def test_what_is_made_up_for_a_model_has_words_alone_too(
    model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[list[int]] = []

    def chosen(model: Any, processor: Any, groups: Sequence[Encoded], *rest: Any) -> None:
        seen.append([len(group.images) for group in groups])

    monkeypatch.setattr(_probe, "chosen_layout", chosen)
    _probe.probe(Recipe(model=str(model_path)))
    encode = _collate.Encoder.encode

    def refuse(self: Any, group: Any, **options: Any) -> Any:
        if not group.instruction.images:
            raise ModelUnavailable("the chat template shows no text")
        return encode(self, group, **options)

    monkeypatch.setattr(_collate.Encoder, "encode", refuse)
    _probe.probe(Recipe(model=str(model_path)))
    assert seen == [[1, 0], [1]]
    assert "a prompt without a picture cannot be encoded and is not looked at: the chat" in capsys.readouterr().err
