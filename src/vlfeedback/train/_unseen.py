"""A blank picture for a batch without one, so that processes that train together make the same calls.

Where weights are spread (FSDP, ZeRO-3) every layer that is called is gathered from all processes, and where they are
whole (DDP) every trained weight has to get a gradient: a process that does not look at anything would wait for the
others for ever. The blank picture goes through tower and connector, counted nought times.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from vlfeedback.train._layout import Rows


def features_of(inner: Any, pictures: Mapping[str, Tensor]) -> Any:
    """What a model's own tower and connector make of picture fields; it takes those that it knows."""
    accepted = signature(inner.get_image_features).parameters
    fields = {name: value for name, value in pictures.items() if name in accepted}
    return inner.get_image_features(**fields, return_dict=True)


@contextmanager
def as_others(model: Any, inner: Any, rows: Rows) -> Generator[None]:
    """For the forward of a batch: what FSDP and DDP see of it is the same whether the batch has pictures or not.

    A blank picture is looked at when others would be: first of all where features are made once, else between
    embedding and language model, where the gradient of nought comes back on the way that a picture's would take.

    Args:
        model: What is called.
        inner: The model itself.
        rows: The batch, on the model's device.
    """
    handles = [inner.register_forward_hook(_only_logits, prepend=True)]
    if rows.unseen:
        early: list[Tensor] = []

        def begin(_: Any, __: Any) -> None:
            early.append(_nought(inner, rows.unseen))

        if rows.features_once:
            handles.append(model.register_forward_pre_hook(begin))

        def add(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            nought = early.pop() if early else _nought(inner, rows.unseen)
            embedded = named["inputs_embeds"]
            return given, {**named, "inputs_embeds": embedded + nought.to(embedded.dtype)}

        # Before the hooks of FSDP, which may fetch what is inside the language model.
        handles.append(inner.get_decoder().register_forward_pre_hook(add, prepend=True, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _only_logits(_: Any, __: Any, made: Any) -> Any:
    """FSDP2 fetches weights anew when a gradient comes back to any output: features of pictures are not to be one."""
    return type(made)(logits=made.logits)


def _nought(inner: Any, pictures: Mapping[str, Tensor]) -> Tensor:
    """0, with everything in its graph that a picture trains."""
    import torch

    output = features_of(inner, pictures)
    # The second is of models that add features in deeper layers too (Qwen3-VL).
    made = [output.pooler_output, getattr(output, "deepstack_features", None)]
    return torch.stack([(part * 0).sum() for part in _tensors(made)]).sum()


def _tensors(made: Any) -> Iterator[Tensor]:
    """The tensors of a nest of lists, in order."""
    if isinstance(made, list | tuple):
        for one in made:
            yield from _tensors(one)
    elif made is not None:
        yield made
