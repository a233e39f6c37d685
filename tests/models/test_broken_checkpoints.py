"""Checkpoints that are damaged, or not all there: nothing answers with numbers that nobody trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402
from tiny_models import write_llava  # noqa: E402

from vlfeedback.errors import ModelUnavailable  # noqa: E402
from vlfeedback.images import Roots  # noqa: E402
from vlfeedback.models import transformers as backend  # noqa: E402
from vlfeedback.records import Request  # noqa: E402

Ask = Callable[..., Request]
LFS = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258da\nsize 9\n"
)


@pytest.fixture
def llava(tmp_path: Path) -> Path:
    return write_llava(tmp_path / "llava")


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: LFS, lambda data: b""])
def test_damaged_weights_say_so(
    llava: Path, roots: Roots, ask: Ask, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    file = llava / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ModelUnavailable, match="damaged, or were not fetched to the end"):
        backend.load(model=str(llava), roots=roots).answer_all([ask()])


def test_weights_that_are_not_there_are_not_made_up(llava: Path, roots: Roots, ask: Ask) -> None:
    file = llava / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(file).items() if "model.layers.1.mlp" not in name}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match=r"3 of its weights are in none of its files, .*layers\.1\.mlp"):
        backend.load(model=str(llava), roots=roots).answer_all([ask()])


def test_weights_of_another_size_say_so(llava: Path, roots: Roots, ask: Ask) -> None:
    settings = json.loads((llava / "config.json").read_text())
    settings["text_config"]["intermediate_size"] = 100
    (llava / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelUnavailable, match="cannot load"):
        backend.load(model=str(llava), roots=roots).answer_all([ask()])


def test_a_device_that_is_not_there_says_so(llava: Path, roots: Roots, ask: Ask) -> None:
    with pytest.raises(ModelUnavailable, match="on device 'gpu'"):
        backend.load(model=str(llava), roots=roots, device="gpu").answer_all([ask()])


def test_a_padding_that_was_never_embedded_spoils_no_batch(llava: Path, roots: Roots, ask: Ask, tmp_path: Path) -> None:
    """A tokenizer that got a padding token after the training knows one word more than the model."""
    requests = [ask("what is this ?", max_tokens=6), ask("yes", max_tokens=6)]
    expected = [reply.text for reply in backend.load(model=str(llava), roots=roots, identity="x").answer_all(requests)]
    settings = json.loads((llava / "tokenizer_config.json").read_text())
    (llava / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "<later>"}))
    model = backend.load(model=str(llava), roots=roots, identity="x")
    assert [reply.text for reply in model.answer_all(requests)] == expected


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_numbers_that_overflow_are_no_answer(
    llava: Path, roots: Roots, ask: Ask, temperature: float, caplog: pytest.LogCaptureFixture
) -> None:
    """The choice among NaN is the first token, often an end: an empty reply, which would be kept as one."""
    model = backend.load(model=str(llava), roots=roots)
    fine = model.answer_all([ask("what", None, temperature=temperature, max_tokens=3)])
    with torch.no_grad():
        model._load().model.model.multi_modal_projector.linear_1.weight.fill_(float("nan"))
    requests = [ask("what", picture, temperature=temperature, max_tokens=3) for picture in (None, 0)]
    unharmed, broken = model.answer_all(requests)
    assert unharmed.text == fine[0].text
    assert (broken.finish, broken.error, broken.answered) == ("error", "server", False)
    assert "overflow in float32" in broken.detail
    model.answer_all(requests)
    assert [one.getMessage() for one in caplog.records] == [f"{model.identity}: {broken.detail}"], "it is said once"


@pytest.mark.parametrize("chat", ["", "{% for m in messages %}{{ m.content[-1].text }}{% endfor %}"])
def test_a_chat_template_that_is_not_there_or_shows_nothing_names_its_model(
    llava: Path, roots: Roots, ask: Ask, chat: str
) -> None:
    """Of a pool of twelve one has to be mended."""
    (llava / "chat_template.jinja").write_text(chat)
    with pytest.raises(ModelUnavailable, match=f"^model {llava}: .*chat template"):
        backend.load(model=str(llava), roots=roots).answer_all([ask()])
