"""Log-probabilities of responses: fp32 per token, summed in float64, whatever layout the batch has."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

from vlfeedback.errors import ConfigError
from vlfeedback.train._unseen import as_others, features_of

if TYPE_CHECKING:
    from torch import Tensor

    from vlfeedback.train._layout import Rows

# Tokens per slice of the softmax: at a vocabulary of 152k one slice in fp32 is 0.6 GB.
_SLICE = 1024


@dataclass(frozen=True, slots=True)
class Logps:
    """Log-probabilities of the R responses of a batch.

    Attributes:
        total: Summed over the tokens of each response (nats), shape (R,), float64 where the device has it.
        lengths: Tokens of each response, its end token included where it has one, shape (R,).
    """

    total: Tensor
    lengths: Tensor


def grouped_logps(model: Any, rows: Rows) -> Logps:
    """Log-probabilities of all responses of a batch by one forward of the model.

    Each instruction's pictures pass through the vision tower once, each response once. The layout of `rows` says which
    logit predicts which token; nothing here depends on it, so that another layout can replace it.

    Args:
        model: A vision-language model, wrapped or not.
        rows: The batch, on the model's device.
    Raises:
        ConfigError: the model makes another number of features of a picture than the processor reserved tokens for.
    """
    return Logps(sum_by_owner(forward_logps(model, rows), rows.owner, rows.lengths.shape[0]), rows.lengths)


def forward_logps(model: Any, rows: Rows) -> Tensor:
    """Log p of every predicted token of a batch by one forward, fp32, in the order of `rows.targets`, shape (N,)."""
    inputs = {**rows.inputs, **_seen(rows)}
    found: list[Tensor] = []
    handle = None
    head = unwrapped(model).get_output_embeddings() if rows.direct else None
    # ZeRO-3 (`ds_id`) gives a layer its weight for the length of its own forward, and no gradient to it afterwards.
    if head is not None and not hasattr(head.weight, "ds_id"):
        handle = head.register_forward_pre_hook(partial(_instead, rows, found))
    try:
        with with_features(model, rows), as_others(model, unwrapped(model), rows):
            logits = model(**inputs, use_cache=False, return_dict=True).logits
    except ValueError as error:
        if not rows.pictures:
            raise
        raise _disagreement(rows, error) from error
    finally:
        if handle is not None:
            handle.remove()
    if found:
        return found[0]
    return token_logps(_wanted(logits, rows), rows.targets)


def _wanted(made: Tensor, rows: Rows) -> Tensor:
    """States or logits of the predicted tokens in order, also of a model that takes no notice of `logits_to_keep`."""
    import torch

    keep = rows.inputs["logits_to_keep"]
    if made.dim() == 3 and made.shape[:2] == rows.inputs["input_ids"].shape:  # all are there, asked for or not
        made = made[keep] if keep.dtype == torch.bool else made[:, keep]
    flat = made.reshape(-1, made.shape[-1])
    return flat if rows.where is None else flat[rows.where]


def _instead(rows: Rows, found: list[Tensor], layer: Any, given: tuple[Tensor]) -> tuple[Tensor]:
    """Just before the last layer: compute what is wanted of it, and leave it no token to do."""
    from vlfeedback.train._head import head_logps

    states = given[0]
    found.append(head_logps(_wanted(states, rows), layer.weight, layer.bias, rows.targets))
    return (states[..., :0, :],)


def _disagreement(rows: Rows, error: ValueError) -> ConfigError:
    """What a stock model refuses of a batch with pictures: nearly always their number of tokens."""
    shown = ", ".join(f"{group} ({tokens})" for group, tokens in zip(rows.group_ids, rows.image_tokens, strict=True))
    return ConfigError(
        f"instructions with image tokens of the processor: {shown}; the model says: {error}. patch_size and "
        "vision_feature_select_strategy of processor and model must agree"
    )


def token_logps(logits: Tensor, targets: Tensor) -> Tensor:
    """Log p of each target token.

    Args:
        logits: Any float type, shape (N, V).
        targets: Token ids, shape (N,).
    Returns:
        fp32, shape (N,).
    """
    import torch

    slices: list[Tensor] = []
    for part, wanted in zip(logits.split(_SLICE), targets.split(_SLICE), strict=True):
        scores = part.float()
        slices.append(scores.gather(1, wanted[:, None])[:, 0] - scores.logsumexp(1))
    return torch.cat(slices) if slices else logits.new_zeros(0, dtype=torch.float32)


def sum_by_owner(per_token: Tensor, owner: Tensor, responses: int) -> Tensor:
    """Sum token log-probabilities into their responses.

    Args:
        per_token: fp32, shape (N,).
        owner: Response index of each token, shape (N,).
        responses: R.
    Returns:
        Shape (R,); float64, or fp32 on devices without it (mps).
    """
    import torch

    wide = torch.float32 if per_token.device.type == "mps" else torch.float64
    return torch.zeros(responses, dtype=wide, device=per_token.device).index_add(0, owner, per_token.to(wide))


def unwrapped(model: Any) -> Any:
    """The model itself, without what distribution or adapters have put around it."""
    while hasattr(model, "module"):
        model = model.module
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _seen(rows: Rows) -> dict[str, Any]:
    """Picture inputs that the forward is called with: pictures repeated for each response, or nothing yet."""
    if not rows.pictures or rows.features_once:
        return {}
    return repeat_pictures(rows.pictures, rows.spans, rows.copies)


@contextmanager
def with_features(model: Any, rows: Rows) -> Generator[None]:
    """For one forward: give it features computed once per picture, where the layout wants them.

    They are computed when the forward has begun: FSDP2 has no weights to compute them with before.
    """
    if not rows.pictures or not rows.features_once:
        yield
        return

    def add(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return given, {**named, **_features(unwrapped(model), rows)}

    handle = model.register_forward_pre_hook(add, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _features(inner: Any, rows: Rows) -> dict[str, Any]:
    """Features computed once per picture, repeated for each response, and what a forward needs beside them."""
    import torch

    output = features_of(inner, rows.pictures)
    pooled = output.pooler_output
    features = list(pooled)
    check_counts(features, rows)
    first = rows.first_picture
    repeated = [
        feature
        for group, count in enumerate(rows.copies)
        for feature in features[first[group] : first[group + 1]] * count
    ]
    # Grids and sizes are needed all the same: a model with positions on three axes makes them from the grid, and would
    # silently count an image as a line of text without it.
    small = {name: value for name, value in rows.pictures.items() if not name.startswith("pixel")}
    return {
        **repeat_pictures(small, rows.spans, rows.copies),
        "mm_encoder_outputs": {
            "image": type(output)(pooler_output=torch.stack(repeated) if hasattr(pooled, "shape") else repeated)
        },
    }


def check_counts(features: Sequence[Tensor], rows: Rows) -> None:
    """Compare the features of each group's pictures with the tokens that stand for them in its prompt.

    Raises:
        ConfigError: they differ; the message names instruction and both numbers.
    """
    first = rows.first_picture
    if len(features) != first[-1]:
        raise ConfigError(f"the model made features for {len(features)} pictures of {first[-1]}")
    for group, tokens in enumerate(rows.image_tokens):
        made = sum(feature.shape[0] for feature in features[first[group] : first[group + 1]])
        if made != tokens:
            raise ConfigError(
                f"instruction {rows.group_ids[group]}: the processor put {tokens} image tokens, the model makes {made} "
                "features; patch_size and vision_feature_select_strategy of processor and model must agree"
            )


def repeat_pictures(
    pictures: Mapping[str, Tensor], spans: Mapping[str, Sequence[int]], counts: Sequence[int]
) -> dict[str, Tensor]:
    """Repeat each group's pictures for each of its responses, for models that take no ready features.

    Args:
        pictures: Fields with all groups' pictures along dimension 0.
        spans: Where each group begins in each field, and the end: G + 1 numbers.
        counts: Responses of each group, G numbers.
    """
    import torch

    return {
        name: torch.cat(
            [value[spans[name][g] : spans[name][g + 1]] for g, count in enumerate(counts) for _ in range(count)]
        )
        for name, value in pictures.items()
    }


def takes_features(inner: Any) -> bool:
    """Whether a model's forward takes ready picture features; `_run` still compares both ways before trusting it."""
    if not hasattr(inner, "get_image_features") or "mm_encoder_outputs" not in signature(inner.forward).parameters:
        return False
    # Features added in deeper layers (Qwen3-VL) would have to be repeated as well.
    vision = getattr(inner.config, "vision_config", None)
    return getattr(vision, "deepstack_visual_indexes", None) is None
