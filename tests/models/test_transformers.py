"""Local models: tiny random checkpoints in stock classes, read from disk like any other."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_models import write_llava, write_qwen2_vl  # noqa: E402

from vlfeedback.errors import ConfigError, ModelUnavailable  # noqa: E402
from vlfeedback.ids import call_key  # noqa: E402
from vlfeedback.images import Roots  # noqa: E402
from vlfeedback.models import transformers as backend  # noqa: E402
from vlfeedback.records import Image, Part, Request, Sampling  # noqa: E402

Ask = Callable[..., Request]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llava(tmp_path_factory.mktemp("models") / "llava")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_qwen2_vl(tmp_path_factory.mktemp("models") / "qwen")


@pytest.fixture(params=["llava", "qwen"])
def checkpoint(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def mixed(ask: Ask, temperature: float, top_p: float = 1.0) -> list[Request]:
    """Requests of many lengths, with and without picture and system message, with unequal limits."""
    prompts = [
        "what is this ?",
        "how many red circle",
        "describe",
        "yes",
        "is there a blue square in the picture ? " * 3,
    ]
    return [
        ask(
            prompts[number % 5],
            None if number % 7 == 6 else number % 8,
            system="says what" if number % 3 == 0 else "",
            temperature=temperature,
            top_p=top_p,
            max_tokens=4 + number % 9,
            sample_index=number,
        )
        for number in range(24)
    ]


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (1.0, 1.0), (0.7, 0.8)])
def test_a_reply_does_not_depend_on_its_batch(
    checkpoint: Path, roots: Roots, ask: Ask, temperature: float, top_p: float
) -> None:
    requests = mixed(ask, temperature, top_p)
    model = backend.load(model=str(checkpoint), roots=roots, batch=24)
    together = model.answer_all(requests)
    other_order = backend.load(model=str(checkpoint), roots=roots, batch=5).answer_all(requests[::-1])[::-1]
    alone = [model.answer_all([request])[0] for request in requests]
    texts = [[reply.text for reply in replies] for replies in (together, other_order, alone)]
    assert texts[0] == texts[1] == texts[2]
    if temperature == 1.0:
        assert len(set(texts[0])) > 15


def test_sampling_follows_the_models_distribution(llava: Path, roots: Roots, ask: Ask) -> None:
    model = backend.load(model=str(llava), roots=roots, batch=256)
    [greedy] = model.answer_all([ask(temperature=0.0, max_tokens=1, top_logprobs=5)])
    requests = [ask(temperature=1.0, max_tokens=1, sample_index=number) for number in range(2_000)]
    counts: dict[str, int] = {}
    for reply in model.answer_all(requests):
        counts[reply.text] = counts.get(reply.text, 0) + 1
    assert greedy.logprobs is not None
    for token, logprob in greedy.logprobs[0].top:
        share = float(torch.tensor(logprob).exp())
        assert counts.get(token.strip(), 0) / 2_000 == pytest.approx(share, abs=4 * (share / 2_000) ** 0.5 + 0.005)


def test_the_model_sees_the_picture_and_the_prompt(checkpoint: Path, roots: Roots, ask: Ask) -> None:
    model = backend.load(model=str(checkpoint), roots=roots)
    requests = [ask("what is this ?", number, temperature=0.0, max_tokens=8, top_logprobs=1) for number in (0, 7)]
    requests.append(ask("how many", 0, temperature=0.0, max_tokens=8, top_logprobs=1))
    first = [reply.logprobs[0].logprob for reply in model.answer_all(requests) if reply.logprobs]
    assert len({round(value, 4) for value in first}) == 3


@pytest.mark.parametrize("literal", ["<image>", "</s>", "<s>", "<pad><image></s>"])
def test_special_tokens_written_in_a_prompt_stay_text(llava: Path, roots: Roots, ask: Ask, literal: str) -> None:
    model = backend.load(model=str(llava), roots=roots)
    loaded = model._load()
    plain = loaded.encoder.encode(ask("is there ?"))
    tricky = loaded.encoder.encode(ask(f"is {literal} there ?"))
    special = set(loaded.encoder.special.values())
    assert sum(token in special for token in plain.ids) == sum(token in special for token in tricky.ids)
    assert tricky.image_tokens == plain.image_tokens == 9
    assert literal in loaded.encoder.tokenizer.decode(tricky.ids).replace("<image>" * 9, "")
    [reply] = model.answer_all([ask(f"is {literal} there ?", max_tokens=3)])
    assert reply.finish in ("stop", "length")


def test_ordinary_prompts_are_tokenised_as_the_stock_processor_does(llava: Path, roots: Roots, ask: Ask) -> None:
    import PIL.Image
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(llava)
    chat = [
        {"role": "system", "content": [{"type": "text", "text": "says what"}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is red ?"}]},
    ]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    stock = processor(text=[text], images=[PIL.Image.new("RGB", (32, 32), (0, 255, 90))], return_tensors="pt")
    encoder = backend.load(model=str(llava), roots=roots)._load().encoder
    ours = encoder.encode(ask("what is red ?", 0, system="says what"))
    assert ours.ids == stock["input_ids"][0].tolist()
    assert torch.equal(ours.pictures[0].tensors["pixel_values"], stock["pixel_values"])


def test_a_question_asked_tomorrow_is_the_same_question(llava: Path, roots: Roots, ask: Ask, tmp_path: Path) -> None:
    """Templates of Mistral's and Llama's write the date: a resumed run would have other prompts than the first."""
    import shutil

    from vlfeedback.train._tokens import Wording

    copy = Path(shutil.copytree(llava, tmp_path / "dated"))
    chat = "{% set today = strftime_now('%d %b %Y') if strftime_now is defined else '?' %}{{ today }} "
    (copy / "chat_template.jinja").write_text(chat + (copy / "chat_template.jinja").read_text())
    encoder = backend.load(model=str(copy), roots=roots)._load().encoder
    read = encoder.tokenizer.decode(encoder.encode(ask("what", None)).ids)
    assert "26 Jul 2024 USER:" in read
    trained = Wording(encoder._processor, encoder._read, frozenset()).prompt("what", ()).ids.tolist()
    assert encoder.tokenizer.decode(trained).startswith(read.removesuffix("ASSISTANT:").rstrip())


def test_no_special_token_is_ever_said(llava: Path, roots: Roots, ask: Ask) -> None:
    model = backend.load(model=str(llava), roots=roots, batch=64)
    loaded = model._load()
    loaded.model.lm_head.weight.data[4] *= 0  # <image>: a middling score everywhere
    requests = [ask(temperature=5.0, max_tokens=30, sample_index=number, top_logprobs=1) for number in range(64)]
    for reply in model.answer_all(requests):
        assert reply.logprobs is not None
        said = {token.token for token in reply.logprobs}
        assert not said & (set(loaded.encoder.special) - {"</s>"})


def test_finish_and_usage(llava: Path, roots: Roots, ask: Ask) -> None:
    model = backend.load(model=str(llava), roots=roots, batch=64)
    requests = [ask(temperature=3.0, max_tokens=40, sample_index=number) for number in range(48)]
    requests.append(ask(temperature=3.0, max_tokens=2, sample_index=99))
    replies = model.answer_all(requests)
    assert {reply.finish for reply in replies} == {"stop", "length"}
    for reply, request in zip(replies, requests, strict=True):
        assert (reply.finish == "length") <= (reply.usage.output == request.sampling.max_tokens)
        assert reply.usage.output <= request.sampling.max_tokens
        assert reply.usage.image == 9 < reply.usage.input


def test_logprobs_name_the_chosen_token_and_its_rivals(llava: Path, roots: Roots, ask: Ask) -> None:
    requests = [ask(temperature=0.0, max_tokens=5, top_logprobs=3), ask("yes", 1, temperature=0.0, max_tokens=5)]
    asked, not_asked = backend.load(model=str(llava), roots=roots).answer_all(requests)
    assert not_asked.logprobs is None
    assert asked.logprobs is not None
    assert len(asked.logprobs) == asked.usage.output
    for token in asked.logprobs:
        assert len(token.top) == 3
        assert [value for _, value in token.top] == sorted((value for _, value in token.top), reverse=True)
        assert token.logprob <= token.top[0][1]


def test_several_pictures_in_one_question(checkpoint: Path, roots: Roots, pictures: list[Image]) -> None:
    parts = (Part(image=pictures[0]), Part(text="and"), Part(image=pictures[1]), Part(text="?"))
    swapped = (parts[2], parts[1], parts[0], parts[3])
    sampling = Sampling(temperature=0.0, max_tokens=3)
    requests = [Request("", order, sampling, top_logprobs=1) for order in (parts, swapped)]
    model = backend.load(model=str(checkpoint), roots=roots)
    first, second = model.answer_all(requests)
    [alone] = model.answer_all(requests[1:])
    assert first.logprobs and second.logprobs and alone.logprobs
    assert first.logprobs[0].logprob != pytest.approx(second.logprobs[0].logprob, abs=1e-6)
    assert alone.logprobs[0].logprob == pytest.approx(second.logprobs[0].logprob, abs=1e-4)


def test_answer_collects_what_is_outstanding(llava: Path, roots: Roots, ask: Ask) -> None:
    model = backend.load(model=str(llava), roots=roots, batch=24)
    requests = mixed(ask, 1.0)

    async def run() -> list[str]:
        return [reply.text for reply in await asyncio.gather(*map(model.answer, requests))]

    expected = [reply.text for reply in model.answer_all(requests)]
    model.close()
    assert asyncio.run(run()) == expected


def test_a_prompt_that_does_not_fit_is_a_bad_request_of_its_own(llava: Path, roots: Roots, ask: Ask) -> None:
    long, short = backend.load(model=str(llava), roots=roots).answer_all([ask("what " * 300), ask(max_tokens=2)])
    assert (long.error, long.answered) == ("bad_request", True)
    assert "512" in long.detail
    assert short.error is None


def test_a_missing_picture_spoils_only_its_question(llava: Path, roots: Roots, ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "pics" / "3.png").unlink()
    gone, fine = backend.load(model=str(llava), roots=roots).answer_all([ask("what", 3), ask("what", 4, max_tokens=2)])
    assert (gone.error, gone.answered) == ("connection", False)
    assert fine.error is None


def test_schemas_are_refused_not_ignored(llava: Path, roots: Roots, ask: Ask) -> None:
    with pytest.raises(ConfigError, match="schema"):
        backend.load(model=str(llava), roots=roots).answer_all([ask(schema="{}")])


def test_identity_is_content_not_place(llava: Path, roots: Roots, tmp_path: Path) -> None:
    import shutil

    def identity(folder: Path, **options: str) -> str:
        return backend.load(model=str(folder), roots=roots, **options).identity

    copy = Path(shutil.copytree(llava, tmp_path / "moved" / "llava"))
    assert identity(copy) == identity(llava)
    assert identity(llava).startswith("transformers:llava@")
    assert identity(llava, dtype="float32") == identity(llava) + ";dtype=float32"
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert identity(copy) != identity(llava)
    assert backend.load(model="org/name", roots=roots, revision="r").identity == "transformers:org/name@r"


def test_large_weights_that_differ_in_some_tensors_are_others(
    llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file is not hashed whole; an adapter on `q_proj` that was folded in left its ends and middle alone."""
    import shutil

    from safetensors.torch import load_file, save_file

    from vlfeedback.models import _checkpoints

    monkeypatch.setattr(_checkpoints, "_WHOLE", 1000)
    monkeypatch.setattr(_checkpoints, "_SAMPLE", 64)
    monkeypatch.setattr(_checkpoints, "_PIECE", 16)
    copy = Path(shutil.copytree(llava, tmp_path / "llava"))
    file = copy / "model.safetensors"
    weights = load_file(file)
    save_file(weights, file, metadata={"format": "pt"})
    seen = {_checkpoints.fingerprint(copy)}
    save_file(weights, file, metadata={"format": "pt"})
    assert {_checkpoints.fingerprint(copy)} == seen
    for name in [name for name in weights if "q_proj" in name]:
        save_file({**weights, name: weights[name] + 0.01}, file, metadata={"format": "pt"})
        seen.add(_checkpoints.fingerprint(copy))
    assert len(seen) == 1 + sum("q_proj" in name for name in weights)
    for header in (b"{", b"[1]", b'{"a": {}}', b'{"a": 1}'):
        file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(2000))
        seen.add(_checkpoints.fingerprint(copy))  # loading it says that it is damaged


