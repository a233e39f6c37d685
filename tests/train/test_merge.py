"""`export merged`: an adapter folded into its base answers as the two together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import toy_llava
from in_process import command

from vlfeedback.train import Lora, Recipe, train
from vlfeedback.train.sigmoid import load

Make = Callable[..., Recipe]


def test_merged_weights_answer_as_base_and_adapter(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText, AutoProcessor

    settings = recipe(lora=Lora(r=4, dropout=0.0), learning_rate=0.05, epochs=2)
    train(toy_llava.groups(colours, 6), settings, roots=colours, out=tmp_path / "run" / "checkpoint", objective=load())
    assert command(monkeypatch, "export", "merged", tmp_path / "run", "--out", tmp_path / "merged") == 0
    base = AutoModelForImageTextToText.from_pretrained(settings.model)
    plain = base.lm_head.weight.clone()
    ids = torch.tensor([[5, 9, 11, 14, 7]])
    with torch.no_grad():
        before = base(input_ids=ids).logits
        both = PeftModel.from_pretrained(base, str(tmp_path / "run" / "checkpoint"))(input_ids=ids).logits
        merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
        after = merged(input_ids=ids).logits
    assert float((after - both).abs().max()) < 1e-4 < float((both - before).abs().max())
    assert torch.equal(merged.lm_head.weight, plain)
    assert AutoProcessor.from_pretrained(tmp_path / "merged").chat_template == toy_llava.CHAT
    card = (tmp_path / "merged" / "README.md").read_text()
    assert "aligned with AI feedback" in card and "\nlibrary_name: transformers\n" in card and "peft" not in card
    assert "\nAll weights: the base with a LoRA adapter folded in, of rank 4, trained with Sigmoid" in card
    assert "stand beside the adapter, in `train.json`" in card and "| lora.r | 4 |" in card
    assert not (tmp_path / "merged" / "adapter_config.json").exists()


def test_the_checkpoints_own_folder_does_as_well_and_a_full_one_says_so(
    recipe: Make, colours: toy_llava.Colours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    train(
        toy_llava.groups(colours, 3), recipe(lora=Lora(r=2)), roots=colours, out=tmp_path / "adapter", objective=load()
    )
    assert command(monkeypatch, "export", "merged", tmp_path / "adapter", "--out", tmp_path / "merged") == 0
    assert command(monkeypatch, "export", "merged", model_path, "--out", tmp_path / "other") == 2
    assert "holds no adapter" in capsys.readouterr().err
    named = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(
        json.dumps({**named, "base_model_name_or_path": str(tmp_path / "gone")})
    )
    assert command(monkeypatch, "export", "merged", tmp_path / "adapter", "--out", tmp_path / "other") == 1
    assert "the base of" in capsys.readouterr().err and not (tmp_path / "other").exists()
