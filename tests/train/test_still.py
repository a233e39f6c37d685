"""What holds still in training: dropout that a base model's settings ask for is drawn by nobody but adapters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import families
import pytest
import torch
import toy_llava
from families import Album

from vlfeedback.errors import StaleInput
from vlfeedback.train import Lora, Recipe, _scoring, train
from vlfeedback.train._collate import collate
from vlfeedback.train._layouts import layouts
from vlfeedback.train._log import read_log
from vlfeedback.train._logps import grouped_logps
from vlfeedback.train._still import hold_still
from vlfeedback.train._weights import load_model, make_trainable
from vlfeedback.train.sigmoid import load as sigmoid

Make = Callable[..., Recipe]


@pytest.fixture
def drawing(tmp_path: Path) -> str:
    """A LLaVA whose settings ask for dropout in tower and language model."""
    folder = toy_llava.write_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    for part in ("vision_config", "text_config"):
        config[part]["attention_dropout"] = 0.3
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("lora", [None, Lora(r=2, dropout=0.0), Lora(r=2, dropout=0.5)])
def test_the_first_step_is_the_references_computation(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, drawing: str, lora: Lora | None, again: bool
) -> None:
    """Adapters begin as nothing, so that the policy is the reference in the first step: to rounding."""
    given = recipe(model=drawing, lora=lora, gradient_checkpointing=again, tokens_per_batch=300)
    train(toy_llava.groups(colours, 4), given, roots=colours, out=tmp_path / "out", objective=sigmoid())
    first = read_log(tmp_path / "out" / "train_log.jsonl")[0]
    assert abs(first["logratios/chosen"]) < 1e-4 and abs(first["logratios/rejected"]) < 1e-4
    assert json.loads((tmp_path / "out" / "selfcheck.json").read_text())["largest"] < 1e-5


def test_a_policy_that_draws_all_the_same_is_refused_before_its_first_step(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, drawing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison is made in the mode that trains: evaluation would hide what is drawn there."""
    monkeypatch.setattr(_scoring, "hold_still", lambda model, **_: None)
    with pytest.raises(StaleInput, match="computes something else in training"):
        train(toy_llava.groups(colours, 4), recipe(model=drawing), roots=colours, out=tmp_path, objective=sigmoid())


def test_layers_are_left_out_by_nobody() -> None:
    decoder = torch.nn.Module()
    decoder.gradient_checkpointing, decoder.layerdrop, decoder.dropout = True, 0.1, 0.2  # as in OPT's
    model = torch.nn.Module()
    model.decoder = decoder
    hold_still(model.train())
    assert (decoder.training, decoder.layerdrop, decoder.dropout) == (True, 0.0, 0.0)


def test_adapters_draw_and_nothing_else_does(recipe: Make, drawing: str) -> None:
    given = recipe(model=drawing, lora=Lora(r=2, dropout=0.5), gradient_checkpointing=True)
    policy = make_trainable(load_model(given), given)
    policy.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy.train()
    hold_still(policy)
    names = {name for name, module in policy.named_modules() if module.training and not list(module.children())}
    assert names and all("lora_dropout" in name for name in names)
    assert policy.training
    recomputed = [
        name for name, m in policy.named_modules() if getattr(m, "gradient_checkpointing", False) and m.training
    ]
    assert len([name for name in recomputed if "language_model.layers." in name]) == 2
    assert not [name for name in recomputed if "vision_tower" in name]
    hold_still(policy, adapters=False)
    assert not any(module.training for name, module in policy.named_modules() if "lora_dropout" in name)


def test_no_adapter_stands_on_a_layer_that_gives_something_else() -> None:
    """Llama 4's router is a linear layer by its class and gives two things: the policy could not be computed."""
    family = next(one for one in families.MORE if one.name == "Llama 4")
    model = families.build(family)
    album, tokens = Album(family, model), cast("Any", type("Words", (), {"pad_token_id": 0, "eos_token_id": 3}))
    rows = collate(
        [album.group(1, pictures=0, responses=2)],
        layout=layouts(model, tokens)[-1].layout,
        pictures=album.pictures,
    ).rows
    with torch.no_grad():
        before = grouped_logps(model, rows).total
    policy = make_trainable(model, Recipe(model="", lora=Lora(r=4)))
    assert not any("router.lora" in name for name, _ in policy.named_modules())
    assert any("q_proj.lora" in name for name, _ in policy.named_modules())
    with torch.no_grad():
        assert torch.allclose(grouped_logps(policy.eval(), rows).total, before, atol=1e-5)
