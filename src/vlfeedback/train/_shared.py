"""One row per group: the prompt and its pictures once, then every response, which sees the prompt and itself."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vlfeedback.train._layout import Rows, picture_fields, tracks_of

if TYPE_CHECKING:
    from torch import Tensor

    from vlfeedback.train._collate import Encoded

Axes = Callable[["Encoded", Mapping[str, "Tensor"]], np.ndarray[Any, np.dtype[np.int64]]]
"""Positions of a group's prompt on every axis that the model has, shape (A, P)."""

Blocks = Literal["none", "pictures", "prompt"]

PADDING = -1


@dataclass(frozen=True, slots=True)
class SharedRows:
    """A packed row per group, with a mask of four dimensions and explicit positions.

    Token j of a response of a prompt of P tokens has position P + j, whatever stands between them in the row. The first
    token of every response is predicted by the last token of the prompt, which is there once.

    Attributes:
        pad: Token id of the padding; seen by nothing.
        mask_logits: Whether the model takes a boolean (rows, tokens) mask as `logits_to_keep`.
        axes: For models with positions on several axes: those of a prompt.
        kinds: Kinds of attention layers by the model's names, each with its window in tokens or None and a mask of its
            own; empty where all layers are alike.
        window: Of all layers where they are alike, in tokens, or None.
        blocks: Whose tokens see later ones too: those of one picture among each other, all of the prompt, or nobody's.
        track: The per-token field that says which tokens stand for pictures.
        one_way: Kinds of layers in which nobody sees later tokens all the same.
        said: Value of per-token fields at the tokens of responses.
        side: Side of the padding.
        direct: See `Rows`.
    """

    pad: int
    mask_logits: bool = False
    axes: Axes | None = None
    kinds: tuple[tuple[str, int | None], ...] = ()
    window: int | None = None
    blocks: Blocks = "none"
    track: str = "token_type_ids"
    one_way: tuple[str, ...] = ()
    said: int = 0
    side: Literal["right", "left"] = "right"
    direct: bool = False

    def rows(self, group: Encoded) -> int:
        """See `Layout`."""
        return 1

    def cost(self, group: Encoded) -> int:
        """See `Layout`."""
        return len(group.prompt) + sum(len(response) - 1 for response in group.responses)

    def arrange(self, groups: Sequence[Encoded], pictures: Sequence[Mapping[str, Tensor]]) -> Rows:
        """See `Layout`."""
        import torch

        width = max(self.cost(group) for group in groups)
        ids = np.full((len(groups), width), self.pad, np.int64)
        segments = np.full((len(groups), width), PADDING, np.int64)
        places = np.zeros((len(groups), width), np.int64)
        extra = {name: np.zeros((len(groups), width), np.int64) for name in tracks_of(groups, self.said)}
        predicting: list[np.ndarray[Any, np.dtype[np.int64]]] = []
        for row, group in enumerate(groups):
            prompt = len(group.prompt)
            first = 0 if self.side == "right" else width - self.cost(group)
            start = first + prompt
            ids[row, first:start], segments[row, first:start], places[row, first:start] = (
                group.prompt, 0, np.arange(prompt)
            )  # fmt: skip
            for number, response in enumerate(group.responses, 1):
                # The last token of a response is predicted and predicts nothing: it is no input.
                end = start + len(response) - 1
                ids[row, start:end], segments[row, start:end] = response[:-1], number
                places[row, start:end] = prompt + np.arange(end - start)
                predicting.append(row * width + np.array([first + prompt - 1, *range(start, end)]))
                start = end
            for name, track in extra.items():
                track[row, first : first + prompt] = group.per_token.get(name, 0)
                track[row, first + prompt : start] = self.said
        keep, where = self._kept(np.concatenate(predicting), len(groups), width)
        lengths = torch.tensor([len(response) for group in groups for response in group.responses])
        return Rows(
            inputs={
                "input_ids": torch.from_numpy(ids),
                "attention_mask": self._masks(groups, segments, places, extra),
                "position_ids": self._positions(groups, pictures, places),
                "logits_to_keep": keep,
                **{name: torch.from_numpy(values) for name, values in extra.items()},
            },
            **picture_fields(groups, pictures),
            copies=[1] * len(groups),
            where=where,
            targets=torch.from_numpy(
                np.concatenate([response for group in groups for response in group.responses]).astype(np.int64)
            ),
            owner=torch.repeat_interleave(torch.arange(len(lengths)), lengths),
            lengths=lengths,
            group_ids=tuple(group.group_id for group in groups),
            direct=self.direct,
        )

    def _masks(
        self,
        groups: Sequence[Encoded],
        segments: np.ndarray[Any, Any],
        places: np.ndarray[Any, Any],
        extra: Mapping[str, np.ndarray[Any, Any]],
    ) -> Tensor | dict[str, Tensor]:
        """Who sees whom, shape (G, 1, T, T); by kind of layer where there are several.

        A mask that nothing but prompt and responses has shaped says which tiles it is made of (`_attention`).
        """
        import torch

        from vlfeedback.train._attention import LEAST, tiles_of, with_tiles

        both = None
        if self.blocks == "prompt":
            both = np.where(segments == 0, 0, -1)
        elif self.blocks == "pictures" and self.track in extra:
            both = picture_blocks(extra[self.track])
        width, farthest = places.shape[1], int(places.max())
        tiles = tiles_of([self._sizes(group, width) for group in groups], width) if width >= LEAST else None

        def within(window: int | None, kind: str = "") -> Tensor:
            blocks = None if kind in self.one_way else both
            seen = visible(segments, places, blocks)
            if window is not None and window <= farthest:
                return torch.from_numpy((seen & (places[:, :, None] - places[:, None, :] < window))[:, None])
            whole = torch.from_numpy(seen[:, None])
            return whole if blocks is not None or tiles is None else with_tiles(whole, tiles)

        return {kind: within(window, kind) for kind, window in self.kinds} or within(self.window)

    def _sizes(self, group: Encoded, width: int) -> tuple[int, list[int]]:
        """Where a group begins in its row, and the tokens of its prompt and of each response there."""
        first = 0 if self.side == "right" else width - self.cost(group)
        return first, [len(group.prompt), *(len(response) - 1 for response in group.responses)]

    def _positions(
        self, groups: Sequence[Encoded], pictures: Sequence[Mapping[str, Tensor]], places: np.ndarray[Any, Any]
    ) -> Tensor:
        import torch

        if self.axes is None:
            return torch.from_numpy(places)
        of_prompts = [self.axes(group, shown) for group, shown in zip(groups, pictures, strict=True)]
        spread = np.repeat(places[None], len(of_prompts[0]), axis=0)
        for row, (group, of_prompt) in enumerate(zip(groups, of_prompts, strict=True)):
            prompt = len(group.prompt)
            first = 0 if self.side == "right" else places.shape[1] - self.cost(group)
            spread[:, row, first : first + prompt] = of_prompt
            # A response goes on after the largest position of its prompt, on all axes alike.
            spread[:, row, first + prompt :] += of_prompt.max() + 1 - prompt
        return torch.from_numpy(np.maximum(spread, 0))

    def _kept(self, predicting: np.ndarray[Any, Any], rows: int, width: int) -> tuple[Tensor, Tensor]:
        """What the head is asked for, and which of its answers predicts which token."""
        import torch

        kept = np.zeros(rows * width, np.bool_)
        kept[predicting] = True
        grid = kept.reshape(rows, width)
        if self.mask_logits:
            return torch.from_numpy(grid), torch.from_numpy(np.cumsum(kept)[predicting] - 1)
        columns = np.flatnonzero(grid.any(0))
        rank = np.zeros(width, np.int64)
        rank[columns] = np.arange(len(columns))
        row, column = np.divmod(predicting, width)
        return torch.from_numpy(columns), torch.from_numpy(row * len(columns) + rank[column])


