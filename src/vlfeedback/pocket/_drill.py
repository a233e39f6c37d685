"""The training loop of the tiny models: supervised, deterministic for a seed, two cores.

A picture is looked at and read once for all questions on it, and only positions that predict an answer's token go
through the head: the same function as the model's own forward (a test compares them) at two thirds of the cost.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vlfeedback.pocket import scenes, tiny
from vlfeedback.pocket._lessons import Lesson
from vlfeedback.pocket.scenes import Scene

if TYPE_CHECKING:
    import torch
    from transformers import LlavaForConditionalGeneration

Teach = Callable[[Scene, random.Random], Iterable[Lesson]]
Draw = Callable[[int, int], Scene]
PASSES = 2
"""Per step, pictures sorted by length: less padding."""

PREFIX = 1 + tiny.IMAGE_TOKENS
"""Tokens that all questions on a picture share."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast a model is taught.

    Attributes:
        steps: Optimiser steps.
        pictures: Scenes per step.
        rate: Peak learning rate of AdamW, for embeddings, norms and biases; rises over `rise` steps.
        matrix_rate: Peak learning rate of Muon, for the matrices of all layers.
        falls: Whether both fall along a cosine to a tenth.
    """

    steps: int
    pictures: int
    rate: float = 7e-4
    matrix_rate: float = 3e-3
    rise: int = 20
    falls: bool = True


@dataclass(frozen=True, slots=True)
class _Row:
    picture: int
    ids: list[int]
    start: int

    @property
    def weight(self) -> float:
        """Of each token of the answer: a word that decides counts more than one of many."""
        return (len(self.ids) - self.start) ** -0.5


class Words:
    """Token ids of lessons, cached by text."""

    def __init__(self) -> None:
        self._tokenizer = tiny.tokenizer()
        self._known: dict[str, list[int]] = {}
        number: Any = self._tokenizer.convert_tokens_to_ids
        self.begin, self.end, self.picture = (int(number(word)) for word in (tiny.BEGIN, tiny.END, tiny.PICTURE))
        self._styles = {style: int(number(word)) for style, word in tiny.STYLE_TOKENS.items()}

    def ids(self, text: str) -> list[int]:
        """Ids of plain text."""
        if text not in self._known:
            self._known[text] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._known[text]

    def row(self, picture: int, lesson: Lesson) -> _Row:
        """A lesson as the chat template writes it, the answer from `start` on."""
        head = [self.begin, *[self.picture] * tiny.IMAGE_TOKENS, *self.ids(lesson.prompt), self._styles[lesson.style]]
        return _Row(picture, [*head, *self.ids(lesson.answer), self.end], len(head))


def pixels(drawn: Sequence[Scene]) -> torch.Tensor:
    """Pictures as the processor prepares them: float32, shape (N, 3, 48, 48)."""
    import torch

    stacked = np.stack([np.asarray(scenes.render(scene)) for scene in drawn]).astype(np.float32)
    return torch.from_numpy((stacked / 255 - tiny.MEAN) / tiny.SPREAD).permute(0, 3, 1, 2).contiguous().float()


def drill(
    model: LlavaForConditionalGeneration,
    teach: Teach,
    plan: Plan,
    *,
    world: int,
    seed: int,
    draw: Draw = scenes.draw,
    step_done: Callable[[], None] = lambda: None,
) -> list[float]:
    """Teach a model in place.

    Args:
        model: Any tiny model; every weight is trained.
        teach: Lessons on a scene.
        plan: How long and how fast.
        world: Seed of the scenes, all of the train side.
        seed: Of the choice of lessons.
        draw: Gives the scene of a world and a number.
        step_done: Called after every step, for a progress bar.
    Returns:
        The loss of every step, nats per answer token, weighted.
    """

    optimisers = _optimisers(model, plan)
    peaks = [each.defaults["lr"] for each in optimisers]
    words = Words()
    losses: list[float] = []
    model.train()
    for step, batch in zip(range(plan.steps), _batches(teach, draw, plan.pictures, world, seed), strict=False):
        for optimiser, peak in zip(optimisers, peaks, strict=True):
            optimiser.param_groups[0]["lr"] = peak * _pace(step, plan)
        rows = [words.row(number, lesson) for number, lesson in batch.lessons]
        losses.append(_step(model, pixels(batch.drawn), rows))
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        step_done()
    model.eval()
    return losses


def _pace(step: int, plan: Plan) -> float:
    done = step / plan.steps if plan.falls else 0.0
    return min(1.0, (step + 1) / plan.rise) * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def _optimisers(model: Any, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for matrices, AdamW for the rest: with AdamW alone yes/no questions took four times as long to rise."""
    import torch

    tables = ("embed", "embedding", "lm_head")
    named = list(model.named_parameters())
    matrices = [weight for name, weight in named if weight.dim() == 2 and not any(t in name for t in tables)]
    known = {id(weight) for weight in matrices}
    rest = [weight for _, weight in named if id(weight) not in known]
    return [
        torch.optim.Muon(matrices, lr=plan.matrix_rate, weight_decay=0.01, adjust_lr_fn="original"),
        torch.optim.AdamW(rest, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


@dataclass(frozen=True, slots=True)
class _Batch:
    drawn: list[Scene]
    lessons: list[tuple[int, Lesson]]


def _batches(teach: Teach, draw: Draw, pictures: int, world: int, seed: int) -> Iterator[_Batch]:
    rng = random.Random(f"lessons:{world}:{seed}")
    index = 0
    while True:
        drawn = [draw(world, index + number) for number in range(pictures)]
        index += pictures
        yield _Batch(drawn, [(number, lesson) for number, scene in enumerate(drawn) for lesson in teach(scene, rng)])


def _step(model: Any, pictures: torch.Tensor, rows: list[_Row]) -> float:
    """Gradients of one batch, clipped; returns its loss."""
    import torch

    total = sum(row.weight * (len(row.ids) - row.start) for row in rows)
    features = look(model, pictures)
    seen = features.detach().requires_grad_()  # the tower's backward runs once, after all passes
    loss = 0.0
    for part in _parts(rows):
        part_loss = summed_loss(model, seen, part) / total
        part_loss.backward()
        loss += float(part_loss.detach())
    features.backward(seen.grad)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return loss


def _parts(rows: Iterable[_Row]) -> Iterator[list[list[_Row]]]:
    """Rows by picture, pictures of similar length together."""
    by_picture: dict[int, list[_Row]] = {}
    for row in rows:
        by_picture.setdefault(row.picture, []).append(row)
    ordered = sorted(by_picture.values(), key=lambda shared: sum(len(row.ids) for row in shared))
    for part in np.array_split(np.arange(len(ordered)), min(PASSES, len(ordered))):
        yield [ordered[number] for number in part]


def look(model: Any, pictures: torch.Tensor) -> torch.Tensor:
    """Features of pictures in the language model's space, shape (N, 9, hidden)."""
    seen = model.model.vision_tower(pictures).last_hidden_state[:, 1:]
    return model.model.multi_modal_projector(seen)


def summed_loss(model: Any, features: torch.Tensor, shared: Sequence[Sequence[_Row]]) -> torch.Tensor:
    """Summed cross-entropy of the answers' tokens (nats), each with the weight of its row.

    Args:
        model: Any tiny model.
        features: Of all pictures, shape (N, 9, hidden).
        shared: Rows by picture. They become one sequence: the picture, then every question behind it, each of which
            sees the picture and itself.
    """
    import torch

    packed = [_pack(rows) for rows in shared]
    longest = max(len(each.ids) for each in packed)
    ids, segments, positions = (
        torch.tensor([row + [fill] * (longest - len(row)) for row in column])
        for column, fill in zip(
            zip(*((p.ids, p.segments, p.positions) for p in packed), strict=True), (0, -1, 0), strict=True
        )
    )
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()
    mine = (segments[:, None, :] == segments[:, :, None]) | (segments[:, None, :] == 0)
    embedded = model.get_input_embeddings()(ids)
    chosen = features[torch.tensor([rows[0].picture for rows in shared])]
    embedded = torch.cat([embedded[:, :1], chosen, embedded[:, PREFIX:]], dim=1)
    hidden = model.model.language_model(
        inputs_embeds=embedded, attention_mask=(causal & mine)[:, None], position_ids=positions, use_cache=False
    ).last_hidden_state
    at = torch.tensor([(number, place) for number, each in enumerate(packed) for place in each.predicting])
    targets = torch.tensor([target for each in packed for target in each.targets])
    weights = torch.tensor([weight for each in packed for weight in each.weights])
    logits = model.lm_head(hidden[at[:, 0], at[:, 1]])
    return (torch.nn.functional.cross_entropy(logits, targets, reduction="none") * weights).sum()


@dataclass(slots=True)
class _Packed:
    """Rows of one picture in one sequence; `predicting` are the places that predict `targets`."""

    ids: list[int]
    segments: list[int]
    positions: list[int]
    predicting: list[int]
    targets: list[int]
    weights: list[float]


def _pack(rows: Sequence[_Row]) -> _Packed:
    packed = _Packed(rows[0].ids[:PREFIX], [0] * PREFIX, list(range(PREFIX)), [], [], [])
    for number, row in enumerate(rows, 1):
        shift = len(packed.ids) - PREFIX
        packed.ids += row.ids[PREFIX:]
        packed.segments += [number] * (len(row.ids) - PREFIX)
        packed.positions += range(PREFIX, len(row.ids))
        packed.predicting += range(shift + row.start - 1, shift + len(row.ids) - 1)
        packed.targets += row.ids[row.start :]
        packed.weights += [row.weight] * (len(row.ids) - row.start)
    return packed
