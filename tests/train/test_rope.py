"""Positions that depend on the longest row of a batch: rows so long that they would are left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import families
import pytest
import torch
import toy_llava
from families import FAMILIES, Album

from vlfeedback.train import Recipe, train
from vlfeedback.train._rope import longest_row
from vlfeedback.train.sigmoid import load as sigmoid

Make = Callable[..., Recipe]
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
LONG = {
    "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0, 3.0, 4.0, 5.0],
    "original_max_position_embeddings": 60,
}  # fmt: skip
BY_KIND: dict[str, Any] = {
    "dynamic": {"model_type": "llama", "max_position_embeddings": 60, "rope_parameters": DYNAMIC},
    "longrope": {"model_type": "phi3", "sliding_window": None, "original_max_position_embeddings": 60,
                 "rope_parameters": LONG},
}  # fmt: skip


def built(text: dict[str, Any]) -> tuple[Any, Album]:
    family = next(one for one in FAMILIES if one.name == "LLaVA-1.5")
    changed = replace(family, settings={**family.settings, "text_config": {**families.TEXT, **text}})
    model = families.build(changed)
    return model, Album(changed, model)


@pytest.mark.parametrize("kind", BY_KIND)
def test_a_long_row_would_change_a_short_one_and_the_bound_is_where_it_begins(kind: str) -> None:
    model, _ = built(BY_KIND[kind])
    assert longest_row(model) == 60
    with torch.no_grad():
        tokens = torch.randint(10, 128, (1, 20), generator=torch.Generator().manual_seed(1))
        found: list[torch.Tensor] = []
        for width in (20, 60, 61):
            padded = torch.nn.functional.pad(tokens, (0, width - 20))
            shown = (torch.arange(width) < 20)[None].long()
            found.append(model(input_ids=padded, attention_mask=shown).logits[0, 19].log_softmax(-1))
    assert torch.allclose(found[0], found[1], atol=1e-5)
    assert float((found[0] - found[2]).abs().max()) > 1e-4


def test_other_models_have_no_such_bound() -> None:
    for name in ("LLaVA-1.5", "Qwen2-VL", "Gemma 3"):
        assert longest_row(families.build(next(one for one in FAMILIES if one.name == name))) is None
    assert longest_row(families.build(next(one for one in families.MORE if one.name == "HunYuanVL"))) is None


def test_rows_beyond_it_are_left_out_counted_and_said(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = toy_llava.write_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"max_position_embeddings": 40, "rope_parameters": DYNAMIC}
    (folder / "config.json").write_text(json.dumps(config))
    groups = [*toy_llava.groups(colours, 3), toy_llava.group("what ?", [" ".join(["sky"] * 40), "no"], (2, 1))]
    given = recipe(model=str(folder))
    result = train(groups, given, roots=colours, out=tmp_path / "out", objective=sigmoid())
    assert Counter(one.reason for one in result.dropped) == {"too_long": 1}
    assert "at most 40 in all" in result.dropped[0].detail
    told = capsys.readouterr().err
    assert "max_length = 40 is taken instead of 2048" in told and "1 left out: too_long" in told
