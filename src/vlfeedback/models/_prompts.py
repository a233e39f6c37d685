"""A request as token ids and picture tensors, for local models with a chat template.

Built from fragments, because of two things that the one-call way gets wrong: special tokens written out in a prompt (a
literal `<image>`) must stay text, and the tokens of a picture and of a prompt are needed once, not once per call.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import io
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vlfeedback.errors import ModelUnavailable
from vlfeedback.records import Image, Request

if TYPE_CHECKING:
    import torch

_MARK = re.compile("\ue000([0-9]+)\ue001")
_KEPT_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Picture:
    """What a picture becomes: tokens, tracks parallel to them, and tensors (leading axis: pictures or patches)."""

    ids: tuple[int, ...]
    tracks: dict[str, tuple[int, ...]]
    tensors: dict[str, torch.Tensor]

    @property
    def size(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())


@dataclass(slots=True)
class Encoded:
    """A request ready for a batch; `image_tokens` of the ids belong to pictures."""

    ids: list[int] = field(default_factory=list)
    tracks: dict[str, list[int]] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    image_tokens: int = 0


class Encoder:
    """Turns requests into ids and tensors with a model's own processor.

    Args:
        processor: Has `tokenizer`, `apply_chat_template` and is callable on text and images.
        read: Bytes of a picture, prepared by a recipe.
    Raises:
        ModelUnavailable: the processor has no chat template or no image placeholder.
    """

    def __init__(self, processor: Any, read: Callable[[Image, str], bytes]) -> None:
        self._processor = processor
        self._read = read
        self.tokenizer = processor.tokenizer
        if not (getattr(processor, "chat_template", None) or getattr(self.tokenizer, "chat_template", None)):
            raise ModelUnavailable("the checkpoint has no chat template; add a chat_template.jinja beside its weights")
        names = [getattr(processor, "boi_token", None), getattr(processor, "image_token", None)]
        self._placeholders = [name for name in names if isinstance(name, str) and name]
        self.special = special_tokens(self.tokenizer, self._placeholders)
        literals = sorted((re.escape(word) for word in self.special), key=len, reverse=True)
        self._literal = re.compile("|".join(literals) or r"(?!)")
        self._shape = lru_cache(maxsize=1024)(self._render)
        self._words = lru_cache(maxsize=65_536)(self._tokenise)
        self._kept: OrderedDict[tuple[str, str, str], Picture] = OrderedDict()
        self._kept_size = 0

    def encode(self, request: Request) -> Encoded:
        """Ids and tensors of one request.

        Raises:
            ImageError: a picture cannot be read.
        """
        return self._walk(
            request,
            lambda encoded, image, placeholder: self._append_picture(
                encoded, self.picture(image, request.recipe, placeholder)
            ),
        )

    def outline(self, request: Request) -> list[int]:
        """Ids of one request with a single token for each picture, for an engine that puts the pictures in itself."""
        return self._walk(
            request, lambda encoded, image, placeholder: encoded.ids.append(self.special[placeholder])
        ).ids

    def unspeakable(self, ends: Iterable[int]) -> list[int]:
        """Tokens that no reply may hold: special ones and what stands for pictures, but for those that end it."""
        return sorted(set(self.special.values()) - set(ends))

    def _walk(self, request: Request, show: Callable[[Encoded, Image, str], None]) -> Encoded:
        """A request's words between its pictures; what a picture becomes is up to `show`."""
        shape = self._shape(bool(request.system), tuple(part.image is not None for part in request.parts))
        texts = [request.system, *(part.text or "" for part in request.parts)]
        images = iter(request.images)
        encoded = Encoded()
        pending: list[str] = [""]
        for fragment in shape:
            if isinstance(fragment, int):
                head, *tail = self._unspecial(texts[fragment])
                pending[-1] += head
                pending += tail
            elif fragment in self._placeholders:
                self._append_words(encoded, pending)
                pending = [""]
                show(encoded, next(images), fragment)
            else:
                pending[-1] += fragment
        self._append_words(encoded, pending)
        return encoded

    def picture(self, image: Image, recipe: str, placeholder: str) -> Picture:
        """Tokens and tensors of a picture, kept for the next question on it."""
        key = (image.sha256, recipe, placeholder)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        made = self._look(self._read(image, recipe), placeholder)
        self._kept[key] = made
        self._kept_size += made.size
        while self._kept_size > _KEPT_BYTES and len(self._kept) > 1:
            self._kept_size -= self._kept.popitem(last=False)[1].size
        return made

    def _look(self, data: bytes, placeholder: str) -> Picture:
        import PIL.Image
        import torch

        with PIL.Image.open(io.BytesIO(data)) as opened:
            picture = opened.convert("RGB")
        made: Any = self._processor(
            text=[placeholder], images=[picture], return_tensors="pt", add_special_tokens=False, padding=False
        )
        ids = tuple(made["input_ids"][0].tolist())
        tracks: dict[str, tuple[int, ...]] = {}
        tensors: dict[str, torch.Tensor] = {}
        for name, value in made.items():
            if not isinstance(value, torch.Tensor) or name in ("input_ids", "attention_mask"):
                continue
            if tuple(value.shape) == (1, len(ids)) and "token_type" in name:
                tracks[name] = tuple(value[0].tolist())
            else:
                tensors[name] = value
        return Picture(ids, tracks, tensors)

    def _append_picture(self, encoded: Encoded, picture: Picture) -> None:
        for name, track in picture.tracks.items():
            row = encoded.tracks.setdefault(name, [0] * len(encoded.ids))
            row += [0] * (len(encoded.ids) - len(row)) + list(track)
        encoded.ids += picture.ids
        encoded.image_tokens += len(picture.ids)
        encoded.pictures.append(picture)

    def _append_words(self, encoded: Encoded, pieces: Sequence[str]) -> None:
        for piece in pieces:
            if piece or not encoded.ids:
                encoded.ids += self._words(piece, not encoded.ids)

    def _unspecial(self, text: str) -> list[str]:
        """Cut a text inside each special token that is written out in it, so that no piece holds a whole one."""
        pieces: list[str] = []
        while found := self._literal.search(text):
            cut = found.start() + 1
            pieces.append(text[:cut])
            text = text[cut:]
        return [*pieces, text]

    def _tokenise(self, text: str, first: bool) -> tuple[int, ...]:
        tokenizer = self.tokenizer
        if first:
            begins = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
            ids = list(tokenizer(text, add_special_tokens=not begins)["input_ids"])
            while len(ids) > 1 and ids[-1] == tokenizer.eos_token_id and not text.endswith(tokenizer.eos_token):
                ids.pop()  # some tokenizers end every text; the prompt goes on
            return tuple(ids)
        # Tokenised behind a special token, as it stands in the prompt: alone, some tokenizers put a space before it.
        lead = self._placeholders[-1] if self._placeholders else (tokenizer.bos_token or "")
        ids = list(tokenizer(lead + text, add_special_tokens=False)["input_ids"])
        return tuple(ids[len(tokenizer(lead, add_special_tokens=False)["input_ids"]) :])

    def _render(self, system: bool, pictures: tuple[bool, ...]) -> tuple[str | int, ...]:
        """The template as fragments: text, a placeholder, or the number of a text (0 is the system message)."""
        content: list[dict[str, str]] = [
            {"type": "image"} if picture else {"type": "text", "text": f"\ue000{number + 1}\ue001"}
            for number, picture in enumerate(pictures)
        ]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if system:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": "\ue0000\ue001"}]})
        rendered = self._apply(messages)
        if system and "\ue0000\ue001" not in rendered:  # a template without system messages: it leads the user's
            head = {"type": "text", "text": "\ue0000\ue001\n\n"}
            rendered = self._apply([{"role": "user", "content": [head, *content]}])
        self._placeholders = [name for name in self._placeholders if name in rendered] or self._placeholders
        split = re.compile("(" + "|".join([*map(re.escape, self._placeholders), "\ue000[0-9]+\ue001"]) + ")")
        fragments = [fragment for fragment in split.split(rendered) if fragment]
        shown = sum(fragment in self._placeholders for fragment in fragments)
        spoken = {int(found.group(1)) for fragment in fragments if (found := _MARK.fullmatch(fragment))}
        wanted = {number + 1 for number, picture in enumerate(pictures) if not picture} | ({0} if system else set())
        if shown != sum(pictures) or spoken != wanted:
            raise ModelUnavailable(
                f"the chat template shows {shown} of {sum(pictures)} pictures and {len(spoken)} of {len(wanted)} "
                'texts; this checkpoint needs a server that knows it (use = "openai")'
            )
        return tuple(
            int(found.group(1)) if (found := _MARK.fullmatch(fragment)) else fragment for fragment in fragments
        )

    def _apply(self, messages: list[dict[str, Any]]) -> str:
        import jinja2

        owner = self._processor if getattr(self._processor, "chat_template", None) else self.tokenizer
        try:
            return str(owner.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except jinja2.TemplateError as problem:
            if messages[0]["role"] == "system":
                return ""
            raise ModelUnavailable(f"the checkpoint's chat template cannot be used: {problem}") from None


def special_tokens(tokenizer: Any, placeholders: Sequence[str]) -> dict[str, int]:
    """Tokens that are no text: all special tokens, and what stands for pictures and videos, with their ids."""
    words = {str(word) for word in tokenizer.all_special_tokens} | set(placeholders)
    for word, number in tokenizer.get_added_vocab().items():
        entry = tokenizer.added_tokens_decoder.get(number)
        if getattr(entry, "special", False) or re.search(r"image|img|video|vision", word):
            words.add(word)
    ids: dict[str, int] = {}
    for word in words:
        number = tokenizer.convert_tokens_to_ids(word)
        if (
            isinstance(number, int)
            and number >= 0
            and (number != tokenizer.unk_token_id or word == tokenizer.unk_token)
        ):
            ids[word] = number
    return ids
