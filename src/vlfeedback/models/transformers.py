"""Models whose weights lie on this machine: any `AutoModelForImageTextToText` of the transformers library.

Questions that are outstanding at one time run as one batch. What a model says to one of them does not depend on the
others: prompts are padded on the left, and the noise of sampling is a function of the call (see `_noise`). In half
precision, where a batch's shape changes the rounding, an answer can still differ now and then.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from vlfeedback.errors import ConfigError, ImageError, ModelUnavailable
from vlfeedback.images import Roots, prepare
from vlfeedback.models import _chat, _checkpoints
from vlfeedback.models._batches import Checkpoint, Loaded, run
from vlfeedback.models._prompts import Encoded
from vlfeedback.models._shown import RefusedPicture
from vlfeedback.models._weights import Weights, number_format
from vlfeedback.records import Generation, Image, Request

log = logging.getLogger(__name__)

_TURNS: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
"""Whose turn it is, by device."""


def load(
    *,
    model: str,
    roots: Roots,
    identity: str = "",
    revision: str | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    device: str = "auto",
    batch: int = 32,
    adapter: str | None = None,
) -> TransformersModel:
    """Name a local model; its weights are loaded with the first question.

    Args:
        model: Folder of a checkpoint, or its name on the hub.
        roots: Where pictures lie (given by the pipeline).
        identity: Declared identity; default `transformers:NAME@REVISION`, for a folder its name and content hash.
        revision: Branch, tag or commit on the hub.
        dtype: Number format of the weights; `auto` keeps the checkpoint's.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        batch: Most questions in one pass, ≥ 1.
        adapter: Folder of a peft adapter to put on top.
    Raises:
        ConfigError: `batch` is not positive or there is no such adapter.
        ModelUnavailable: `model` looks like a folder and is none.
    """
    if batch < 1:
        raise ConfigError(f"model {model}: batch must be at least 1, not {batch}")
    named = _checkpoints.place_of(model)
    if adapter and not Path(adapter).expanduser().is_dir():
        raise ConfigError(f"adapter {adapter}: no such folder")
    declared = identity_of(model=model, identity=identity, revision=revision, dtype=dtype, adapter=adapter)
    return TransformersModel(declared, roots, Weights(Checkpoint(named, revision, dtype, device)), batch, adapter)


def identity_of(*, model: str, identity: str, revision: str | None, dtype: str, adapter: str | None) -> str:
    """The identity that `load` gives, without opening anything."""
    return identity or _checkpoints.identity_of(model, revision, dtype, adapter)


class TransformersModel:
    """A local model; safe for many questions at a time.

    Attributes:
        identity: Declared identity.
        name: The checkpoint as it was named.
        batch: Most questions in one pass.
        dtype: Number format of the weights, as it was named.
        device: Where it runs, as it was named.
        hosts: Hosts that see prompts and pictures: none.
        local: It costs nothing.
    """

    hosts: tuple[str, ...] = ()
    local = True

    def __init__(self, identity: str, roots: Roots, weights: Weights, batch: int, adapter: str | None = None) -> None:
        self.identity = identity
        self._roots = roots
        self._weights = weights
        self._adapter = adapter
        checkpoint = weights.checkpoint
        self.name = checkpoint.model
        self.batch = batch
        self.dtype: Literal["auto", "float32", "bfloat16", "float16"] = checkpoint.dtype
        self.device = checkpoint.device
        # Two batches at a time on one device only hinder each other: on two cores 71 replies a second, against 265.
        self._turn = _TURNS[checkpoint.device]
        self._batcher: Any = None
        self._told = False

    @property
    def weights(self) -> str:
        """Folder or hub name of the weights, for training.

        Raises:
            ConfigError: an adapter is on top of them, which training would leave out.
        """
        if self._adapter:
            raise ConfigError(
                f"{self.identity} has an adapter on top; merge it into a checkpoint of its own before training it"
            )
        return self._weights.checkpoint.model

    @property
    def number_format(self) -> str:
        """What the weights are computed in; `auto` where only loading would tell."""
        return number_format(self._weights.checkpoint)

    def with_adapter(self, adapter: str, identity: str) -> TransformersModel:
        """The same model with an adapter on top; both share one checkpoint in memory and take turns.

        Args:
            adapter: Folder of a peft adapter.
            identity: Declared identity of the adapted model.
        Raises:
            ConfigError: there is an adapter on top already.
        """
        if self._adapter:
            raise ConfigError(f"{self.identity} has an adapter on top; a second one is not put on it")
        return TransformersModel(identity, self._roots, self._weights, self.batch, adapter)

    def shares_weights(self, other: object) -> bool:
        """Whether closing one closes the other."""
        return isinstance(other, TransformersModel) and other._weights is self._weights

    async def answer(self, request: Request) -> Generation:
        """Answer together with the other questions that are outstanding."""
        if self._batcher is None:
            from vlfeedback.flow import Batcher

            self._batcher = Batcher(self.answer_all, most=self.batch, length=_length)
        return await self._batcher.submit(request)

    def answer_all(self, requests: Sequence[Request]) -> list[Generation]:
        """Answer questions in batches of similar length; blocks until all are answered.

        Returns:
            One generation for each request, in their order; a question that cannot be answered is an error value.
        Raises:
            ModelUnavailable: the checkpoint cannot be loaded.
            ConfigError: a request asks for a JSON schema, which this backend cannot enforce.
        """
        if any(request.schema is not None for request in requests):
            raise ConfigError(
                f"{self.identity}: a local model cannot be held to a JSON schema; use a rubric without one, or serve "
                'the model with vLLM and use = "openai"'
            )
        with self._turn:
            loaded = self._load()
            results: dict[int, Generation] = {}
            ready: list[tuple[int, Encoded]] = []
            for place, request in enumerate(requests):
                encoded = self._encode(loaded, request)
                if isinstance(encoded, Generation):
                    results[place] = encoded
                else:
                    ready.append((place, encoded))
            ready.sort(key=lambda item: (requests[item[0]].sampling.max_tokens, len(item[1].ids)))
            for start in range(0, len(ready), self.batch):
                part = ready[start : start + self.batch]
                made = self._generate(loaded, [requests[place] for place, _ in part], [encoded for _, encoded in part])
                results.update(zip((place for place, _ in part), made, strict=True))
        return [results[place] for place in range(len(requests))]

    def close(self) -> None:
        """Release the weights; a later question loads them again."""
        with self._turn:
            self._weights.close()
        _release()

    async def aclose(self) -> None:
        """The same, for callers that close every model alike."""
        self.close()

    def _load(self) -> Loaded:
        return self._weights.use(self._adapter, self._read)

    def _read(self, image: Image, recipe: str) -> bytes:
        return prepare(self._roots.open(image), recipe).bytes

    def _encode(self, loaded: Loaded, request: Request) -> Encoded | Generation:
        try:
            encoded = loaded.encoder.encode(request)
        except RefusedPicture as problem:
            return replace(_chat.failure("bad_request", str(problem)), sent=0)
        except ImageError as problem:
            return replace(_chat.failure("connection", f"a picture cannot be read: {problem}"), sent=0)
        except ModelUnavailable as problem:
            raise ModelUnavailable(f"model {self.name}: {problem}") from problem
        room = loaded.context - len(encoded.ids)
        if room < 1:
            words = f"the prompt has {len(encoded.ids)} tokens, of {loaded.context} that the model can take"
            return replace(_chat.failure("bad_request", words), sent=0)
        return encoded

    def _generate(self, loaded: Loaded, requests: list[Request], encoded: list[Encoded]) -> list[Generation]:
        try:
            return self._telling(run(loaded, self.identity, requests, encoded))
        except RuntimeError as problem:
            if not _out_of_memory(problem):
                raise
            _release()
            if len(requests) == 1:
                words = f"out of memory with one question of {len(encoded[0].ids)} tokens"
                return self._telling([_chat.failure("server", words)])
        half = len(requests) // 2  # outside the handler, so that the failed batch's tensors are free
        first = self._generate(loaded, requests[:half], encoded[:half])
        return first + self._generate(loaded, requests[half:], encoded[half:])

    def _telling(self, made: list[Generation]) -> list[Generation]:
        """Say once why there is no answer: the end of a run counts such questions, and asking again may not help."""
        failed = next((one for one in made if one.error == "server"), None)
        if failed is not None and not self._told:
            self._told = True
            log.warning("%s: %s", self.identity, failed.detail)
        return made


def _length(request: Request) -> float:
    """About how long a prompt is, and first of all how long its reply may be: a batch runs as long as its longest."""
    return 1e6 * request.sampling.max_tokens + sum(len(part.text or "") for part in request.parts)


def _out_of_memory(problem: RuntimeError) -> bool:
    """Whether fewer questions at a time may do: of a processor, or Apple's GPU, it is told by the words alone."""
    import torch
    from accelerate.utils.memory import should_reduce_batch_size  # pyright: ignore[reportMissingTypeStubs]

    return isinstance(problem, torch.OutOfMemoryError) or should_reduce_batch_size(problem)


def _release() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
