"""Base and adapters share one checkpoint: each answers as it would alone, and the base comes back bit for bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import write_llava

from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.images import Roots
from vlfeedback.models import _weights, transformers as backend
from vlfeedback.models._batches import Checkpoint
from vlfeedback.records import Request


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base and two adapters that change what it says."""
    import peft
    import torch
    from transformers import AutoModelForImageTextToText

    folder = tmp_path_factory.mktemp("shared")
    write_llava(folder / "base")
    for number in (1, 2):
        base = AutoModelForImageTextToText.from_pretrained(folder / "base")
        lora = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
        torch.manual_seed(number)
        adapted = peft.get_peft_model(base, lora)
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name:
                    parameter.mul_(8)
        adapted.save_pretrained(folder / f"adapter{number}")
    return folder


Ask = Callable[..., Request]


def questions(ask: Ask) -> list[Request]:
    words = ("what is this?", "is there a red square?", "how many circles are there?", "describe")
    return [ask(text, number, temperature=0.0, max_tokens=12) for number, text in enumerate(words)]


def texts(model: Any, asked: list[Request]) -> list[str]:
    return [reply.text for reply in model.answer_all(asked)]


def logits(model: Any) -> Any:
    import torch

    inner = model._weights.use(model._adapter, model._read).model
    with torch.inference_mode():
        return inner(input_ids=torch.arange(5, 25)[None]).logits


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_taking_an_adapter_off_restores_the_base_exactly(made: Path, roots: Roots, ask: Ask, dtype: Any) -> None:
    import torch

    base = backend.load(model=str(made / "base"), roots=roots, dtype=dtype)
    asked = questions(ask)
    before, was = logits(base), texts(base, asked)
    one, two = (base.with_adapter(str(made / f"adapter{n}"), f"a{n}") for n in (1, 2))
    with_one = texts(one, asked)
    assert torch.equal(logits(base), before) and texts(base, asked) == was
    with_two = texts(two, asked)
    assert texts(one, asked) == with_one and texts(base, asked) == was and torch.equal(logits(base), before)
    assert len({tuple(one) for one in (was, with_one, with_two)}) == 3
    alone = backend.load(model=str(made / "base"), roots=roots, adapter=str(made / "adapter1"), dtype=dtype)
    assert texts(alone, asked) == with_one and torch.equal(logits(alone), logits(one))


def test_base_and_adapters_are_loaded_once(made: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Checkpoint] = []
    real = _weights.open_checkpoint

    def counting(checkpoint: Checkpoint, read: Any) -> Any:
        opened.append(checkpoint)
        return real(checkpoint, read)

    monkeypatch.setattr(_weights, "open_checkpoint", counting)
    base = backend.load(model=str(made / "base"), roots=roots)
    aligned = base.with_adapter(str(made / "adapter1"), "aligned")
    asked = questions(ask)[:1]
    first = texts(base, asked)
    texts(aligned, asked)
    assert texts(base, asked) == first and len(opened) == 1
    assert aligned.shares_weights(base) and not aligned.shares_weights(
        backend.load(model=str(made / "base"), roots=roots)
    )
    aligned.close()
    assert texts(base, asked) == first and len(opened) == 2


def test_an_adapter_is_not_put_on_another_and_a_broken_one_says_so(
    made: Path, roots: Roots, ask: Ask, tmp_path: Path
) -> None:
    base = backend.load(model=str(made / "base"), roots=roots)
    aligned = base.with_adapter(str(made / "adapter1"), "aligned")
    assert aligned.identity == "aligned" and aligned.batch == base.batch
    with pytest.raises(ConfigError, match="second one"):
        aligned.with_adapter(str(made / "adapter2"), "both")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="cannot put adapter"):
        texts(base.with_adapter(str(tmp_path / "broken"), "broken"), questions(ask)[:1])
    assert texts(base, questions(ask)[:1])


def test_the_number_format_is_known_without_loading(made: Path, roots: Roots, tmp_path: Path) -> None:
    assert backend.load(model=str(made / "base"), roots=roots).number_format == "float32"
    assert backend.load(model=str(made / "base"), roots=roots, dtype="bfloat16").number_format == "bfloat16"
    (tmp_path / "m").mkdir()
    for file in (made / "base").iterdir():
        (tmp_path / "m" / file.name).write_bytes(file.read_bytes())
    config = (tmp_path / "m" / "config.json").read_text().replace('"dtype"', '"was"')
    (tmp_path / "m" / "config.json").write_text(config)
    assert backend.load(model=str(tmp_path / "m"), roots=roots).number_format == "float32"  # of the file's own header
    assert _weights.number_format(Checkpoint("some/name")) == "auto"


