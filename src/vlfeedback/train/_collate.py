"""Groups of records into groups of token ids, and those into batches; what is not trained on leaves with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from vlfeedback.errors import DataError, ImageError
from vlfeedback.records import CUT_OFF, Dropped, Group, Image, PreferencePair, Reason
from vlfeedback.train._layout import Layout, Rows
from vlfeedback.train._preferences import Preferences
from vlfeedback.train._reader import DAMAGED_SHARE as DAMAGED_SHARE, Pictures as Pictures, reader as reader
from vlfeedback.train._tokens import Ids, Prompt, Wording

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Encoded:
    """A group as token ids.

    Attributes:
        group_id: Instruction id.
        question: The prompt's words, from which picture tensors can be made again.
        images: Pictures of the instruction.
        prompt: Token ids up to the assistant's header, shape (T,).
        per_token: Further per-token fields of the prompt, each (T,).
        image_tokens: How many of the prompt's tokens stand for pictures.
        responses: Token ids, K arrays; with their end token, but for those that were cut off.
        response_ids: K ids.
        pairs: (chosen, rejected) indices into the K responses.
        pair_ids, weights: One of each per pair.
        gaps: Distance of the two sides' ratings per pair; not a number where a strategy gives none.
        best: Index of the best response, or None.
        twin_of: Id of the group whose best response this is, with damaged pictures; empty for groups of the run.
        cut: Ids of responses that stopped before their end.
        contents: Hashes of the bytes of those pictures that were never hashed, whose names say nothing of them.
    """

    group_id: str
    question: str
    images: tuple[Image, ...]
    prompt: Ids
    per_token: Mapping[str, Ids]
    image_tokens: int
    responses: tuple[Ids, ...]
    response_ids: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    pair_ids: tuple[str, ...]
    weights: tuple[float, ...]
    best: int | None
    gaps: tuple[float, ...] = ()
    twin_of: str = ""
    cut: frozenset[str] = frozenset()
    contents: tuple[str, ...] = ()

    def without_pairs(self) -> Encoded:
        """The same group counted for nothing: it fills a batch that would otherwise be empty."""
        return replace(self, pairs=(), pair_ids=(), weights=(), best=None, gaps=())


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of whole groups for one forward.

    Attributes:
        rows: The layout.
        reference: Summed reference log p of each response (nats), shape (R,).
        preferences: Which response is preferred to which.
        total: What the sum of losses is divided by: items of the whole optimiser step.
        pair_ids: P ids, for messages.
        tokens: What the language model reads, without padding.
    """

    rows: Rows
    reference: Tensor
    preferences: Preferences
    total: float
    pair_ids: tuple[str, ...]
    tokens: int

    def __len__(self) -> int:
        """Number of responses; `transformers.Trainer` asks for a length."""
        return int(self.reference.shape[0])

    def with_blank(self, pictures: Mapping[str, Tensor]) -> Batch:
        """The same with a picture that counts nothing (`_unseen`), unless there are pictures in it already."""
        return self if self.rows.pictures else replace(self, rows=replace(self.rows, unseen=pictures))

    def to(self, device: Any) -> Batch:
        """The same on another device."""
        preferences = self.preferences
        moved = Preferences(
            preferences.pairs.to(device),
            preferences.weights.to(device),
            preferences.best.to(device),
            preferences.best_of_pair.to(device),
            preferences.gaps.to(device) if preferences.gaps is not None else None,
            preferences.baseline,
            preferences.damaged_of_pair.to(device) if preferences.damaged_of_pair is not None else None,
        )
        wide = self.reference.float() if str(device).startswith("mps") else self.reference
        return replace(self, rows=self.rows.to(device), reference=wide.to(device), preferences=moved)


