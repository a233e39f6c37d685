"""The training loop of the tiny models: supervised, deterministic for a seed, two cores.

A picture is looked at once for all questions on it, rows are sorted by length into a few passes, and only positions
that predict an answer's token go through the head: the same function as the model's own forward (a test compares them).
"""

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
CHUNKS = 3
"""Passes per step, rows sorted by length: halves the padding against one pass."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast a model is taught.

    Attributes:
        steps: Optimiser steps.
        pictures: Scenes per step.
        rate: Peak learning rate of AdamW; rises over `rise` steps, falls along a cosine to a tenth.
    """

    steps: int
    pictures: int
    rate: float
    rise: int = 20


@dataclass(frozen=True, slots=True)
class _Row:
    picture: int
    ids: list[int]
    start: int


class Words:
    """Token ids of lessons, cached by text."""

    def __init__(self) -> None:
        self._tokenizer = tiny.tokenizer()
        self._known: dict[str, list[int]] = {}
        number = self._tokenizer.convert_tokens_to_ids
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
    step_done: Callable[[], None] = lambda: None,
) -> list[float]:
    """Teach a model in place.

    Args:
        model: Any tiny model; every weight is trained.
        teach: Lessons on a scene.
        plan: How long and how fast.
        world: Seed of the scenes, all of the train side.
        seed: Of the choice of lessons.
        step_done: Called after every step, for a progress bar.
    Returns:
        The loss of every step, nats per answer token.
    """
    import torch

    optimiser = torch.optim.AdamW(model.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01)
    words = Words()
    losses: list[float] = []
    model.train()
    for step, batch in zip(range(plan.steps), _batches(teach, plan.pictures, world, seed), strict=False):
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * _pace(step, plan)
        rows = [words.row(number, lesson) for number, lesson in batch.lessons]
        losses.append(_step(model, pixels(batch.drawn), rows, optimiser))
        step_done()
    model.eval()
    return losses


def _pace(step: int, plan: Plan) -> float:
    done = step / plan.steps
    return min(1.0, (step + 1) / plan.rise) * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


@dataclass(frozen=True, slots=True)
class _Batch:
    drawn: list[Scene]
    lessons: list[tuple[int, Lesson]]


def _batches(teach: Teach, pictures: int, world: int, seed: int) -> Iterator[_Batch]:
    rng = random.Random(f"lessons:{world}:{seed}")
    index = 0
    while True:
        drawn = [scenes.draw(world, index + number) for number in range(pictures)]
        index += pictures
        yield _Batch(drawn, [(number, lesson) for number, scene in enumerate(drawn) for lesson in teach(scene, rng)])


def _step(model: Any, pictures: torch.Tensor, rows: list[_Row], optimiser: torch.optim.Optimizer) -> float:
    import torch

    rows = sorted(rows, key=lambda row: len(row.ids))
    total = sum(len(row.ids) - row.start for row in rows)
    features = look(model, pictures)
    seen = features.detach().requires_grad_()  # the tower's backward runs once, after all passes
    loss = 0.0
    for part in np.array_split(np.arange(len(rows)), CHUNKS):
        part_loss = _loss(model, seen, [rows[number] for number in part]) / total
        part_loss.backward()
        loss += float(part_loss.detach())
    features.backward(seen.grad)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return loss


def look(model: Any, pictures: torch.Tensor) -> torch.Tensor:
    """Features of pictures in the language model's space, shape (N, 9, hidden)."""
    seen = model.model.vision_tower(pictures).last_hidden_state[:, 1:]
    return model.model.multi_modal_projector(seen)


def _loss(model: Any, features: torch.Tensor, rows: Sequence[_Row]) -> torch.Tensor:
    """Summed cross-entropy of the answers' tokens (nats)."""
    import torch

    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [0] * (longest - len(row.ids)) for row in rows])
    embedded = model.get_input_embeddings()(ids)
    chosen = features[torch.tensor([row.picture for row in rows])]
    embedded = torch.cat([embedded[:, :1], chosen, embedded[:, 1 + tiny.IMAGE_TOKENS :]], dim=1)
    hidden = model.model.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
    at = torch.tensor([
        (number, place - 1) for number, row in enumerate(rows) for place in range(row.start, len(row.ids))
    ])  # fmt: skip
    targets = ids[at[:, 0], at[:, 1] + 1]
    logits = model.lm_head(hidden[at[:, 0], at[:, 1]])
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