def visible(
    segments: np.ndarray[Any, Any], places: np.ndarray[Any, Any], blocks: np.ndarray[Any, Any] | None = None
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Who sees whom.

    Args:
        segments: 0 for the prompt, 1 to K for responses, `PADDING` beyond; shape (G, T).
        places: Place of each token in its own story: 0 to P - 1 in the prompt, from P in each response; shape (G, T).
        blocks: Number of the block that a token of the prompt belongs to, -1 for none; shape (G, T). Tokens of one
            block see each other, later ones too.
    Returns:
        True where the token of axis 1 sees that of axis 2, shape (G, T, T): its own segment and the prompt, nothing
        later than itself. Padding sees itself, because a row of nothing has no softmax.
    """
    asking, asked = segments[:, :, None], segments[:, None, :]
    related = (asked == asking) | (asked == 0)
    seen = related & (asking != PADDING) & (asked != PADDING) & (places[:, None, :] <= places[:, :, None])
    if blocks is not None:
        seen |= (blocks[:, :, None] == blocks[:, None, :]) & (blocks >= 0)[:, :, None]
    return seen | np.eye(segments.shape[1], dtype=np.bool_)[None]


def picture_blocks(kinds: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Number the pictures of each row.

    Args:
        kinds: 1 where a token stands for a picture, 2 for a video's, shape (G, T); neighbours belong to one of them.
    Returns:
        0, 1, … by picture, -1 elsewhere, shape (G, T).
    """
    shown = (kinds == 1) | (kinds == 2)
    begins = shown & ~np.pad(shown, ((0, 0), (1, 0)))[:, :-1]
    return np.where(shown, begins.cumsum(1) - 1, -1)


def why_not(model: Any) -> str:
    """Why a model cannot share prompts, from what it declares; empty where nothing speaks against it.

    That nothing speaks against it is no proof: groups of every run are computed both ways (`_layouts.checked_layout`).
    """
    text = model.config.get_text_config()
    other = sorted({*(getattr(text, "layer_types", None) or ())} - _MASKED)
    if not type(model).__module__.startswith("transformers."):
        return f"{type(model).__name__} is not one of transformers' own models"
    if other:
        return f"some layers are {', '.join(other)}"
    if text._attn_implementation != "sdpa":
        return f"its attention is {text._attn_implementation!r}, which may not take a mask of four dimensions"
    named = signature(model.forward).parameters
    if "position_ids" not in named or "attention_mask" not in named:
        return "its forward takes no positions"
    return ""


_MASKED = frozenset({"full_attention", "sliding_attention"})
"""Kinds of layers that see what a mask lets them see."""


def windows_of(text: Any) -> tuple[tuple[tuple[str, int | None], ...], int | None]:
    """Kinds of layers with their windows where a text model has several, and the window of all where it has one."""
    kinds = sorted({*(getattr(text, "layer_types", None) or ())})
    window = getattr(text, "sliding_window", None) if getattr(text, "use_sliding_window", True) else None
    named = tuple((kind, window if kind == "sliding_attention" else None) for kind in kinds)
    if len(kinds) > 1:
        return named, None
    return (), named[0][1] if named else window


def axes_of(model: Any) -> Axes | None:
    """The prompt's positions as the model itself makes them, where it has several axes; None where it has one."""
    inner = getattr(model, "model", model)
    make = getattr(inner, "get_rope_index", None)
    if make is None:
        return None
    accepted = signature(make).parameters

    def axes(group: Encoded, shown: Mapping[str, Tensor]) -> np.ndarray[Any, np.dtype[np.int64]]:
        import torch

        prompt = torch.from_numpy(group.prompt.astype(np.int64))[None]
        tracks = {name: torch.from_numpy(row.astype(np.int64))[None] for name, row in group.per_token.items()}
        # Words alone come without the track of pictures, which most models ask for all the same.
        blank = {} if shown else {"mm_token_type_ids": torch.zeros_like(prompt)}
        fields = {**blank, **tracks, **shown, "attention_mask": torch.ones_like(prompt)}
        made = make(input_ids=prompt, **{name: value for name, value in fields.items() if name in accepted})
        return made[0][:, 0].numpy()

    return axes


def shared_rows(model: Any, pad: int) -> SharedRows | None:
    """The shared layout of a model, or None where it cannot share."""
    if why_not(model):
        return None
    exact = hasattr(sys.modules[type(model).__module__], "slice_logits_to_keep")
    kinds, window = windows_of(model.config.get_text_config())
    blocks, track, one_way = blocks_of(model)
    return SharedRows(pad, exact, axes_of(model), kinds, window, blocks, track, one_way, said_of(model))


def blocks_of(model: Any) -> tuple[Blocks, str, tuple[str, ...]]:
    """Whose tokens see later ones, which per-token field says so, and the kinds of layers in which they do not."""
    taken = signature(model.forward).parameters
    if reads_prompts_both_ways(model):
        return "prompt", "token_type_ids", ()
    if "token_type_ids" in taken:
        return "pictures", "token_type_ids", ()
    wanted = getattr(model.config.get_text_config(), "use_bidirectional_attention", None)
    if wanted == "vision" and "mm_token_type_ids" in taken:
        # Gemma 4 reads pictures both ways within the window, and one way in the layers that see everything.
        return "pictures", "mm_token_type_ids", ("full_attention",) if model.config.model_type == "gemma4" else ()
    return "none", "token_type_ids", ()


def reads_prompts_both_ways(model: Any) -> bool:
    """Whether all tokens of a prompt see each other, which PaliGemma's do where `token_type_ids` are 0."""
    return model.config.model_type == "paligemma"


def said_of(model: Any) -> int:
    """Value of per-token fields at the tokens of responses: with a 0, PaliGemma's would see what comes after them."""
    return 1 if reads_prompts_both_ways(model) else 0
