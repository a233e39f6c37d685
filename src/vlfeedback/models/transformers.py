"""Models whose weights lie on this machine: any `AutoModelForImageTextToText` of the transformers library.

Questions that are outstanding at one time run as one batch. What a model says to one of them does not depend on the
others: prompts are padded on the left, and the noise of sampling is a function of the call (see `_noise`). In half
precision, where a batch's shape changes the rounding, an answer can still differ now and then.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from vlfeedback.errors import ConfigError, ImageError, ModelUnavailable
from vlfeedback.images import Roots, prepare
from vlfeedback.models import _chat, _checkpoints
from vlfeedback.models._noise import KeyedSampler, read_logprobs, seed_of
from vlfeedback.models._prompts import Encoded, Encoder
from vlfeedback.records import Finish, Generation, Image, Request, TokenLogprobs, Usage, call_key

if TYPE_CHECKING:
    import torch

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
    if model.startswith(("/", "./", "../", "~")) and not _checkpoints.Path(model).expanduser().is_dir():
        raise ModelUnavailable(f"no checkpoint at {model}; give a folder with config.json and *.safetensors")
    declared = identity or _checkpoints.identity_of(model, revision, dtype, adapter)
    if _checkpoints.Path(model).expanduser().is_dir():
        model = str(_checkpoints.Path(model).expanduser())
    return TransformersModel(declared, roots, Checkpoint(model, revision, dtype, device, adapter), batch)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where weights come from; see `load`."""

    model: str
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class _Loaded:
    model: Any
    encoder: Encoder
    ends: tuple[int, ...]
    suppressed: torch.Tensor
    context: int


class TransformersModel:
    """A local model; safe for many questions at a time.

    Attributes:
        identity: Declared identity.
        hosts: Hosts that see prompts and pictures: none.
    """

    hosts: tuple[str, ...] = ()

    def __init__(self, identity: str, roots: Roots, checkpoint: Checkpoint, batch: int) -> None:
        self.identity = identity
        self._roots = roots
        self._checkpoint = checkpoint
        self._batch = batch
        self._loaded: _Loaded | None = None
        # Two batches at a time on one device only hinder each other: on two cores 71 replies a second, against 265.
        self._turn = _TURNS[checkpoint.device]
        self._batcher: Any = None

    async def answer(self, request: Request) -> Generation:
        """Answer together with the other questions that are outstanding."""
        if self._batcher is None:
            from vlfeedback.flow import Batcher

            self._batcher = Batcher(self.answer_all, most=self._batch)
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
            for start in range(0, len(ready), self._batch):
                part = ready[start : start + self._batch]
                made = self._generate(loaded, [requests[place] for place, _ in part], [encoded for _, encoded in part])
                results.update(zip((place for place, _ in part), made, strict=True))
        return [results[place] for place in range(len(requests))]

    def close(self) -> None:
        """Release the weights; a later question loads them again."""
        with self._turn:
            self._loaded = None
        _release()

    async def aclose(self) -> None:
        """The same, for callers that close every model alike."""
        self.close()

    def _load(self) -> _Loaded:
        if self._loaded is None:
            self._loaded = _open(self._checkpoint, self._read)
        return self._loaded

    def _read(self, image: Image, recipe: str) -> bytes:
        return prepare(self._roots.open(image), recipe).bytes

    def _encode(self, loaded: _Loaded, request: Request) -> Encoded | Generation:
        try:
            encoded = loaded.encoder.encode(request)
        except ImageError as problem:
            return replace(_chat.failure("connection", f"a picture cannot be read: {problem}"), sent=0)
        room = loaded.context - len(encoded.ids)
        if room < 1:
            words = f"the prompt has {len(encoded.ids)} tokens, of {loaded.context} that the model can take"
            return replace(_chat.failure("bad_request", words), sent=0)
        return encoded

    def _generate(self, loaded: _Loaded, requests: list[Request], encoded: list[Encoded]) -> list[Generation]:
        import torch

        try:
            return _run(loaded, self.identity, requests, encoded)
        except torch.OutOfMemoryError:
            _release()
            if len(requests) == 1:
                words = f"out of memory with one question of {len(encoded[0].ids)} tokens"
                return [_chat.failure("server", words)]
        half = len(requests) // 2  # outside the handler, so that the failed batch's tensors are free
        first = self._generate(loaded, requests[:half], encoded[:half])
        return first + self._generate(loaded, requests[half:], encoded[half:])


