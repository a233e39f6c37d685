"""From words to token ids: the processor's own chat template, and nothing a writer wrote read as a control token.

A prompt or response that contains `<image>`, `</s>` or any other control token of the model stays plain text: a picture
is where the template put one, and an answer ends where it ends. Prompts are encoded by the same code that samples from
local models, so that training and speaking agree on every token up to the first of the response.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from vlfeedback.errors import ConfigError
from vlfeedback.models._prompts import Encoder, special_tokens
from vlfeedback.models._turns import edges, rendered
from vlfeedback.models._whole import pattern_of, pieces_of
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


class _Control(NamedTuple):
    """A control token in a text: where it ends, and its word; 0 and nothing where there is none."""

    end: int
    word: str


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
        self._literal = pattern_of(control)
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
        joint = self._spoken(self._tail + self._lead + text)
        width = len(self._tail_ids)
        # Tokenised together with the header, so that the first word is cut as it is when the model speaks.
        ids = joint[width:] if joint[:width] == self._tail_ids else self._spoken(self._lead + text)
        return np.asarray([*self._lead_ids, *ids, self.end], np.int32)

    def _spoken(self, text: str) -> list[int]:
        """Token ids of text behind the last control token before an answer; nothing in the text is one."""
        pieces = pieces_of(text, self._literal)
        if len(pieces) > 1 and not self._shifts:
            return self.plain(text)
        ids = [number for piece in pieces for number in self._behind(piece)]
        return ids if set(self._control.values()).isdisjoint(ids) else self.plain(text)

    def _behind(self, text: str) -> list[int]:
        """Token ids of text right behind that control token: alone, some tokenizers put a space before a text."""
        found = self._after(self._anchor, text) if self._anchor else None
        return self.plain(text) if found is None else found

    def _after(self, before: str, text: str) -> list[int] | None:
        """Token ids of text behind another, in which control tokens act; None where the two grow together."""
        alone, joint = (self._tokenizer(one, add_special_tokens=False)["input_ids"] for one in (before, before + text))
        return joint[len(alone) :] if joint[: len(alone)] == alone else None

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
        self._stand(tail)
        self._tail_ids = self._spoken(self._tail) if self._tail else []
        self._lead_ids: list[int] = []
        if cut := self._last_control(self._lead).end:  # the template's own control tokens act; words never join them
            places = (self._anchor + self._tail, self._anchor, "")
            found = (self._after(place, self._lead[:cut]) for place in places)
            self._lead_ids = next(ids for ids in found if ids is not None)
            self._stand(self._lead[:cut])
            self._lead, self._tail_ids = self._lead[cut:], []
        own = self._tokenizer.eos_token_id
        written = self._tokenizer(after, add_special_tokens=False)["input_ids"] if after else []
        end = next((number for number in written if number in stops or number == own), own)
        if end is None:
            raise ConfigError("the model's tokenizer has no end token: set eos_token in its tokenizer_config.json")
        self.end = int(end)

    def _stand(self, text: str) -> None:
        """Take a text of the template for what stands before an answer: a control token, and plain words behind it."""
        last = self._last_control(text)
        self._anchor, self._tail = last.word, text[last.end :]
        self._shifts = self._behind("a") != self.plain("a")

    def _last_control(self, text: str) -> _Control:
        """The last control token in a text of the template."""
        found = (_Control(text.rfind(word) + len(word), word) for word in self._control if word in text)
        return max(found, key=lambda one: (one.end, len(one.word)), default=_Control(0, ""))


def template(processor: Any) -> str:
    """The chat template of a processor, or of its tokenizer."""
    return str(getattr(processor, "chat_template", None) or processor.tokenizer.chat_template)


def _request(text: str, images: tuple[Image, ...]) -> Request:
    return Request("", (*(Part(image=image) for image in images), Part(text=text)), Sampling())
