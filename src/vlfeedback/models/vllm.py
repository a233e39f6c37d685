"""Models whose weights lie on this machine, run by vLLM inside this process's command: no server to start.

vLLM batches continuously, keeps the prefixes of prompts and pictures that come again, and can hold a reply to a JSON
schema. Every question is still a call of its own, so that it is in the ledger before and after. The noise of sampling
is seeded by the call; batches of other shapes round differently, so an answer can differ now and then.

Tried with vLLM 0.32 on processors.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportMissingImports=false
# vLLM is no dependency: it is there where the user has installed it.
from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from vlfeedback.errors import ConfigError, ImageError, ModelUnavailable
from vlfeedback.ids import call_key
from vlfeedback.images import Roots, prepare
from vlfeedback.models import _chat, _checkpoints
from vlfeedback.models._batches import Checkpoint, ends_of
from vlfeedback.models._noise import seed_of
from vlfeedback.models._prompts import Encoder
from vlfeedback.models._shown import RefusedPicture, open_picture
from vlfeedback.models._thoughts import apart
from vlfeedback.models._weights import number_format
from vlfeedback.records import Finish, Generation, Image, Request, TokenLogprobs, Usage

_NEVER = -100.0
"""Added to a token's logit; the least that vLLM takes."""

_OURS = frozenset({"model", "revision", "dtype", "seed", "max_num_seqs", "tensor_parallel_size"})
"""Settings of the engine that have options of their own here."""


def load(
    *,
    model: str,
    roots: Roots,
    identity: str = "",
    revision: str | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    max_num_seqs: int = 256,
    gpus: int = 1,
    engine: dict[str, Any] | None = None,
) -> VLLMModel:
    """Name a local model for vLLM; its weights are loaded with the first question.

    Args:
        model: Folder of a checkpoint, or its name on the hub.
        roots: Where pictures lie (given by the pipeline).
        identity: Declared identity; default `vllm:NAME@REVISION`, for a folder its name and content hash, and `engine`.
        revision: Branch, tag or commit on the hub.
        dtype: Number format of the weights; `auto` keeps the checkpoint's.
        max_num_seqs: Most questions at a time, ≥ 1.
        gpus: GPUs that share one copy of the weights, ≥ 1.
        engine: Further settings of vLLM's engine, such as `{ max_model_len = 8192, quantization = "fp8" }`.
    Raises:
        ConfigError: `max_num_seqs` or `gpus` is not positive, or `engine` sets what has an option here.
        ModelUnavailable: vLLM is not installed, or `model` looks like a folder and is none.
    """
    if max_num_seqs < 1 or gpus < 1:
        raise ConfigError(f"model {model}: max_num_seqs and gpus must be at least 1, not {max_num_seqs} and {gpus}")
    settings = dict(engine or {})
    if taken := sorted(_OURS & set(settings)):
        raise ConfigError(f"model {model}: engine sets {', '.join(taken)}, which are options of the model itself")
    if importlib.util.find_spec("vllm") is None:
        raise ModelUnavailable(
            'use = "vllm" needs vLLM in this environment: pip install vllm. Or serve the model and use = "openai"'
        )
    named = _checkpoints.place_of(model)
    declared = identity_of(model=model, identity=identity, revision=revision, dtype=dtype, engine=engine)
    return VLLMModel(declared, roots, Checkpoint(named, revision, dtype), _Shape(max_num_seqs, gpus, settings))


def identity_of(
    *, model: str, identity: str, revision: str | None, dtype: str, engine: Mapping[str, Any] | None
) -> str:
    """The identity that `load` gives, without opening anything."""
    settings = f";engine={json.dumps(engine, sort_keys=True, separators=(',', ':'))}" if engine else ""
    return identity or _checkpoints.identity_of(model, revision, dtype, None, "vllm") + settings


@dataclass(frozen=True, slots=True)
class _Shape:
    """How the engine is set up; see `load`."""

    batch: int
    gpus: int
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Open:
    """An engine with the encoder of its checkpoint, and a bias that keeps special tokens out of replies."""

    engine: Any
    encoder: Encoder
    bias: Mapping[int, float]


