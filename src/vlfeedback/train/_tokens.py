"""From words to token ids: the processor's own chat template, and nothing a writer wrote read as a control token.

A prompt or response that contains `<image>`, `</s>` or any other control token of the model stays plain text: a picture
is where the template put one, and an answer ends where it ends. Prompts are encoded by the same code that samples from
local models, so that training and speaking agree on every token up to the first of the response.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vlfeedback.errors import ConfigError
from vlfeedback.models._prompts import Encoder, special_tokens
from vlfeedback.models._turns import edges, rendered
from vlfeedback.records import Image, Part, Request, Sampling

if TYPE_CHECKING:
    from torch import Tensor

Ids = np.ndarray[Any, np.dtype[np.int32]]

# Private-use characters: stand for the words of a turn while the template is taken apart, and occur in no template.
_QUESTION, _REPLY = "\ue0a1", "\ue0a2"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as the model reads it.

    Attributes:
        ids: Token ids up to and including the assistant's header, shape (T,).
        per_token: Further fields of the processor with one value per token (`token_type_ids`), each (T,).
        image_tokens: How many of the ids stand for features of pictures.
    """

    ids: Ids
    per_token: Mapping[str, Ids]
    image_tokens: int


class Reads(Protocol):
    """How a picture is read, what is in one, and what damaged and blank ones are called: `_reader.Reader`."""

    def __call__(self, image: Image, recipe: str) -> bytes: ...

    def damaged(self, image: Image) -> Image: ...

    def content(self, image: Image) -> str: ...

    def blank(self) -> Image: ...


class Wording:
    """Token ids of prompts and responses for one processor.

    Args:
        processor: A `transformers` processor with a tokenizer and a chat template.
        read: Bytes of a picture under a preparation recipe.
        stops: Ids at which the model's generation stops; the end of a response is one of them.
        image_token_id: Id that stands for features of pictures where the processor does not say.
    Raises:
        ModelUnavailable: the processor has no chat template, or one that takes no conversation.
        ConfigError: nothing says how a response ends.
    """

    def __init__(
        self,
        processor: Any,
        read: Reads,
        stops: frozenset[int] = frozenset(),
        image_token_id: int | None = None,
    ) -> None:
        self._processor, self._tokenizer, self.read = processor, processor.tokenizer, read
        self._prompts = Encoder(processor, read)
        own = getattr(processor, "image_token_id", None)
        self._image_token_id = own if isinstance(own, int) else image_token_id
        named = (getattr(processor, name, None) for name in ("boi_token", "image_token"))
        control = special_tokens(self._tokenizer, [name for name in named if isinstance(name, str) and name])
        self._control = {word: number for word, number in control.items() if number != self._tokenizer.unk_token_id}
        self._read_template(stops)

    def prompt(self, text: str, images: tuple[Image, ...]) -> Prompt:
        """Token ids of a prompt: its pictures, then its words, taken literally.

        Raises:
            ImageError: a picture cannot be read.
        """
        made = self._prompts.encode(_request(text, images))
        ids = np.asarray(made.ids, np.int32)
        tracks = {name: np.asarray(row + [0] * (len(ids) - len(row)), np.int32) for name, row in made.tracks.items()}
        return Prompt(ids, tracks, sum(number == self._image_token_id for number in made.ids))

    def pictures(self, text: str, images: tuple[Image, ...]) -> dict[str, Tensor]:
        """Picture fields of a prompt (`pixel_values`, …), pictures along dimension 0; kept or made again.

        A picture is processed once for all prompts that show it, as long as it is kept.
        """
        from vlfeedback.train._layout import stack

        made = self._prompts.encode(_request(text, images)).pictures
        names = made[0].tensors if made else ()
        return {name: stack([picture.tensors[name] for picture in made]) for name in names}

    def response(self, text: str) -> Ids:
        """Token ids of a response after the assistant's header, with its end token; shape (L,), L ≥ 1.

        Blanks at its ends that the template takes off are not in it.
        """
        text = self._edges.cut(text)
        joint = self.plain(self._tail + self._lead + text)
        width = len(self._tail_ids)
        # Tokenised together with the header, so that the first word is cut as it is when the model speaks.
        ids = joint[width:] if joint[:width] == self._tail_ids else self.plain(self._lead + text)
        return np.asarray([*self._lead_ids, *ids, self.end], np.int32)

    def plain(self, text: str) -> list[int]:
        """Token ids of text in which nothing is a control token."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        forbidden = set(self._control.values())
        if forbidden.isdisjoint(ids):
            return ids
        # Some tokenizers find control tokens all the same: they are never shown one whole.
        pieces = [self._tokenizer(letter, add_special_tokens=False)["input_ids"] for letter in text]
        return [i for piece in pieces for i in piece if i not in forbidden]

    def _render(self, reply: str | None) -> str:
        turns: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": _QUESTION}]}]
        if reply is not None:
            turns.append({"role": "assistant", "content": [{"type": "text", "text": reply}]})
        return rendered(self._processor, turns, header=reply is None)

    def _read_template(self, stops: frozenset[int]) -> None:
        """Find what stands before a response (the header's last plain stretch, a space) and the token that ends it.

        What the template writes between header and words belongs to the response: the model has to say it.
        """
        header, whole = self._render(None), self._render(_REPLY)
        self._edges = edges(self._render, _REPLY)
        before, _, after = whole.partition(_REPLY)
        self._lead = before[len(header) :] if before.startswith(header) else ""
        tail = header.partition(_QUESTION)[2]
        self._tail = tail[self._behind_control(tail) :]
        self._tail_ids = self.plain(self._tail) if self._tail else []
        self._lead_ids: list[int] = []
        if cut := self._behind_control(self._lead):  # the template's own control tokens act; words never join them
            joint = self._tokenizer(self._tail + self._lead[:cut], add_special_tokens=False)["input_ids"]
            alone = self._tokenizer(self._lead[:cut], add_special_tokens=False)["input_ids"]
            width = len(self._tail_ids)
            self._lead_ids = joint[width:] if joint[:width] == self._tail_ids else alone
            self._lead, self._tail, self._tail_ids = self._lead[cut:], "", []
        own = self._tokenizer.eos_token_id
        written = self._tokenizer(after, add_special_tokens=False)["input_ids"] if after else []
        end = next((number for number in written if number in stops or number == own), own)
        if end is None:
            raise ConfigError("the model's tokenizer has no end token: set eos_token in its tokenizer_config.json")
        self.end = int(end)

    def _behind_control(self, text: str) -> int:
        """Where the last control token in a text of the template ends; 0 without one."""
        return max((text.rfind(word) + len(word) for word in self._control if word in text), default=0)


def template(processor: Any) -> str:
    """The chat template of a processor, or of its tokenizer."""
    return str(getattr(processor, "chat_template", None) or processor.tokenizer.chat_template)


def _request(text: str, images: tuple[Image, ...]) -> Request:
    return Request("", (*(Part(image=image) for image in images), Part(text=text)), Sampling())