class Encoder:
    """Turns groups into token ids, and what cannot be trained on into `Dropped`.

    Args:
        wording: Token ids of prompts and responses.
        max_length: Longest row, prompt and response, tokens.
    """

    def __init__(self, wording: Wording, max_length: int) -> None:
        self._wording, self._max_length = wording, max_length

    def encode(self, group: Group, *, bare: bool = False) -> Iterator[Encoded | Dropped]:
        """Token ids of one group, and what had to be left out of it.

        Args:
            group: Its pairs name responses of the group.
            bare: Keep a group without pairs if it has a best response.
        Yields:
            At most one `Encoded`; a `Dropped` for each pair that cannot be trained on.
        Raises:
            DataError: a pair names a response that the group does not have.
        """
        texts = {response.id: response.text for response in group.responses}
        for pair in group.pairs:
            if pair.chosen_id not in texts or pair.rejected_id not in texts:
                raise DataError(
                    f"pair {pair.id} names a response that instruction {group.instruction.id} does not have"
                )
        wanted = {i for pair in group.pairs for i in (pair.chosen_id, pair.rejected_id)}
        if not wanted and not (bare and _rated_best(group, list(texts)) is not None):
            return
        prompt = self._prompt(group)
        if isinstance(prompt, Dropped):
            yield from (replace(prompt, record_id=pair.id) for pair in group.pairs)
            return
        used = [response.id for response in group.responses if response.id in wanted or not wanted]
        ids = {i: self._wording.response(texts[i]) for i in used}
        # An end that the limit of tokens made is none: trained, it would teach to stop in the middle of a sentence.
        cut = {
            response.id
            for response in group.responses
            if response.finish in CUT_OFF and len(ids.get(response.id, ())) > 1
        }
        rows = {i: ids[i][:-1] if i in cut else ids[i] for i in used}
        room = self._max_length - len(prompt.ids)
        long = {i for i in used if len(rows[i]) > room}
        kept, dropped = _select(group, ids, long, f"{len(prompt.ids)} prompt tokens, at most {self._max_length} in all")
        yield from dropped
        best = _net_winner(kept) if kept else _rated_best(group, [i for i in used if i not in long])
        named = {i for pair in kept for i in (pair.chosen_id, pair.rejected_id)}
        order = [i for i in used if i in named or (bare and i == best)]
        if not order or not (kept or (bare and best is not None)):
            return
        index = {i: position for position, i in enumerate(order)}
        yield Encoded(
            group_id=group.instruction.id,
            question=group.instruction.prompt,
            images=group.instruction.images,
            prompt=prompt.ids,
            per_token=prompt.per_token,
            image_tokens=prompt.image_tokens,
            responses=tuple(rows[i] for i in order),
            response_ids=tuple(order),
            pairs=tuple((index[pair.chosen_id], index[pair.rejected_id]) for pair in kept),
            pair_ids=tuple(pair.id for pair in kept),
            weights=tuple(pair.weight for pair in kept),
            best=index.get(best) if best is not None else None,
            gaps=tuple(nan if pair.margin is None else float(pair.margin) for pair in kept),
            cut=frozenset(cut.intersection(order)),
            contents=self._contents(group.instruction.images),
        )

    def pictures(self, group: Encoded) -> Mapping[str, Tensor]:
        """Picture fields of a group: from memory, or made again."""
        return self._wording.pictures(group.question, group.images)

    def blank(self) -> Mapping[str, Tensor]:
        """Picture fields of an even picture that belongs to no group."""
        return self._wording.pictures("", (self._wording.read.blank(),))

    def twin(self, group: Encoded) -> Encoded | None:
        """The group's best response to damaged pictures of the same sizes; None without a picture or without pairs."""
        if not (group.images and group.pairs) or group.best is None:
            return None
        images = tuple(self._wording.read.damaged(image) for image in group.images)
        return replace(
            group.without_pairs(),
            group_id=f"{group.group_id}#damaged",
            images=images,
            contents=self._contents(images),
            responses=(group.responses[group.best],),
            response_ids=(group.response_ids[group.best],),
            twin_of=group.group_id,
        )

    def _contents(self, images: Sequence[Image]) -> tuple[str, ...]:
        return tuple(found for image in images if (found := self._wording.read.content(image)))

    def _prompt(self, group: Group) -> Prompt | Dropped:
        """The prompt with its pictures, or why there is none; the record id is filled in by the caller."""
        instruction = group.instruction
        try:
            prompt = self._wording.prompt(instruction.prompt, instruction.images)
        except ImageError as error:
            return Dropped("train", instruction.id, error.reason, error.detail)
        if bool(prompt.image_tokens) != bool(instruction.images):
            detail = f"{prompt.image_tokens} image tokens for {len(instruction.images)} pictures"
            return Dropped("train", instruction.id, "image_tokens", detail)
        if len(prompt.ids) >= self._max_length:
            return Dropped("train", instruction.id, "too_long", f"{len(prompt.ids)} prompt tokens")
        return prompt