class VLLMModel:
    """A local model run by vLLM; safe for many questions at a time. It answers and is no policy to be trained.

    Attributes:
        identity: Declared identity.
        name: The checkpoint as it was named.
        batch: Most questions at a time.
        hosts: Hosts that see prompts and pictures: none.
        local: It costs nothing.
    """

    hosts: tuple[str, ...] = ()
    local = True

    def __init__(self, identity: str, roots: Roots, checkpoint: Checkpoint, shape: _Shape) -> None:
        self.identity = identity
        self.name = checkpoint.model
        self.batch = shape.batch
        self._roots, self._checkpoint, self._shape = roots, checkpoint, shape
        self._opening = asyncio.Lock()
        self._open: _Open | None = None
        self._failed = ""
        self._asked = 0

    @property
    def number_format(self) -> str:
        """What the weights are computed in; `auto` where only loading would tell."""
        return number_format(self._checkpoint)

    async def answer(self, request: Request) -> Generation:
        """Answer while the engine answers others.

        Raises:
            ModelUnavailable: the checkpoint cannot be loaded, or the engine has died.
        """
        opened = await self._opened()
        began = time.perf_counter()
        try:
            prompt = await asyncio.to_thread(self._prompt, opened.encoder, request)
        except RefusedPicture as problem:
            return replace(_chat.failure("bad_request", str(problem)), sent=0)
        except ImageError as problem:
            return replace(_chat.failure("connection", f"a picture cannot be read: {problem}"), sent=0)
        self._asked += 1
        params = _params(request, seed_of(call_key(self.identity, request)), opened.bias)
        last: Any = None
        try:
            async for output in opened.engine.generate(prompt, params, f"{id(self)}-{self._asked}"):
                last = output
        except Exception as problem:
            return _refused(problem, opened.engine, self.identity)
        return read_output(last, request, len(prompt["prompt_token_ids"]), time.perf_counter() - began)

    def close(self) -> None:
        """Stop the engine, which releases the weights; a later question starts another."""
        opened, self._open, self._failed = self._open, None, ""
        if opened is not None:
            opened.engine.shutdown()
            # It shuts down once more when it is collected: at the interpreter's end, where that fails with a trace.
            opened.engine.shutdown = _nothing

    async def aclose(self) -> None:
        """The same, for callers that close every model alike."""
        self.close()

    async def _opened(self) -> _Open:
        if self._open is None:
            async with self._opening:  # all wait for the first one's engine
                if self._failed:  # a start takes a minute: those who waited are told and do not try it each
                    raise ModelUnavailable(self._failed)
                if self._open is None:
                    try:
                        self._open = await asyncio.to_thread(self._start)
                    except ModelUnavailable as problem:
                        self._failed = str(problem)
                        raise
        return self._open

    def _start(self) -> _Open:
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # stdout is the command's, which may be JSON
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        checkpoint, shape = self._checkpoint, self._shape
        encoder = Encoder(_checkpoints.open_processor(checkpoint.model, checkpoint.revision), self._read)
        settings: dict[str, Any] = {"disable_log_stats": True, **shape.settings}
        try:
            engine: Any = AsyncLLM.from_engine_args(
                AsyncEngineArgs(
                    model=checkpoint.model, revision=checkpoint.revision, dtype=checkpoint.dtype, seed=0,
                    max_num_seqs=shape.batch, tensor_parallel_size=shape.gpus, **settings,
                )
            )  # fmt: skip
        except (OSError, ValueError, RuntimeError, TypeError) as problem:
            first = (str(problem).splitlines() or [""])[0][:300]
            raise ModelUnavailable(f"vLLM cannot run {checkpoint.model!r}: {first}; its log says more") from problem
        stated = engine.model_config.try_get_generation_config().get("eos_token_id")
        silent = encoder.unspeakable(ends_of(stated, encoder.tokenizer))
        width = engine.model_config.get_vocab_size()
        return _Open(engine, encoder, {number: _NEVER for number in silent if number < width})

    def _read(self, image: Image, recipe: str) -> bytes:
        return prepare(self._roots.open(image), recipe).bytes

    def _prompt(self, encoder: Encoder, request: Request) -> dict[str, Any]:
        """What the engine takes: ids with one token for each picture, and the pictures."""
        prompt: dict[str, Any] = {"prompt_token_ids": encoder.outline(request)}
        if request.images:
            prompt["multi_modal_data"] = {"image": [self._picture(image, request.recipe) for image in request.images]}
            # Named by content, so that a picture is hashed once and found again among those the engine keeps.
            prompt["multi_modal_uuids"] = {"image": [f"{image.sha256}-{request.recipe}" for image in request.images]}
        return prompt

    def _picture(self, image: Image, recipe: str) -> Any:
        return open_picture(self._read(image, recipe), image.uri)


