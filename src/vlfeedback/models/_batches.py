"""One batch of questions through a local model: padded, sampled and read back."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from vlfeedback.errors import ModelUnavailable
from vlfeedback.ids import call_key
from vlfeedback.models import _checkpoints
from vlfeedback.models._chat import failure
from vlfeedback.models._noise import KeyedSampler, read_logprobs, seed_of
from vlfeedback.models._prompts import Encoded, Encoder
from vlfeedback.models._thoughts import apart
from vlfeedback.records import Finish, Generation, Image, Request, TokenLogprobs, Usage

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where weights come from; see `load`."""

    model: str
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint in memory.

    Attributes:
        ends: Tokens that end a reply.
        suppressed: Tokens that may never be said, shape (N,).
        context: Most tokens of prompt and reply together.
    """

    model: Any
    encoder: Encoder
    ends: tuple[int, ...]
    suppressed: torch.Tensor
    context: int


def open_checkpoint(checkpoint: Checkpoint, read: Callable[[Image, str], bytes]) -> Loaded:
    """Load a checkpoint with its processor.

    Args:
        read: Bytes of a picture, prepared by a recipe.
    Raises:
        ModelUnavailable: it cannot be loaded.
    """
    import torch
    from transformers import GenerationConfig

    processor = _checkpoints.open_processor(checkpoint.model, checkpoint.revision)
    try:
        encoder = Encoder(processor, read)
    except ModelUnavailable as problem:  # which of a pool's models it is
        raise ModelUnavailable(f"model {checkpoint.model}: {problem}") from problem
    model = _checkpoints.open_model(checkpoint.model, checkpoint.revision, checkpoint.dtype, checkpoint.device)
    tokenizer = encoder.tokenizer
    ends = ends_of(model.generation_config.eos_token_id, tokenizer)
    text = model.config.get_text_config()
    width: int = text.vocab_size  # a tokenizer can have more: a padding that was added and never embedded
    # The checkpoint's own defaults (top_k, repetition penalties) are not in the request: they do not act.
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=list(ends) or None,
        pad_token_id=next((one for one in (tokenizer.pad_token_id, *ends) if one is not None and one < width), 0),
        bos_token_id=tokenizer.bos_token_id,
    )
    suppressed = encoder.unspeakable(ends)
    return Loaded(
        model=model,
        encoder=encoder,
        ends=ends,
        suppressed=torch.tensor([number for number in suppressed if number < width], device=model.device),
        context=int(getattr(text, "max_position_embeddings", None) or 2**20),
    )


def ends_of(stated: Any, tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end a reply: what the generation settings state (a number, a list or None), and the tokenizer's."""
    own: list[Any] = stated if isinstance(stated, list) else [stated]
    return tuple(sorted({int(end) for end in (*own, tokenizer.eos_token_id) if end is not None}))


def _collate(loaded: Loaded, encoded: Sequence[Encoded]) -> dict[str, torch.Tensor]:
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
    for name in dict.fromkeys(name for picture in pictures for name in picture.tensors):
        batch[name] = _stack([picture.tensors[name] for picture in pictures if name in picture.tensors])
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


def run(loaded: Loaded, identity: str, requests: Sequence[Request], encoded: Sequence[Encoded]) -> list[Generation]:
    """Answer one batch; one generation for each request, in order."""
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
    loaded: Loaded,
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
    if int(sampler.broken[number]) < spent:  # the choice among NaN is one of the first tokens, often the end
        kind = str(loaded.model.dtype).removeprefix("torch.")
        return failure(
            "server", f"the model's numbers overflow in {kind}, or its weights are no numbers; try another dtype"
        )
    said = apart(text.strip(), finish)
    return Generation(
        text=said.text,
        finish=finish,
        reasoning=said.thoughts,
        usage=Usage(input=len(encoded.ids), output=spent, image=encoded.image_tokens),
        logprobs=_logprobs(loaded, sampler, number, row[:spent], request.top_logprobs),
        latency=latency,
    )


def _logprobs(
    loaded: Loaded, sampler: KeyedSampler, number: int, row: list[int], wanted: int | None
) -> tuple[TokenLogprobs, ...] | None:
    if wanted is None:
        return None
    tokenizer = loaded.encoder.tokenizer
    names = [tokenizer.batch_decode([[token] for token in step[2][number][:wanted].tolist()]) for step in sampler.steps]
    words: list[str] = tokenizer.batch_decode([[token] for token in row])
    return read_logprobs(sampler.steps, number, words, names)
