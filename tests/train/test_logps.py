"""Grouped log-probabilities against one plain forward per response, values and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import toy_llava

from vlfeedback.errors import ConfigError
from vlfeedback.models._checkpoints import open_processor
from vlfeedback.records import Group
from vlfeedback.train._collate import Batch, Encoded, Encoder, collate, reader
from vlfeedback.train._layout import Layout, UnsharedRows
from vlfeedback.train._layouts import LIMITS, checked_layout, layouts
from vlfeedback.train._logps import forward_logps, grouped_logps, sum_by_owner, token_logps
from vlfeedback.train._shared import SharedRows, visible
from vlfeedback.train._tokens import Wording
from vlfeedback.train.sigmoid import dpo_loss


def encode(
    groups: Sequence[Group], processor: Any, colours: toy_llava.Colours, layout: Layout, *, bare: bool = False
) -> tuple[list[Encoded], Batch]:
    encoder = Encoder(Wording(processor, reader(colours, mean=None)), 200)
    made = [item for group in groups for item in encoder.encode(group, bare=bare) if isinstance(item, Encoded)]
    return made, collate(made, layout=layout, pictures=encoder.pictures)


def naive(
    model: Any, processor: Any, colours: toy_llava.Colours, groups: Sequence[Group], made: Sequence[Encoded]
) -> Any:
    texts = {response.id: (group, response.text) for group in groups for response in group.responses}
    return torch.stack(
        [toy_llava.naive_logp(model, processor, colours, *texts[i]) for one in made for i in one.response_ids]
    )


def test_a_layout_that_the_model_refuses_is_not_used(
    model: Any, processor: Any, colours: toy_llava.Colours, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = Encoder(Wording(processor, reader(colours, mean=None)), 200)
    made = [item for item in encoder.encode(toy_llava.groups(colours, 1)[0]) if isinstance(item, Encoded)]

    def score(batch: Batch) -> list[float]:
        if batch.rows.inputs["attention_mask"].dim() == 4:
            raise RuntimeError("a mask of four dimensions is too much")
        with torch.no_grad():
            return forward_logps(model, batch.rows).tolist()

    used = checked_layout(layouts(model, processor), made, encoder, score, "fp32")
    assert used.name == "features once" and set(used.differences) == {"features once"}
    assert "four dimensions is too much" in used.warnings[0] and used.warnings[0] in capsys.readouterr().err


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("mask_logits", [True, False])
def test_equal_to_plain_forwards(
    model: Any, processor: Any, colours: toy_llava.Colours, side: Literal["right", "left"], mask_logits: bool
) -> None:
    """Several groups of many lengths in one batch: ≤ 1e-6 per token, whichever side is padded."""
    groups = toy_llava.groups(colours, 6)
    layout = UnsharedRows(pad=0, features_once=True, mask_logits=mask_logits, side=side, positions=side == "left")
    made, batch = encode(groups, processor, colours, layout)
    with torch.no_grad():
        logps = grouped_logps(model, batch.rows)
        expected = naive(model, processor, colours, groups, made)
    assert logps.total.dtype == torch.float64
    error = ((logps.total - expected).abs() / logps.lengths).max()
    assert float(error) < 1e-6
    assert float(expected.std()) > 1  # the model tells responses apart


def test_loss_and_gradients_equal_the_pairwise_ones(model: Any, processor: Any, colours: toy_llava.Colours) -> None:
    """Every pair computed on its own, as pair trainers do, against one grouped forward; the reference is perturbed."""
    groups = toy_llava.groups(colours, 5)
    made, batch = encode(groups, processor, colours, UnsharedRows(pad=0, features_once=True, mask_logits=True))
    reference = grouped_logps(model, batch.rows).total.detach() + torch.linspace(-3, 3, len(batch), dtype=torch.float64)
    pairs = batch.preferences.pairs

    logps = grouped_logps(model, batch.rows).total
    grouped = dpo_loss(logps, reference, pairs, beta=0.1).losses.mean()
    model.zero_grad()
    grouped.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    texts = {response.id: (group, response.text) for group in groups for response in group.responses}
    ids = [i for one in made for i in one.response_ids]
    model.zero_grad()
    total = 0.0
    for chosen, rejected in pairs.tolist():
        sides = [toy_llava.naive_logp(model, processor, colours, *texts[ids[i]]) for i in (chosen, rejected)]
        ratio = (sides[0] - reference[chosen]) - (sides[1] - reference[rejected])
        loss = -torch.nn.functional.logsigmoid(0.1 * ratio) / len(pairs)
        loss.backward()
        total += loss.item()
    assert grouped.item() == pytest.approx(total, abs=1e-6)
    # Some gradients are zero by symmetry (biases of keys): they are measured against the largest.
    floor = 1e-3 * max(p.grad.norm() for p in model.parameters() if p.grad is not None)
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            assert name not in gradients or not gradients[name].any()
            continue
        size = torch.maximum(parameter.grad.norm(), floor)
        assert float((gradients[name] - parameter.grad).norm() / size) < 1e-4, name


def test_each_picture_passes_the_tower_once_and_each_response_once(
    model: Any, processor: Any, colours: toy_llava.Colours
) -> None:
    groups = toy_llava.groups(colours, 3)
    _, batch = encode(groups, processor, colours, UnsharedRows(pad=0, features_once=True, mask_logits=True))
    rows: list[tuple[int, ...]] = []
    model.model.vision_tower.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(tuple((args[0] if args else kwargs["pixel_values"]).shape)),
        with_kwargs=True,
    )
    grouped_logps(model, batch.rows)
    assert [shape[0] for shape in rows] == [3]
    assert len(batch) == sum(len(group.responses) for group in groups)


def test_logits_exist_only_where_a_response_token_is_predicted(
    model: Any, processor: Any, colours: toy_llava.Colours
) -> None:
    _, batch = encode(
        toy_llava.groups(colours, 3), processor, colours, UnsharedRows(pad=0, features_once=True, mask_logits=True)
    )
    shapes: list[tuple[int, ...]] = []
    model.lm_head.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape)))
    grouped_logps(model, batch.rows)
    assert shapes == [(int(batch.rows.lengths.sum()), model.config.text_config.vocab_size)]


def test_pictures_repeated_where_a_model_takes_no_features(
    model: Any, processor: Any, colours: toy_llava.Colours
) -> None:
    layout = UnsharedRows(pad=0, features_once=True, mask_logits=True)
    _, batch = encode(toy_llava.groups(colours, 3), processor, colours, layout)
    with torch.no_grad():
        once = grouped_logps(model, batch.rows).total
        repeated = grouped_logps(model, replace(batch.rows, features_once=False)).total
    assert torch.allclose(once, repeated, atol=1e-5)


def test_groups_with_and_without_pictures_share_a_batch(model: Any, processor: Any, colours: toy_llava.Colours) -> None:
    seen = toy_llava.group("what ?", ["yes", "no"], (2, 1), [colours.picture((200, 0, 0))])
    words = toy_llava.group("is it red ?", ["yes", "no , a dog"], (2, 1))
    two = toy_llava.group("and ?", ["a", "no"], (2, 1), [colours.picture((0, 9, 0)), colours.picture((0, 0, 99))])
    layout = UnsharedRows(pad=0, features_once=True, mask_logits=True)
    with torch.no_grad():
        alone = [
            grouped_logps(model, encode([g], processor, colours, layout)[1].rows).total for g in (words, seen, two)
        ]
        together = grouped_logps(model, encode([words, seen, two], processor, colours, layout)[1].rows).total
    assert torch.allclose(torch.cat(alone), together, atol=1e-5)


def test_a_wrong_number_of_image_tokens_is_named_before_the_forward(
    model: Any, processor: Any, colours: toy_llava.Colours
) -> None:
    made, batch = encode(toy_llava.groups(colours, 2), processor, colours, UnsharedRows(pad=0, features_once=True))
    rows = replace(batch.rows, image_tokens=[9, 8])
    with pytest.raises(ConfigError, match=rf"{made[1].group_id}.* 8 image tokens.* 9 features"):
        grouped_logps(model, rows)


def test_long_sums_keep_their_last_digits() -> None:
    """20,000 tokens of about -7.1: fp32 sums lose the fourth decimal, float64 sums do not."""
    values = torch.full((20_000,), -7.1234567)
    total = sum_by_owner(values, torch.zeros(20_000, dtype=torch.long), 1)
    assert total.item() == pytest.approx(float(values[0].double()) * 20_000, abs=1e-8)


def test_bf16_logits_are_normalised_in_fp32() -> None:
    logits = torch.randn(40, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    targets = torch.arange(40)
    exact = logits.double().log_softmax(-1).gather(1, targets[:, None])[:, 0]
    assert token_logps(logits, targets).dtype == torch.float32
    assert float((token_logps(logits, targets).double() - exact).abs().max()) < 1e-6


def test_slices_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = torch.randn(10, 7), torch.arange(10) % 7
    whole = token_logps(logits, targets)
    monkeypatch.setattr("vlfeedback.train._logps._SLICE", 3)
    assert torch.equal(token_logps(logits, targets), whole)
    assert token_logps(logits[:0], targets[:0]).shape == (0,)


def test_pictures_of_many_sizes_and_positions_on_three_axes(tmp_path: Path, colours: toy_llava.Colours) -> None:
    """Qwen2-VL: patches along dimension 0, a grid per picture, positions that the model makes from the whole row."""
    import tiny_models
    from transformers import AutoModelForImageTextToText

    folder = tiny_models.write_qwen2_vl(tmp_path / "qwen")
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    wording = Wording(open_processor(str(folder), None), reader(colours, mean=None), image_token_id=4)
    encoder = Encoder(wording, 400)
    groups = [
        toy_llava.group(
            "is it red ?", ["yes", "no , it is blue", "a"], (3, 2, 1), [colours.picture((200, 9, 9), (56, 84))]
        ),
        toy_llava.group("what is there and why ?", ["a dog", "no"], (2, 1), [colours.picture((9, 9, 200), (112, 56))]),
    ]
    made = [item for group in groups for item in encoder.encode(group) if isinstance(item, Encoded)]
    assert len({one.image_tokens for one in made}) == 2
    expected = [log_p(model, one, response, encoder.pictures(one)) for one in made for response in one.responses]
    for way in layouts(model, wording._processor):
        batch = collate(made, layout=way.layout, pictures=encoder.pictures)
        with torch.no_grad():
            together = grouped_logps(model, batch.rows)
        error = (together.total - torch.tensor(expected, dtype=torch.float64)).abs() / together.lengths
        assert float(error.max()) < 5e-6, way.name
    assert layouts(model, wording._processor)[0].name == "shared"


def log_p(model: Any, one: Encoded, response: Any, fields: Any) -> float:
    """One prompt and one response on their own, positions made by the model."""
    ids = torch.tensor([[*one.prompt, *response]]).long()
    kinds = torch.tensor([[*one.per_token["mm_token_type_ids"], *[0] * len(response)]]).long()
    with torch.no_grad():
        out = model(input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=kinds, **fields)
    scores = out.logits[0, len(one.prompt) - 1 : -1].log_softmax(-1)
    return scores.gather(1, torch.tensor(response)[:, None].long()).double().sum().item()


@pytest.mark.parametrize("mask_logits", [True, False])
def test_shared_prompts_equal_plain_forwards(
    model: Any, processor: Any, colours: toy_llava.Colours, mask_logits: bool
) -> None:
    """Groups of several sizes and lengths in one batch: ≤ 1e-6 per token."""
    groups = toy_llava.groups(colours, 6)
    made, batch = encode(groups, processor, colours, SharedRows(pad=0, mask_logits=mask_logits))
    assert batch.rows.inputs["input_ids"].shape[0] == len(made)
    with torch.no_grad():
        logps = grouped_logps(model, batch.rows)
        expected = naive(model, processor, colours, groups, made)
    assert float(((logps.total - expected).abs() / logps.lengths).max()) < 1e-6
    assert float(expected.std()) > 1  # the model tells responses apart


def test_shared_prompts_without_pictures_equal_plain_rows(
    model: Any, processor: Any, colours: toy_llava.Colours
) -> None:
    groups = [*toy_llava.groups(colours, 2), toy_llava.group("what ?", ["no", "yes , a dog", "a big cat"], (1, 2, 3))]
    totals: list[torch.Tensor] = []
    for layout in (SharedRows(pad=0), UnsharedRows(pad=0)):
        made, batch = encode(groups, processor, colours, layout)
        with torch.no_grad():
            totals.append(grouped_logps(model, batch.rows).total)
    assert any(not one.images for one in made)
    assert float((totals[0] - totals[1]).abs().max()) < 1e-5


def test_shared_prompts_give_the_gradients_of_plain_rows(
    model: Any, processor: Any, colours: toy_llava.Colours
) -> None:
    """Sum of squares of all log-probabilities: relative gradient error ≤ 1e-4 for every parameter."""
    groups = toy_llava.groups(colours, 5)
    found: list[dict[str, torch.Tensor]] = []
    for layout in (SharedRows(pad=0, mask_logits=True), UnsharedRows(pad=0, mask_logits=True)):
        _, batch = encode(groups, processor, colours, layout)
        model.zero_grad()
        (grouped_logps(model, batch.rows).total ** 2).sum().backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    model.zero_grad()
    assert found[0].keys() == found[1].keys()
    largest = max(float(gradient.norm()) for gradient in found[1].values())
    worst = {
        name: float((found[0][name] - plain).norm() / plain.norm())
        for name, plain in found[1].items()
        if float(plain.norm()) > 1e-5 * largest  # a key's bias has no gradient but rounding
    }
    assert len(worst) > len(found[1]) / 2
    assert max(worst.values()) < 1e-4


def test_a_shared_row_holds_the_prompt_once_and_each_response_once(processor: Any, colours: toy_llava.Colours) -> None:
    made, batch = encode(toy_llava.groups(colours, 1), processor, colours, SharedRows(pad=0))
    tokens = len(made[0].prompt) + sum(len(response) - 1 for response in made[0].responses)
    assert batch.rows.inputs["input_ids"].shape == (1, tokens) == (1, SharedRows(pad=0).cost(made[0]))
    assert all(len(value) == len(made[0].images) for value in batch.rows.pictures.values())


def test_who_sees_whom() -> None:
    """Prompt of 2, responses of 2 and 1, one padding token: worked by hand."""
    segments, places = np.array([[0, 0, 1, 1, 2, -1]]), np.array([[0, 1, 2, 3, 2, 0]])
    seen = ["100000", "110000", "111000", "111100", "110010", "000001"]
    assert ["".join(str(int(cell)) for cell in row) for row in visible(segments, places)[0]] == seen


def test_features_that_change_the_numbers_are_not_used(
    model: Any,
    processor: Any,
    colours: toy_llava.Colours,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = Encoder(Wording(processor, reader(colours, mean=None)), 200)
    made = [item for item in encoder.encode(toy_llava.groups(colours, 1)[0]) if isinstance(item, Encoded)]
    candidates = layouts(model, processor)
    assert [one.name for one in candidates] == ["shared", "features once", "plain"]

    def score(batch: Batch) -> list[float]:
        with torch.no_grad():
            wrong = batch.rows.features_once or batch.rows.inputs["attention_mask"].dim() == 4
            return (forward_logps(model, batch.rows) - wrong * 0.05).tolist()

    used = checked_layout(candidates, made, encoder, score, "fp32")
    assert used.name == "plain" and set(used.differences) == {"shared", "features once", "plain"}
    assert used.differences["plain"] < 1e-5 < 0.01 < min(used.differences[name] for name in ("shared", "features once"))
    told = capsys.readouterr().err
    assert len(used.warnings) == 2 and all(warning in told for warning in used.warnings)
    for allowed in (0.049, 0.051):
        monkeypatch.setitem(LIMITS, "fp32", allowed)
        loose = checked_layout(candidates, made, encoder, score, "fp32")
        assert (loose.name == "shared") == (not loose.warnings) == (allowed > 0.05)