def _nothing(*_: object, **__: object) -> None:
    """What an engine's second shutdown does."""


def _refused(problem: Exception, engine: Any, identity: str) -> Generation:
    """What an error of one question means: the question was wrong (too long, …), or it failed and may be put again.

    Raises:
        ModelUnavailable: the engine has died.
        Exception: the error is no word of vLLM's.
    """
    from vllm.exceptions import VLLMClientError, VLLMError

    words = " ".join(str(problem).split())
    if engine.errored:
        raise ModelUnavailable(
            f"{identity}: vLLM's engine has died ({words}); its log says why. What was answered is kept: run again"
        ) from problem
    if isinstance(problem, (ValueError, VLLMClientError)):
        return replace(_chat.failure("bad_request", words), sent=0)
    if isinstance(problem, VLLMError):
        return replace(_chat.failure("server", words), sent=0)
    raise problem


def _params(request: Request, seed: int, bias: Mapping[int, float]) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    sampling = request.sampling
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_tokens,
        seed=seed & (2**63 - 1),
        logprobs=request.top_logprobs,
        logit_bias=dict(bias),
        structured_outputs=StructuredOutputsParams(json=request.schema) if request.schema is not None else None,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def read_output(output: Any, request: Request, outlined: int, latency: float = 0.0) -> Generation:
    """What vLLM gave, as a generation.

    Args:
        output: A `vllm.RequestOutput`, finished; None where the engine ended without one.
        request: The question.
        outlined: Tokens of the prompt with one for each picture.
        latency: Seconds.
    """
    if output is None or not output.outputs:
        return replace(_chat.failure("server", "vLLM gave no output"), sent=0)
    first = output.outputs[0]
    finish: Finish = "length" if first.finish_reason == "length" else "stop"
    if first.finish_reason not in ("stop", "length"):
        return replace(_chat.failure("server", f"vLLM ended with {first.finish_reason!r}"), sent=0)
    read = len(output.prompt_token_ids or ())
    pictures = len(request.images)
    usage = Usage(
        input=read,
        output=len(first.token_ids),
        cached=min(int(output.num_cached_tokens or 0), read),
        image=max(0, read - outlined + pictures) if pictures else 0,
    )
    logprobs = None if request.top_logprobs is None else _logprobs(first, request.top_logprobs)
    thoughts, text = apart(first.text.strip(), finish)
    return Generation(text, finish, reasoning=thoughts, usage=usage, logprobs=logprobs, latency=latency)


def _logprobs(first: Any, wanted: int) -> tuple[TokenLogprobs, ...]:
    """Logarithms of each token and of the most probable ones at its place."""
    found: list[TokenLogprobs] = []
    steps: Sequence[Mapping[int, Any]] = first.logprobs or ()
    for token, step in zip(first.token_ids, steps, strict=False):
        ranked = sorted(step.values(), key=lambda one: one.rank or 2**31)[:wanted]
        top = tuple((str(one.decoded_token or ""), float(one.logprob)) for one in ranked)
        found.append(TokenLogprobs(str(step[token].decoded_token or ""), float(step[token].logprob), top))
    return tuple(found)
