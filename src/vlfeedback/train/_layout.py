"""How the responses of several groups lie in one forward: the seam where rows that share their prompt can come in."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from vlfeedback.train._collate import Encoded


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch of groups as a model takes it, and which of its logits predict which token.

    Attributes:
        inputs: Arguments of the model's forward, without pictures.
        pictures: Picture fields, every group's pictures once, along dimension 0.
        spans: Where each group begins in each picture field, and the end: G + 1 numbers.
        first_picture: Number of pictures before each group, and in all: G + 1 numbers.
        image_tokens: Image tokens in each group's prompt, G numbers.
        copies: How often the layout needs each group's pictures, G numbers: once per row of the group.
        where: Index into the kept logits, flattened to (·, V), of each predicted token, shape (N,); None for all of
            them in order.
        targets: The tokens to be predicted, shape (N,).
        owner: Response index of each of them, shape (N,).
        lengths: Tokens of each response, shape (R,).
        group_ids: Instruction ids, for messages.
        features_once: Hand the model features computed once per picture; else its pictures repeated for each response.
        direct: Take log-probabilities from the states before the last layer, slice by slice, not from whole logits.
        unseen: Picture fields of a blank picture that no token stands for (`_unseen`); empty for most batches.
    """

    inputs: Mapping[str, Any]
    pictures: Mapping[str, Tensor]
    spans: Mapping[str, Sequence[int]]
    first_picture: Sequence[int]
    image_tokens: Sequence[int]
    copies: Sequence[int]
    where: Tensor | None
    targets: Tensor
    owner: Tensor
    lengths: Tensor
    group_ids: tuple[str, ...]
    features_once: bool = False
    direct: bool = False
    unseen: Mapping[str, Tensor] = field(default_factory=dict[str, "Tensor"])

    def to(self, device: Any) -> Rows:
        """The same on another device."""
        changed: dict[str, Any] = {}
        for one in fields(self):
            if one.name != "spans":
                changed[one.name] = _moved(getattr(self, one.name), device)
        return replace(self, **changed)


def _moved(value: Any, device: Any) -> Any:
    """Tensors on another device, also those of a mapping (masks by kind of layer)."""
    if isinstance(value, Mapping):
        return {name: _moved(inner, device) for name, inner in cast("Mapping[str, Any]", value).items()}
    return value.to(device) if hasattr(value, "to") else value


class Layout(Protocol):
    """A way to lay groups into one forward."""

    def rows(self, group: Encoded) -> int:
        """Rows that the group takes."""
        ...

    def cost(self, group: Encoded) -> int:
        """Tokens of the group's longest row: what the token budget of a batch is counted in, times rows."""
        ...

    def arrange(self, groups: Sequence[Encoded], pictures: Sequence[Mapping[str, Tensor]]) -> Rows:
        """Lay out groups whose picture fields are given in the same order."""
        ...