def test_a_missing_checkpoint_says_what_to_give(
    roots: Roots, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelUnavailable, match="safetensors"):
        backend.load(model=str(tmp_path / "nothing"), roots=roots)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelUnavailable, match="cannot load"):
        backend.load(model=str(tmp_path / "empty"), roots=roots).answer_all([ask()])


def test_the_checkpoints_own_sampling_defaults_do_not_act(llava: Path, roots: Roots, ask: Ask, tmp_path: Path) -> None:
    import json
    import shutil

    copy = Path(shutil.copytree(llava, tmp_path / "llava"))
    settings = json.loads((copy / "generation_config.json").read_text())
    (copy / "generation_config.json").write_text(
        json.dumps(settings | {"repetition_penalty": 9.0, "top_k": 1, "do_sample": True})
    )
    requests = [ask(max_tokens=12, sample_index=number) for number in range(4)]
    texts = [
        [reply.text for reply in backend.load(model=str(folder), roots=roots, identity="x").answer_all(requests)]
        for folder in (llava, copy)
    ]
    assert texts[0] == texts[1]


def test_other_identities_have_other_noise(llava: Path, roots: Roots, ask: Ask) -> None:
    requests = [ask(max_tokens=12, temperature=1.0, sample_index=number) for number in range(8)]
    texts = {
        name: [reply.text for reply in backend.load(model=str(llava), roots=roots, identity=name).answer_all(requests)]
        for name in ("a", "b")
    }
    assert texts["a"] != texts["b"]
    assert call_key("a", requests[0]) != call_key("a", dataclasses.replace(requests[0], system="x"))


