"""What only a GPU can show: shared prompts in both precisions, runs that learn, and the gradient of a processor."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_llava

from vlfeedback.train import Lora, Recipe, train
from vlfeedback.train._collate import Encoded, collate
from vlfeedback.train._layouts import layouts
from vlfeedback.train._log import read_log
from vlfeedback.train._logps import grouped_logps
from vlfeedback.train._probe import probe
from vlfeedback.train._run import encoder_of
from vlfeedback.train.sigmoid import dpo_loss, load as sigmoid

Make = Callable[..., Recipe]
DEVICE = "cuda"
NATS = {"fp32": 5e-6, "bf16": 0.03}
"""Largest difference of a token's log-probability between two ways to compute it; bf16 has eight bits of a number."""

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def gpu() -> Iterator[None]:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False  # fp32 means fp32 where exactness is measured
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_prompts_are_shared_and_give_what_plain_rows_give(recipe: Make, dtype: str) -> None:
    found = probe(recipe(dtype=dtype))
    assert found.name == "shared"
    assert found.differences and max(found.differences.values()) <= NATS[dtype]


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("adapter", [None, Lora(r=4)])
def test_a_run_learns_there(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, dtype: str, adapter: Lora | None
) -> None:
    given = recipe(epochs=6, dtype=dtype, lora=adapter, learning_rate=3e-3)
    result = train(toy_llava.groups(colours, 6), given, roots=colours, out=tmp_path / "out", objective=sigmoid())
    losses = [row["loss"] for row in read_log(tmp_path / "out" / "train_log.jsonl") if "loss" in row]
    assert len(losses) == result.steps
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert json.loads((tmp_path / "out" / "selfcheck.json").read_text())["layout"] == "shared"


@pytest.mark.parametrize("layout", ["shared", "plain"])
def test_loss_and_gradient_are_those_of_a_processor(
    recipe: Make, colours: toy_llava.Colours, model: Any, processor: Any, layout: str
) -> None:
    encoder = encoder_of(processor, model, recipe(), colours)
    groups = [
        one for group in toy_llava.groups(colours, 2) for one in encoder.encode(group) if isinstance(one, Encoded)
    ]
    chosen = {one.name: one.layout for one in layouts(model, processor)}[layout]
    batch = collate(groups, layout=chosen, pictures=encoder.pictures)
    found: dict[str, tuple[float, dict[str, torch.Tensor]]] = {}
    for device in (DEVICE, "cpu"):
        model.to(device).zero_grad()
        here = batch.to(torch.device(device))
        total = grouped_logps(model, here.rows).total
        loss = dpo_loss(total, torch.zeros_like(total), here.preferences.pairs, 0.1).losses.mean()
        loss.backward()
        found[device] = loss.item(), {n: one.grad.cpu() for n, one in model.named_parameters() if one.grad is not None}
    assert found[DEVICE][0] == pytest.approx(found["cpu"][0], rel=1e-5)
    there, here_ = (torch.cat([one.flatten() for one in grads.values()]) for _, grads in (found[DEVICE], found["cpu"]))
    assert found[DEVICE][1].keys() == found["cpu"][1].keys()
    assert float((there - here_).norm() / here_.norm()) <= 1e-4