def _open(checkpoint: Checkpoint, read: Any) -> _Loaded:
    import torch
    from transformers import GenerationConfig

    encoder = Encoder(_checkpoints.open_processor(checkpoint.model, checkpoint.revision), read)
    model = _checkpoints.open_model(
        checkpoint.model, checkpoint.revision, checkpoint.dtype, checkpoint.device, checkpoint.adapter
    )
    tokenizer = encoder.tokenizer
    stated = model.generation_config.eos_token_id
    ends = stated if isinstance(stated, list) else [stated if stated is not None else tokenizer.eos_token_id]
    ends = tuple(sorted({int(end) for end in (*ends, tokenizer.eos_token_id) if end is not None}))
    # The checkpoint's own defaults (top_k, repetition penalties) are not in the request: they do not act.
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=list(ends) or None,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (ends[0] if ends else 0),
        bos_token_id=tokenizer.bos_token_id,
    )
    suppressed = sorted(set(encoder.special.values()) - set(ends))
    text = model.config.get_text_config()
    width: int = text.vocab_size
    return _Loaded(
        model=model,
        encoder=encoder,
        ends=ends,
        suppressed=torch.tensor([number for number in suppressed if number < width], device=model.device),
        context=int(getattr(text, "max_position_embeddings", None) or 2**20),
    )


def _collate(loaded: _Loaded, encoded: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """One batch, padded on the left; pictures stand one behind the other, as the models want them."""
    import torch

    longest = max(len(each.ids) for each in encoded)
    pad = loaded.model.generation_config.pad_token_id
    gaps = [longest - len(each.ids) for each in encoded]
    batch = {
        "input_ids": torch.tensor([[pad] * gap + each.ids for gap, each in zip(gaps, encoded, strict=True)]),
        "attention_mask": torch.tensor([[0] * gap + [1] * (longest - gap) for gap in gaps]),
    }
    for name in {name for each in encoded for name in each.tracks}:
        rows = [each.tracks.get(name, []) for each in encoded]
        ends = [longest - gap - len(row) for gap, row in zip(gaps, rows, strict=True)]
        batch[name] = torch.tensor(
            [[0] * gap + row + [0] * end for gap, row, end in zip(gaps, rows, ends, strict=True)]
        )
    pictures = [picture for each in encoded for picture in each.pictures]
    for name in pictures[0].tensors if pictures else ():
        batch[name] = _stack([picture.tensors[name] for picture in pictures])
    return {name: value.to(loaded.model.device) for name, value in batch.items()}


def _stack(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    import torch

    if len({tensor.shape[1:] for tensor in tensors}) == 1:
        return torch.cat(list(tensors))
    most = [max(tensor.shape[axis] for tensor in tensors) for axis in range(tensors[0].dim())]
    padded: list[torch.Tensor] = []
    for tensor in tensors:  # pictures cut into different numbers of tiles
        widths = [(0, wanted - have) for wanted, have in zip(most[1:], tensor.shape[1:], strict=True)]
        padded.append(torch.nn.functional.pad(tensor, [side for pair in reversed(widths) for side in pair]))
    return torch.cat(padded)


def _run(loaded: _Loaded, identity: str, requests: Sequence[Request], encoded: Sequence[Encoded]) -> list[Generation]:
    import torch

    began = time.perf_counter()
    batch = _collate(loaded, encoded)
    length = batch["input_ids"].shape[1]
    limits = [
        min(request.sampling.max_tokens, loaded.context - len(each.ids))
        for request, each in zip(requests, encoded, strict=True)
    ]
    device = loaded.model.device
    sampler = KeyedSampler(
        samplings=[request.sampling for request in requests],
        seeds=torch.tensor([seed_of(call_key(identity, request)) for request in requests], device=device),
        suppressed=loaded.suppressed,
        prompt_length=length,
        top_logprobs=max(request.top_logprobs or 0 for request in requests),
    )
    most = torch.tensor(limits, device=device)

    def full(input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return input_ids.shape[1] - length >= most

    with torch.inference_mode():
        made = loaded.model.generate(
            **batch, logits_processor=[sampler], stopping_criteria=[full], max_new_tokens=max(limits)
        )
    rows: list[list[int]] = made[:, length:].tolist()
    latency = time.perf_counter() - began
    return [_read(loaded, sampler, number, rows[number], limits[number], requests[number], encoded[number], latency)
            for number in range(len(requests))]  # fmt: skip


def _read(
    loaded: _Loaded,
    sampler: KeyedSampler,
    number: int,
    row: list[int],
    limit: int,
    request: Request,
    encoded: Encoded,
    latency: float,
) -> Generation:
    ids: list[int] = []
    finish: Finish = "length"
    for token in row[:limit]:
        if token in loaded.ends:
            finish = "stop"
            break
        ids.append(token)
    tokenizer = loaded.encoder.tokenizer
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    spent = len(ids) + (finish == "stop")
    return Generation(
        text=text.strip(),
        finish=finish,
        usage=Usage(input=len(encoded.ids), output=spent, image=encoded.image_tokens),
        logprobs=_logprobs(loaded, sampler, number, row[:spent], request.top_logprobs),
        latency=latency,
    )


def _logprobs(
    loaded: _Loaded, sampler: KeyedSampler, number: int, row: list[int], wanted: int | None
) -> tuple[TokenLogprobs, ...] | None:
    if wanted is None:
        return None
    tokenizer = loaded.encoder.tokenizer
    names = [tokenizer.batch_decode([[token] for token in step[2][number][:wanted].tolist()]) for step in sampler.steps]
    words: list[str] = tokenizer.batch_decode([[token] for token in row])
    return read_logprobs(sampler.steps, number, words, names)


def _release() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
