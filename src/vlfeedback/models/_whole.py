"""A prompt with all its pictures in one call of the model's processor, for processors that look beyond one picture.

Most put the same tokens for a picture wherever it stands. Some do not: they number pictures, cut one alone into tiles
and not two, set a blank before the word that follows, or begin the prompt with a text of their own. Which kind one is
cannot be read from it, so both ways are tried on made-up questions and compared.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

from vlfeedback.models._shown import Picture, read_fields

if TYPE_CHECKING:
    import torch

Shape = tuple[str | int, ...]
"""A rendered template: what it writes, and numbers of the texts that stand between."""

QUESTIONS = ("What is there?", "\nWhat is there?", "(a) 1 or 2?", " a dog")
"""Words that begin in other ways: what stands before them can make one token with them, or not."""

_SIZES = ((640, 400), (400, 640))


class Whole:
    """Reads whole prompts with a processor; control tokens that somebody wrote stay text.

    Args:
        processor: Callable on text and images.
        tokenise: Ids of a text, which is the prompt's first or not.
        literals: Words that processor or tokenizer would not take for text.
    """

    def __init__(self, processor: Any, tokenise: Callable[[str, bool], Sequence[int]], literals: Iterable[str]) -> None:
        self._processor, self._tokenise = processor, tokenise
        self._literal = pattern_of(literals)

    def __call__(self, shape: Shape, texts: Sequence[str], pictures: Sequence[Any]) -> Picture:
        """Ids, tracks and tensors of a prompt, in one.

        Raises:
            Exception: whatever the processor raises.
        """
        taken = {*"".join([*texts, *(one for one in shape if isinstance(one, str))])}
        mark = next(letter for letter in map(chr, range(0xE0B0, 0xF8FF)) if letter not in taken)
        cut = [mark.join(pieces_of(text, self._literal)) for text in texts]
        prompt = "".join(cut[one] if isinstance(one, int) else one for one in shape)
        tokenizer = self._processor.tokenizer
        begins = tokenizer.bos_token is not None and prompt.startswith(tokenizer.bos_token)
        processor = self._processor
        if mark in prompt:
            processor = copy.copy(processor)
            processor.tokenizer = _CutTokenizer(tokenizer, mark, self._tokenise)
        # Pictures in a list of their own: so says `apply_chat_template` that they belong to one prompt.
        made = read_fields(
            processor(
                text=[prompt], images=[list(pictures)] if pictures else None, return_tensors="pt",
                add_special_tokens=not begins, padding=False,
            )
        )  # fmt: skip
        kept = len(made.ids)
        while kept > 1 and made.ids[kept - 1] == tokenizer.eos_token_id and not prompt.endswith(tokenizer.eos_token):
            kept -= 1  # some tokenizers end every text; the prompt goes on
        return Picture(made.ids[:kept], {name: row[:kept] for name, row in made.tracks.items()}, made.tensors)


class _CutTokenizer:
    """A tokenizer that is never shown a written control token whole: it cuts its texts where they are marked."""

    def __init__(self, inner: Any, mark: str, tokenise: Callable[[str, bool], Sequence[int]]) -> None:
        self._inner, self._mark, self._tokenise = inner, mark, tokenise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, text: str | Sequence[str], **options: Any) -> Any:
        from transformers import BatchEncoding

        rows: list[list[int]] = []
        for one in [text] if isinstance(text, str) else text:
            first, *others = one.split(self._mark)
            rows.append([*self._tokenise(first, True), *(i for piece in others for i in self._tokenise(piece, False))])
        fields = {"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]}
        return BatchEncoding(fields, tensor_type=options.get("return_tensors"))


def pattern_of(words: Iterable[str]) -> re.Pattern[str]:
    """Finds each of the words, the longest first."""
    return re.compile("|".join(sorted(map(re.escape, words), key=len, reverse=True)) or r"(?!)")


def pieces_of(text: str, literal: re.Pattern[str]) -> list[str]:
    """Cut a text inside each word of a pattern, so that no piece holds a whole one."""
    pieces: list[str] = []
    while found := literal.search(text):
        cut = found.start() + 1
        pieces.append(text[:cut])
        text = text[cut:]
    return [*pieces, text]


def made_up(count: int) -> list[Any]:
    """Pictures without meaning, wide and high by turns, large enough to be cut into tiles."""
    import PIL.Image

    shade = PIL.Image.linear_gradient("L")
    return [PIL.Image.merge("RGB", [shade.resize(size)] * 3) for size in islice(cycle(_SIZES), count)]


def alike(ids: Sequence[int], tracks: dict[str, list[int]], pictures: Sequence[Picture], whole: Picture) -> bool:
    """Whether a prompt made of pieces is what the processor makes of the whole.

    Tensors are compared value by value without zeros: how pictures are laid along the first axes, and filled up, is
    another matter for one prompt than for several.
    """
    if tuple(ids) != whole.ids:
        return False
    blank = (0,) * len(ids)
    for name in {*tracks, *whole.tracks}:
        if (*tracks.get(name, ()), *blank)[: len(ids)] != whole.tracks.get(name, blank):
            return False
    names = {name for one in pictures for name in one.tensors}
    return names == set(whole.tensors) and all(
        _same([one.tensors[name] for one in pictures], whole.tensors[name]) for name in names
    )


def _same(pieces: Sequence[torch.Tensor], whole: torch.Tensor) -> bool:
    import torch

    ours, theirs = (one[one != 0] for one in (torch.cat([piece.flatten() for piece in pieces]), whole.flatten()))
    return ours.shape == theirs.shape and torch.allclose(ours.double(), theirs.double(), atol=1e-5)