def collate(
    groups: Sequence[Encoded],
    *,
    layout: Layout,
    pictures: Callable[[Encoded], Mapping[str, Tensor]],
    reference: Mapping[tuple[str, str], float] | None = None,
    total: float = 1.0,
) -> Batch:
    """Lay groups out as one batch.

    Args:
        groups: Whole groups, at least one.
        layout: How their responses lie in one forward.
        pictures: Picture fields of a group.
        reference: Log p by (group id, response id); None while the reference itself is being computed.
        total: Items of the whole optimiser step.
    """
    import torch

    pairs: list[tuple[int, int]] = []
    best: list[int] = []
    best_of_pair: list[int] = []
    known: list[float] = []
    start = 0
    twins = {group.twin_of: place for group, place in zip(groups, _starts(groups), strict=True) if group.twin_of}
    damaged = [twins.get(group.group_id, -1) for group in groups for _ in group.pairs]
    for group in groups:
        pairs += [(start + chosen, start + rejected) for chosen, rejected in group.pairs]
        best += [start + group.best] if group.best is not None else []
        best_of_pair += [start + (group.best if group.best is not None else chosen) for chosen, _ in group.pairs]
        known += [reference[group.group_id, i] if reference is not None else 0.0 for i in group.response_ids]
        start += len(group.responses)
    preferences = Preferences(
        pairs=torch.tensor(pairs, dtype=torch.long).reshape(-1, 2),
        weights=torch.tensor([weight for group in groups for weight in group.weights], dtype=torch.float64),
        best=torch.tensor(best, dtype=torch.long),
        best_of_pair=torch.tensor(best_of_pair, dtype=torch.long),
        gaps=torch.tensor([gap for group in groups for gap in group.gaps or [nan] * len(group.pairs)]),
        damaged_of_pair=torch.tensor(damaged, dtype=torch.long) if twins else None,
    )
    rows = layout.arrange(groups, [pictures(group) for group in groups])
    # The last token of a response is predicted and read by nobody.
    said = sum(len(response) - 1 for group in groups for response in group.responses)
    return Batch(
        rows=rows,
        reference=torch.tensor(known, dtype=torch.float64),
        preferences=preferences,
        total=total,
        pair_ids=tuple(i for group in groups for i in group.pair_ids),
        tokens=said + sum(len(group.prompt) * copies for group, copies in zip(groups, rows.copies, strict=True)),
    )


def _starts(groups: Sequence[Encoded]) -> list[int]:
    """Index of each group's first response in the batch."""
    return [0, *accumulate(len(group.responses) for group in groups)][:-1]


def _select(
    group: Group, ids: Mapping[str, Ids], long: set[str], detail: str
) -> tuple[list[PreferencePair], list[Dropped]]:
    """Split the pairs of a group into those to train on and those to drop."""
    kept: list[PreferencePair] = []
    dropped: list[Dropped] = []
    for pair in group.pairs:
        reason: Reason | None = None
        if pair.chosen_id in long or pair.rejected_id in long:
            reason = "too_long"
        elif np.array_equal(ids[pair.chosen_id], ids[pair.rejected_id]):
            reason = "identical"
        if reason is None:
            kept.append(pair)
        else:
            dropped.append(Dropped("train", pair.id, reason, detail if reason == "too_long" else ""))
    return kept, dropped


def _net_winner(pairs: Sequence[PreferencePair]) -> str:
    """The response that wins most of the given pairs, the first of equals.

    Pairs decide and not ratings: a strategy that pairs against the ratings (the longest as best, shuffled ratings as a
    control) must not get the true best back through the anchor.
    """
    wins: dict[str, int] = {}
    for pair in pairs:
        wins[pair.chosen_id] = wins.get(pair.chosen_id, 0) + 1
        wins[pair.rejected_id] = wins.get(pair.rejected_id, 0) - 1
    return max(wins, key=lambda i: wins[i])


def _rated_best(group: Group, among: Sequence[str]) -> str | None:
    """The response with the highest mean rating, the first of equals; None unless every one of them is fully rated."""
    scores: dict[str, list[int]] = {i: [] for i in among}
    for rating in group.ratings:
        if rating.response_id in scores:
            if rating.score is None:
                return None
            scores[rating.response_id].append(rating.score)
    if not scores or not all(scores.values()):
        return None
    return max(scores, key=lambda i: sum(scores[i]) / len(scores[i]))
