"""A mixture of experts keeps them in one parameter, which no adapter of linear layers covers: the run says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import families
import pytest
import toy_llava

from vlfeedback.train import Lora, Recipe, _run, train
from vlfeedback.train._weights import make_trainable, unadapted
from vlfeedback.train.sigmoid import load

LLAVA = families.FAMILIES[0]
MIXTRAL = {"model_type": "mixtral", **families.TEXT, "num_local_experts": 4, "num_experts_per_tok": 2}


def adapted(text: dict[str, Any], lora: Lora) -> tuple[str, ...]:
    family = families.Family("LLaVA", LLAVA.model, LLAVA.config, {**LLAVA.settings, "text_config": text}, LLAVA.draw)
    return unadapted(make_trainable(families.build(family), Recipe(model="", lora=lora)), lora)


def test_experts_without_adapters_are_said_unless_layers_are_named() -> None:
    (told,) = adapted(MIXTRAL, Lora(r=2))
    # Each of 3 layers: 4 experts of 3 x 32 x 64 and a router of 4 x 32, beside 2 x 32 x 32 + 2 x 32 x 16 of attention.
    assert told.startswith(f"{24704 / 27776:.0%} of the language model's weights have no adapter")
    assert adapted(MIXTRAL, Lora(r=2, targets=("q_proj",))) == ()
    assert adapted(families.LLAMA, Lora(r=2)) == ()


def test_a_run_says_it_before_its_first_step_and_keeps_it(
    recipe: Callable[..., Recipe],
    colours: toy_llava.Colours,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(_run, "unadapted", lambda policy, lora: ("89% have no adapter",))
    made = train(toy_llava.groups(colours, 2), recipe(lora=Lora(r=2)), roots=colours, out=tmp_path, objective=load())
    assert "89% have no adapter\n" in capsys.readouterr().err
    assert made.warnings == ("89% have no adapter",)
