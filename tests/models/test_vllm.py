"""Local models under vLLM: what goes in and comes out; with `-m peers`, a real engine on tiny checkpoints.

The engine needs vLLM: put an environment of its own that has it on PYTHONPATH (`benchmarks/vllm_engine.py` makes one
of the build for processors).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.abc
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace as Made
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_models import write_llava, write_llava_for_vllm, write_qwen2_vl  # noqa: E402

from vlfeedback import flow  # noqa: E402
from vlfeedback.config import Settings  # noqa: E402
from vlfeedback.errors import ConfigError, ModelUnavailable  # noqa: E402
from vlfeedback.images import Roots  # noqa: E402
from vlfeedback.learning import policy  # noqa: E402
from vlfeedback.models import openai, transformers as backend, vllm  # noqa: E402
from vlfeedback.models._checkpoints import open_processor  # noqa: E402
from vlfeedback.models._prompts import Encoder  # noqa: E402
from vlfeedback.records import Generation, Image, Part, Request, Sampling  # noqa: E402
from vlfeedback.run_folder import RunFolder  # noqa: E402
from vlfeedback.run_models import access  # noqa: E402

Ask = Callable[..., Request]
HERE = importlib.util.find_spec("vllm") is not None


def test_what_cannot_be_is_said(roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="max_num_seqs and gpus must be at least 1"):
        vllm.load(model="a/b", roots=roots, max_num_seqs=0)
    with pytest.raises(ConfigError, match="max_num_seqs, which are options"):
        vllm.load(model="a/b", roots=roots, engine={"max_num_seqs": 3, "max_model_len": 4})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelUnavailable, match="pip install vllm"):
        vllm.load(model="a/b", roots=roots)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(ModelUnavailable, match="no checkpoint"):
        vllm.load(model=str(tmp_path / "none"), roots=roots)


def test_identity_names_the_engine_and_its_settings(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert vllm.load(model="a/b", roots=roots, revision="1").identity == "vllm:a/b@1"
    fast = vllm.load(model="a/b", roots=roots, engine={"quantization": "fp8", "max_model_len": 8})
    assert fast.identity == 'vllm:a/b;engine={"max_model_len":8,"quantization":"fp8"}'
    assert vllm.load(model="a/b", roots=roots, identity="mine", engine={"quantization": "fp8"}).identity == "mine"
    assert (fast.hosts, fast.local, fast.batch) == ((), True, 256)


def test_an_engine_that_does_not_start_is_tried_once(roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    model, starts = vllm.load(model="a/b", roots=roots), []

    def start() -> Any:
        starts.append(1)
        raise ModelUnavailable("no room")

    monkeypatch.setattr(model, "_start", start)

    async def all_of() -> list[Any]:
        asked = [model.answer(ask("what ?", None)) for _ in range(4)]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    assert [str(one) for one in flow.run(all_of())] == ["no room"] * 4
    assert len(starts) == 1
    model.close()  # from here on it is tried anew
    flow.run(all_of())
    assert len(starts) == 2


def test_its_log_stays_out_of_what_a_command_prints(
    roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `--json` stdout is one document, and vLLM's own default is to log there."""
    monkeypatch.delenv("VLLM_LOGGING_STREAM", raising=False)
    seen: list[str | None] = []

    class Fake(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "vllm":
                seen.append(os.environ.get("VLLM_LOGGING_STREAM"))

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(sys, "meta_path", [Fake(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    (tmp_path / "broken").mkdir()
    with pytest.raises((ImportError, ModelUnavailable)):
        vllm.load(model=str(tmp_path / "broken"), roots=roots)._start()  # pyright: ignore[reportPrivateUsage]
    assert seen == ["ext://sys.stderr"]


def test_it_is_no_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is trained must be asked with its adapter on and off afterwards, which only `transformers` does."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    asked = Settings.model_validate({"train": {"use": "vllm", "model": "a/b"}})
    run = RunFolder.create(tmp_path / "run", asked)
    with access(run) as reach, pytest.raises(ConfigError, match="no weights that could be trained"):
        policy(run, reach)


@pytest.fixture(scope="module", params=[write_llava, write_qwen2_vl], ids=["llava", "qwen"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_processor(str(request.param(tmp_path_factory.mktemp("outline") / "model")), None)


def test_an_outline_has_one_token_for_each_picture(encoder: Any, roots: Roots, pictures: list[Image]) -> None:
    made = Encoder(encoder, lambda image, recipe: roots.open(image))
    text = "what is <image> or <|image_pad|> here ?"
    request = Request("says", (Part(image=pictures[0]), Part(text=text), Part(image=pictures[1])), Sampling())
    outline, whole = made.outline(request), made.encode(request).ids
    (token,) = {made.special[name] for name in made._placeholders}  # pyright: ignore[reportPrivateUsage]
    assert outline.count(token) == 2
    short = [one for place, one in enumerate(whole) if one != token or whole[place - 1] != token]
    assert outline == short
    assert len(whole) - len(outline) == whole.count(token) - 2 == (0 if "video" in str(made.special) else 16)


def output(**changes: Any) -> Any:
    steps = [{5: Made(logprob=-0.5, rank=2, decoded_token=" a"), 6: Made(logprob=-0.1, rank=1, decoded_token="b")}]
    first = Made(text=" red ", token_ids=[5], finish_reason="stop", logprobs=steps)
    fields = {"outputs": [first], "prompt_token_ids": list(range(20)), "num_cached_tokens": 7} | changes
    return Made(**fields)


def test_an_output_is_read(ask: Ask) -> None:
    found = vllm.read_output(output(), ask("what ?", 0, top_logprobs=1), 12, 0.5)
    assert (found.text, found.finish, found.latency) == ("red", "stop", 0.5)
    assert (found.usage.input, found.usage.output, found.usage.cached, found.usage.image) == (20, 1, 7, 9)
    assert found.logprobs is not None
    assert [(one.token, one.logprob, one.top) for one in found.logprobs] == [(" a", -0.5, (("b", -0.1),))]
    plain = vllm.read_output(output(num_cached_tokens=None), ask("what ?", None), 20)
    assert plain.logprobs is None and plain.usage.image == 0 and plain.usage.cached == 0


@pytest.mark.parametrize(
    ("reason", "finish"), [("length", "length"), ("stop", "stop"), ("abort", "error"), (None, "error")]
)
def test_how_an_output_ends(ask: Ask, reason: str | None, finish: str) -> None:
    first = Made(text="red", token_ids=[5], finish_reason=reason, logprobs=None)
    found = vllm.read_output(output(outputs=[first]), ask("what ?"), 12)
    assert found.finish == finish
    assert (found.error == "server") is (finish == "error")
    assert vllm.read_output(None, ask("what ?"), 12).error == "server"


# ── a real engine ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA that vLLM runs too."""
    return write_llava_for_vllm(tmp_path_factory.mktemp("vllm") / "llava")


@pytest.fixture
def start(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Any]]:
    """Start engines that this machine can run; they are stopped in the end."""
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    engine = {"enforce_eager": True, "max_model_len": 512}
    made: list[Any] = []

    def one(checkpoint: Path) -> Any:
        made.append(vllm.load(model=str(checkpoint), roots=roots, dtype="float32", max_num_seqs=16, engine=engine))
        return made[-1]

    yield one
    for model in made:
        model.close()


def answers(model: Any, requests: list[Request]) -> list[Generation]:
    async def all_of() -> list[Generation]:
        return list(await asyncio.gather(*(model.answer(request) for request in requests)))

    return flow.run(all_of())


@pytest.mark.peers
def test_a_real_engine(
    start: Callable[[Path], Any], checkpoint: Path, roots: Roots, ask: Ask, pictures: list[Image]
) -> None:
    engine = start(checkpoint)
    greedy = [ask(f"{word} color ?", number, max_tokens=12, temperature=0.0)
              for number, word in enumerate(("what", "which", "the <image>", "describe"))]  # fmt: skip
    two = Request(
        "", (Part(image=pictures[0]), Part(image=pictures[1]), Part(text="yes ?")), Sampling(0.0, max_tokens=8)
    )
    asked = [*greedy, ask("yes or no ?", None, max_tokens=12, temperature=0.0), two]
    found = answers(engine, asked)
    plain = backend.load(model=str(checkpoint), roots=roots, dtype="float32").answer_all(asked)
    assert [one.usage.input for one in found] == [one.usage.input for one in plain]
    assert [one.usage.image for one in found] == [one.usage.image for one in plain] == [9, 9, 9, 9, 0, 18]
    # The reference never says special tokens; where the engine does not either, both say the same.
    alike = [mine.text == theirs.text for mine, theirs in zip(found, plain, strict=True)]
    assert sum(alike) >= 5, [(mine.text, theirs.text) for mine, theirs in zip(found, plain, strict=True)]

    sampled = [
        ask("what is this ?", number, max_tokens=12, sample_index=index) for number in range(3) for index in (0, 1)
    ]
    first = [one.text for one in answers(engine, sampled)]
    assert len(set(first)) > 3
    assert [one.text for one in answers(engine, sampled[::-1])][::-1] == first  # seeded by the call

    shape = {"type": "object", "properties": {"text_1": {"enum": [1, 2, 3]}}, "required": ["text_1"],
             "additionalProperties": False}  # fmt: skip
    (judged,) = answers(
        engine, [ask("rate it", 0, max_tokens=60, temperature=0.0, schema=json.dumps(shape), top_logprobs=3)]
    )
    assert json.loads(judged.text)["text_1"] in (1, 2, 3)
    assert judged.logprobs is not None and len(judged.logprobs) == judged.usage.output
    assert all(one.top[0][1] == max(value for _, value in one.top) for one in judged.logprobs)

    (long,) = answers(engine, [ask("x " * 600, 0)])
    assert (long.finish, long.error) == ("error", "bad_request") and "512" in long.detail
    engine.close()
    again = answers(engine, greedy[:1])
    assert again[0].text == found[0].text  # a new engine


@pytest.mark.peers
def test_an_exported_checkpoint(
    start: Callable[[Path], Any], checkpoint: Path, roots: Roots, ask: Ask, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    from vlfeedback.train._merge import merge

    base: Any = AutoModelForImageTextToText.from_pretrained(checkpoint)
    adapted: Any = get_peft_model(base, LoraConfig(r=4, target_modules=r".*language_model.*(q_proj|v_proj|up_proj)"))
    torch.manual_seed(3)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    adapted.save_pretrained(tmp_path / "adapter")
    open_processor(str(checkpoint), None).save_pretrained(tmp_path / "adapter")
    merge(tmp_path / "adapter", tmp_path / "merged")
    greedy = [ask("what color ?", number, max_tokens=12, temperature=0.0) for number in range(4)]
    both = backend.load(model=str(checkpoint), roots=roots, dtype="float32", adapter=str(tmp_path / "adapter"))
    plain = backend.load(model=str(checkpoint), roots=roots, dtype="float32").answer_all(greedy)
    found, wanted = answers(start(tmp_path / "merged"), greedy), both.answer_all(greedy)
    assert sum(one.text == other.text for one, other in zip(found, wanted, strict=True)) >= 3
    assert all(one.text != other.text for one, other in zip(wanted, plain, strict=True))


@pytest.fixture
def server(checkpoint: Path, roots: Roots, tmp_path: Path) -> Iterator[str]:
    """Address of a vLLM server that may read the pictures' folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint), "--served-model-name",
        "tiny", "--port", str(port), "--dtype", "float32", "--max-model-len", "512", "--enforce-eager",
        "--max-num-seqs", "16", "--allowed-local-media-path", str(tmp_path),
    ]  # fmt: skip
    own = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log)
    try:
        for _ in range(180):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                break
            assert running.poll() is None, (tmp_path / "log").read_text()[-2000:]
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        running.terminate()
        running.wait(60)


@pytest.mark.peers
def test_a_real_server(server: str, checkpoint: Path, roots: Roots, ask: Ask) -> None:
    greedy = [ask("what color ?", number, max_tokens=12, temperature=0.0) for number in range(3)]
    plain = backend.load(model=str(checkpoint), roots=roots, dtype="float32").answer_all(greedy)
    sent = openai.load(model="tiny", roots=roots, base_url=server, samples=2)
    seen = openai.load(model="tiny", roots=roots, base_url=server, image_as="file")
    for model in (sent, seen):
        found = answers(model, greedy)
        assert [one.usage.input for one in found] == [one.usage.input for one in plain]
        # A server says special tokens too, which are not in its text; up to there both say the same.
        texts = [(one.text.strip(), other.text) for one, other in zip(found, plain, strict=True)]
        assert all(one[:4] == other[:4] for one, other in texts), texts
    drawn = [ask("what color ?", 0, max_tokens=12, temperature=1.0, sample_index=index) for index in (0, 1)]
    first, second = answers(sent, drawn)  # one call with n = 2
    assert first.finish in ("stop", "length") and first.text != second.text
    shape = {"type": "object", "properties": {"text_1": {"enum": [1, 2, 3]}}, "required": ["text_1"],
             "additionalProperties": False}  # fmt: skip
    (held,) = answers(sent, [ask("rate", 0, max_tokens=60, temperature=0.0, schema=json.dumps(shape), top_logprobs=3)])
    assert json.loads(held.text)["text_1"] in (1, 2, 3)
    assert held.logprobs is not None and len(held.logprobs[0].top) == 3
    (long,) = answers(sent, [ask("x " * 600, 0)])
    assert (long.finish, long.error) == ("error", "bad_request") and "512" in long.detail
    flow.run(sent.aclose())
    flow.run(seen.aclose())


@pytest.mark.peers
def test_a_checkpoint_that_the_engine_cannot_run(tmp_path: Path, roots: Roots, ask: Ask) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"model_type": "llava"}')
    model = vllm.load(model=str(tmp_path / "broken"), roots=roots)
    with pytest.raises(ModelUnavailable, match="broken"):
        answers(model, [ask("what ?", None)])
    assert HERE