def test_an_adapter_changes_replies_and_identity_and_is_not_trained_over(
    llava: Path, roots: Roots, ask: Ask, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    base = AutoModelForImageTextToText.from_pretrained(llava)
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    peft.get_peft_model(base, settings).save_pretrained(tmp_path / "adapter")
    plain = backend.load(model=str(llava), roots=roots)
    adapted = backend.load(model=str(llava), roots=roots, adapter=str(tmp_path / "adapter"))
    assert adapted.identity.startswith(plain.identity + "+adapter@")
    requests = [ask(max_tokens=12, temperature=0.0)]
    assert adapted.answer_all(requests)[0].text != plain.answer_all(requests)[0].text
    assert plain.weights == str(llava)
    with pytest.raises(ConfigError, match="adapter"):
        _ = adapted.weights
    with pytest.raises(ConfigError, match="no such folder"):
        backend.load(model=str(llava), roots=roots, adapter=str(tmp_path / "nothing"))


def test_options_are_read_as_the_pipeline_reads_them(llava: Path, roots: Roots) -> None:
    from vlfeedback import registry

    model = registry.bind(
        registry.find("models", "transformers"), {"model": str(llava), "batch": 3}, "x", inject={"roots": roots}
    )
    assert (model.batch, model.dtype, model.hosts, model.local) == (3, "auto", (), True)


@pytest.mark.parametrize("size", [(4801, 24), (1, 300)])
def test_a_picture_too_flat_for_processors_spoils_only_its_question(
    checkpoint: Path, roots: Roots, ask: Ask, tmp_path: Path, size: tuple[int, int]
) -> None:
    """A processor would scale its shorter side up, and with it the longer one, until no memory is left."""
    import PIL.Image

    PIL.Image.new("RGB", size, (9, 9, 200)).save(tmp_path / "pics" / "flat.png")
    flat = Request("", (Part(image=roots.find("pics", "flat.png")), Part(text="what ?")), Sampling(max_tokens=2))
    refused, fine = backend.load(model=str(checkpoint), roots=roots).answer_all([flat, ask("what", 4, max_tokens=2)])
    assert (refused.error, refused.answered, refused.sent) == ("bad_request", True, 0)
    assert f"{size[0]} x {size[1]} pixels: one side is more than 200 times the other" in refused.detail
    assert fine.error is None


def test_a_picture_that_the_processor_refuses_spoils_only_its_question(
    llava: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = backend.load(model=str(llava), roots=roots)
    model.answer_all([ask("what", 4, max_tokens=2)])
    pictures = model._load().encoder._processor.image_processor

    def preprocess(*_: object, **__: object) -> None:
        raise ValueError("absolute aspect ratio must be smaller than 9\nand more")

    monkeypatch.setattr(pictures, "preprocess", preprocess)
    refused, fine = model.answer_all([ask("what", 3), ask("what", 4, max_tokens=2)])
    assert (refused.error, refused.answered) == ("bad_request", True)
    assert refused.detail.endswith("does not take pics:3.png: absolute aspect ratio must be smaller than 9")
    assert fine.error is None


@pytest.mark.parametrize(
    "problem",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:116] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
        ),
    ],
)
def test_a_batch_that_is_too_large_is_asked_in_halves(
    llava: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch, problem: RuntimeError
) -> None:
    model = backend.load(model=str(llava), roots=roots)
    requests = [ask(f"what {number} ?", max_tokens=4) for number in range(7)]
    expected = [reply.text for reply in model.answer_all(requests)]
    real, sizes = backend.run, list[int]()

    def run(loaded: object, identity: str, asked: list[Request], encoded: object) -> object:
        sizes.append(len(asked))
        if len(asked) > most:
            raise problem
        return real(loaded, identity, asked, encoded)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(backend, "run", run)
    most = 2
    assert [reply.text for reply in model.answer_all(requests)] == expected
    assert max(sizes) == 7
    most = 0
    [reply] = model.answer_all(requests[:1])
    assert (reply.error, reply.answered) == ("server", False) and "out of memory with one question" in reply.detail


def test_another_fault_of_a_batch_is_a_fault(
    llava: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(backend, "run", run)
    with pytest.raises(RuntimeError, match="shapes"):
        backend.load(model=str(llava), roots=roots).answer_all([ask(), ask("who")])
