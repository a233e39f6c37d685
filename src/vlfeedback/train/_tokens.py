"""From words to token ids: the processor's own chat template, and nothing a writer wrote read as a control token.

A prompt or response that contains `<image>`, `</s>` or any other control token of the model stays plain text: a picture
is where the template put one, and an answer ends where it ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vlfeedback.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from torch import Tensor

# Private-use characters: stand for the words of a turn while the template is taken apart, and occur in no template.
_QUESTION, _REPLY = "\ue0a1", "\ue0a2"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as the model reads it.

    Attributes:
        ids: Token ids up to and including the assistant's header, shape (T,).
        per_token: Further fields of the processor with one value per token (`token_type_ids`), each (T,).
        pictures: Fields with the pictures (`pixel_values`, …), pictures along dimension 0; empty without pictures.
    """

    ids: np.ndarray[Any, np.dtype[np.int32]]
    per_token: Mapping[str, np.ndarray[Any, np.dtype[np.int32]]]
    pictures: Mapping[str, Tensor]


class Wording:
    """Token ids of prompts and responses for one processor.

    Args:
        processor: A `transformers` processor with a tokenizer and a chat template.
        stops: Ids at which the model's generation stops; the end of a response is one of them.
        image_token_id: Id that stands for pictures where the processor does not say.
    Raises:
        ConfigError: the processor has no chat template, or nothing says how a response ends.
    """

    def __init__(
        self, processor: Any, stops: frozenset[int] = frozenset(), image_token_id: int | None = None
    ) -> None:
        self._processor = processor
        self._tokenizer = getattr(processor, "tokenizer", processor)
        if not getattr(processor, "chat_template", None):
            raise ConfigError("the model's processor has no chat template: add chat_template.jinja to its folder")
        own = getattr(processor, "image_token_id", None)
        self.image_token_id: int | None = own if isinstance(own, int) else image_token_id
        self._control = self._control_tokens()
        self._forbidden = {self._tokenizer.convert_tokens_to_ids(token) for token in self._control}
        self._read_template(stops)
        self._tail_ids = self.plain(self._tail)

    def prompt(self, text: str, pictures: Sequence[Picture]) -> Prompt:
        """Token ids and picture tensors of one instruction; its pictures are processed exactly once.

        Args:
            text: The user's words, taken literally.
            pictures: RGB pictures, put before the words.
        """
        literal = any(token in text for token in self._control)
        rendered = self._render(_QUESTION if literal else text, len(pictures), None, header=True)
        head, _, tail = rendered.partition(_QUESTION) if literal else (rendered, "", "")
        fields = self._process(head, pictures)
        ids = fields.pop("input_ids")[0].tolist()
        width = len(ids)
        fields.pop("attention_mask", None)
        per_token = {name: value[0].tolist() for name, value in fields.items() if tuple(value.shape) == (1, width)}
        if literal:
            ids += self.plain(text) + self._encode(tail)
        padded = {name: np.asarray(row + [0] * (len(ids) - width), np.int32) for name, row in per_token.items()}
        shown = {name: value for name, value in fields.items() if name not in per_token}
        return Prompt(np.asarray(ids, np.int32), padded, shown if pictures else {})

    def response(self, text: str) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Token ids of a response after the assistant's header, with its end token; shape (L,), L ≥ 1."""
        joint = self.plain(self._tail + self._lead + text)
        width = len(self._tail_ids)
        # Tokenised together with the header, so that the first word is cut as it is when the model speaks.
        ids = joint[width:] if joint[:width] == self._tail_ids else self.plain(text)
        return np.asarray([*ids, self.end], np.int32)

    def plain(self, text: str) -> list[int]:
        """Token ids of text in which nothing is a control token."""
        if not text:
            return []
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if self._forbidden.isdisjoint(ids):
            return ids
        # A tokenizer that finds control tokens all the same is given no chance to see one whole.
        pieces = [self._tokenizer(letter, add_special_tokens=False)["input_ids"] for letter in text]
        return [i for piece in pieces for i in piece if i not in self._forbidden]

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"] if text else []

    def _process(self, text: str, pictures: Sequence[Picture]) -> dict[str, Tensor]:
        start = self._tokenizer.bos_token
        options: dict[str, Any] = {"return_tensors": "pt"}
        if start is not None and text.startswith(start):
            options["add_special_tokens"] = False
        if pictures:
            options["images"] = [list(pictures)]
        elif self._processor is self._tokenizer:
            return dict(self._tokenizer([text], **options))
        return dict(self._processor(text=[text], **options))

    def _render(self, question: str, pictures: int, reply: str | None, *, header: bool) -> str:
        user = [{"type": "image"}] * pictures + [{"type": "text", "text": question}]
        turns: list[dict[str, Any]] = [{"role": "user", "content": user}]
        if reply is not None:
            turns.append({"role": "assistant", "content": [{"type": "text", "text": reply}]})
        return self._processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=header)

    def _read_template(self, stops: frozenset[int]) -> None:
        """Find what stands before a response (header, its last plain stretch, a space) and the token that ends it."""
        header = self._render(_QUESTION, 0, None, header=True)
        whole = self._render(_QUESTION, 0, _REPLY, header=False)
        before, _, after = whole.partition(_REPLY)
        self._lead = before[len(header) :] if before.startswith(header) else ""
        tail = header.partition(_QUESTION)[2]
        self._tail = tail[max((tail.rfind(token) + len(token) for token in self._control if token in tail), default=0) :]
        ends = [i for i in self._encode(after) if i in stops or i == self._tokenizer.eos_token_id]
        end = ends[0] if ends else self._tokenizer.eos_token_id
        if end is None:
            raise ConfigError("the model's tokenizer has no end token: set eos_token in its tokenizer_config.json")
        self.end: int = int(end)

    def _control_tokens(self) -> frozenset[str]:
        added = self._tokenizer.added_tokens_decoder.values()
        tokens = {token.content for token in added if token.special} | set(self._tokenizer.all_special_tokens)
        named = (getattr(self._processor, name, None) for name in ("image_token", "boi_token", "video_token"))
        tokens |= {str(token) for token in named if token}
        return frozenset(token for token in tokens - {self._tokenizer.unk_token} if token)