@dataclass(frozen=True, slots=True)
class UnsharedRows:
    """One row per response, its prompt before it: what every model takes, three times the tokens of shared prompts.

    Attributes:
        pad: Token id of the padding; masked everywhere.
        mask_logits: Whether the model takes a boolean (rows, tokens) mask as `logits_to_keep`.
        side: Side of the padding.
        positions: Pass positions counted from the first token that is not padding; off for models that make their own.
        features_once: See `Rows`.
        said: Value of per-token fields at the tokens of responses.
        direct: See `Rows`.
        spare: Columns of padding that no row needs.
    """

    pad: int
    mask_logits: bool = False
    side: Literal["right", "left"] = "right"
    positions: bool = False
    features_once: bool = False
    said: int = 0
    direct: bool = False
    spare: int = 0

    def rows(self, group: Encoded) -> int:
        """See `Layout`."""
        return len(group.responses)

    def cost(self, group: Encoded) -> int:
        """See `Layout`."""
        return len(group.prompt) + max(len(response) for response in group.responses) - 1

    def arrange(self, groups: Sequence[Encoded], pictures: Sequence[Mapping[str, Tensor]]) -> Rows:
        """See `Layout`."""
        import torch

        rows = [(group, response) for group in groups for response in group.responses]
        width = max(self.cost(group) for group in groups) + self.spare
        ids = np.full((len(rows), width), self.pad, np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        kept = np.zeros((len(rows), width), np.bool_)
        extra = {name: np.zeros((len(rows), width), np.int64) for name in tracks_of(groups, self.said)}
        for number, (group, response) in enumerate(rows):
            prompt, length = len(group.prompt), len(response)
            # The last token of a response is predicted and predicts nothing: it is no input.
            used = prompt + length - 1
            start = 0 if self.side == "right" else width - used
            ids[number, start : start + prompt] = group.prompt
            ids[number, start + prompt : start + used] = response[:-1]
            mask[number, start : start + used] = 1
            kept[number, start + prompt - 1 : start + used] = True
            for name, track in extra.items():
                track[number, start : start + prompt] = group.per_token.get(name, 0)
                track[number, start + prompt : start + used] = self.said
        keep, where = self._kept(kept)
        inputs: dict[str, Any] = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        inputs |= {name: torch.from_numpy(values) for name, values in extra.items()}
        if self.positions:
            inputs["position_ids"] = torch.from_numpy(np.maximum(mask.cumsum(1) - 1, 0))
        lengths = torch.tensor([len(response) for _, response in rows])
        return Rows(
            inputs={**inputs, "logits_to_keep": keep},
            **picture_fields(groups, pictures),
            copies=[len(group.responses) for group in groups],
            where=where,
            targets=torch.from_numpy(np.concatenate([response for _, response in rows]).astype(np.int64)),
            owner=torch.repeat_interleave(torch.arange(len(rows)), lengths),
            lengths=lengths,
            group_ids=tuple(group.group_id for group in groups),
            features_once=self.features_once,
            direct=self.direct,
        )

    def _kept(self, kept: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[Tensor, Tensor | None]:
        """What the head is asked for: exactly the wanted positions, or the columns that hold any of them."""
        import torch

        if self.mask_logits:
            return torch.from_numpy(kept), None
        columns = np.flatnonzero(kept.any(0))
        return torch.from_numpy(columns), torch.from_numpy(np.flatnonzero(kept[:, columns]))


def tracks_of(groups: Sequence[Encoded], said: int) -> tuple[str, ...]:
    """Names of the per-token fields that a batch has.

    A prompt of words alone comes without any, and counts as one whose tokens are all 0. A model that is told by
    `token_type_ids` where a response begins (`_shared.said_of`) gets them always: without, it reads all both ways.
    """
    own = dict.fromkeys(name for group in groups for name in group.per_token)
    return tuple({**own, "token_type_ids": None} if said else own)


def picture_fields(groups: Sequence[Encoded], pictures: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """Fields of `Rows` about pictures: every group's once."""
    names = sorted({name for fields_of_group in pictures for name in fields_of_group})
    parts = {name: [of_group[name] for of_group in pictures if name in of_group] for name in names}
    spans = {
        name: [0, *accumulate(len(of_group[name]) if name in of_group else 0 for of_group in pictures)]
        for name in names
    }
    return {
        "pictures": {name: stack(values) for name, values in parts.items()},
        "spans": spans,
        "first_picture": [0, *accumulate(len(group.images) for group in groups)],
        "image_tokens": [group.image_tokens for group in groups],
    }


def stack(values: Sequence[Tensor]) -> Tensor:
    """Join along dimension 0; where pictures differ in tiles or size, the smaller are padded with zeros at the end."""
    import torch

    if len({value.shape[1:] for value in values}) == 1:
        return torch.cat(list(values))
    shape = [max(sizes) for sizes in zip(*(value.shape[1:] for value in values), strict=True)]
    joined = values[0].new_zeros((sum(len(value) for value in values), *shape))
    start = 0
    for value in values:
        joined[(slice(start, start + len(value)), *(slice(0, size) for size in value.shape[1:]))] = value
        start += len(value)
    return joined