def misfit(made: Path, folder: Path, rename: Callable[[str], str], *, without: str = "") -> str:
    """The first adapter with other names for its weights, or without some."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(made / "adapter1", folder)
    file = folder / "adapter_model.safetensors"
    kept = {rename(name): one for name, one in load_file(file).items() if not without or without not in name}
    save_file(kept, file, metadata={"format": "pt"})
    return str(folder)


@pytest.mark.parametrize("shared", [False, True])
def test_an_adapter_of_another_model_is_refused_and_the_base_answers_as_before(
    made: Path, roots: Roots, ask: Ask, tmp_path: Path, shared: bool
) -> None:
    """Peft leaves out what it cannot place: the base would answer in the adapter's name."""
    import torch

    base, asked = backend.load(model=str(made / "base"), roots=roots), questions(ask)[:2]
    before, was = logits(base), texts(base, asked)
    if shared:
        texts(base.with_adapter(str(made / "adapter1"), "fits"), asked)
    renamed = misfit(made, tmp_path / "renamed", lambda name: name.replace("language_model", "lm"))
    deeper = misfit(made, tmp_path / "deeper", lambda name: name.replace("layers.1.", "layers.7."))
    holed = misfit(made, tmp_path / "holed", str, without="layers.0.mlp.down_proj.lora_A")
    for folder in (renamed, deeper, holed):
        with pytest.raises(ModelUnavailable, match="made for another model"):
            texts(base.with_adapter(folder, folder), asked)
        assert torch.equal(logits(base), before) and texts(base, asked) == was


def test_an_adapter_without_its_safetensors_is_refused(made: Path, roots: Roots, ask: Ask, tmp_path: Path) -> None:
    """Peft would take a pickle for them, which no identity tells from another."""
    import torch
    from safetensors.torch import load_file

    base = backend.load(model=str(made / "base"), roots=roots)
    shutil.copytree(made / "adapter1", tmp_path / "pickled")
    file = tmp_path / "pickled" / "adapter_model.safetensors"
    torch.save(load_file(file), file.with_name("adapter_model.bin"))
    file.unlink()
    with pytest.raises(ModelUnavailable, match=r"no adapter_model\.safetensors"):
        texts(base.with_adapter(str(tmp_path / "pickled"), "pickled"), questions(ask)[:1])
    shutil.copytree(made / "adapter1", tmp_path / "cut")
    file = tmp_path / "cut" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ModelUnavailable, match="cannot put adapter"):
        texts(base.with_adapter(str(tmp_path / "cut"), "cut"), questions(ask)[:1])


@pytest.mark.parametrize(
    "more", [{"modules_to_save": ["multi_modal_projector"]}, {"trainable_token_indices": {"embed_tokens": [5, 6]}}]
)
def test_an_adapter_with_whole_modules_or_tokens_is_put_on_and_taken_off(
    made: Path, roots: Roots, ask: Ask, tmp_path: Path, more: dict[str, Any]
) -> None:
    """Peft wraps these: what a wrapper says of merging is another's."""
    import peft
    import torch
    from transformers import AutoModelForImageTextToText

    tuned = peft.get_peft_model(
        AutoModelForImageTextToText.from_pretrained(made / "base"),
        peft.LoraConfig(r=4, target_modules=["q_proj"], **more),
    )
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
        expected = tuned.eval()(input_ids=torch.arange(5, 25)[None]).logits
    tuned.save_pretrained(tmp_path / "adapter")
    base, asked = backend.load(model=str(made / "base"), roots=roots), questions(ask)
    before, was = logits(base), texts(base, asked)
    adapted = base.with_adapter(str(tmp_path / "adapter"), "adapted")
    assert texts(adapted, asked) != was
    torch.testing.assert_close(logits(adapted), expected, atol=1e-3, rtol=1e-3)
    assert texts(base, asked) == was and torch.equal(logits(base), before)
