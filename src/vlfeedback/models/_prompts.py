"""A request as token ids and picture tensors, for local models with a chat template.

Built from fragments, because of two things that the one-call way gets wrong: special tokens written out in a prompt (a
literal `<image>`) must stay text, and the tokens of a picture and of a prompt are needed once, not once per call. Where
fragments do not make what the model's processor makes of a whole prompt, whole prompts are read (`_whole`).
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from vlfeedback.errors import ModelUnavailable
from vlfeedback.models._shown import REFUSALS, Picture as Picture, RefusedPicture, first_line, open_picture, read_fields
from vlfeedback.models._turns import Edges, edges, rendered
from vlfeedback.models._whole import QUESTIONS, Shape, Whole, alike, made_up, pattern_of, pieces_of
from vlfeedback.records import Image, Request

_MARK = re.compile("\ue000([0-9]+)\ue001")
_KEPT_BYTES = 512 * 2**20
# How processors say that they make nothing of a prompt.
_FAILURES = (*REFUSALS, TypeError, AttributeError, LookupError)


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
        self._literal = pattern_of(self.special)
        others = (getattr(processor, name, None) for name in ("video_token", "audio_token"))
        named = {*self.special, *self._placeholders, *(name for name in others if isinstance(name, str) and name)}
        self._shape = lru_cache(maxsize=1024)(self._render)
        self._edges = lru_cache(maxsize=1024)(self._trimmed)
        self._words = lru_cache(maxsize=65_536)(self._tokenise)
        self._whole = Whole(processor, self._words, named)
        self._in_one: dict[tuple[bool, ...], bool] = {}
        self._kept: OrderedDict[Hashable, Picture] = OrderedDict()
        self._kept_size = 0

    def encode(self, request: Request) -> Encoded:
        """Ids and tensors of one request.

        Raises:
            ImageError: a picture cannot be read, or the model's processor does not take it.
            ModelUnavailable: the processor makes nothing of such prompts.
        """
        kinds = tuple(part.image is not None for part in request.parts)
        key = (bool(request.system), *kinds)
        if key not in self._in_one:
            self._in_one[key] = self._needs_one_call(bool(request.system), kinds)
        if self._in_one[key]:
            return self._encode_whole(request)
        return self._walk(
            request,
            lambda encoded, image, placeholder: self._append_picture(
                encoded, self.picture(image, request.recipe, placeholder)
            ),
        )

    def outline(self, request: Request) -> list[int]:
        """Ids of one request with a single token for each picture, for an engine that puts the pictures in itself.

        Raises:
            ModelUnavailable: a picture's place is no token.
        """

        def show(encoded: Encoded, image: Image, placeholder: str) -> None:
            del image
            if placeholder not in self.special:
                raise ModelUnavailable(
                    f"{placeholder} is no token of this model's tokenizer, and an engine that is given tokens cannot "
                    'find it; use = "transformers", or a server (use = "openai")'
                )
            encoded.ids.append(self.special[placeholder])

        return self._walk(request, show).ids

    def unspeakable(self, ends: Iterable[int]) -> list[int]:
        """Tokens that no reply may hold: special ones and what stands for pictures, but for those that end it."""
        return sorted(set(self.special.values()) - set(ends))

    def _walk(self, request: Request, show: Callable[[Encoded, Image, str], None]) -> Encoded:
        """A request's words between its pictures; what a picture becomes is up to `show`."""
        shape = self._shape(bool(request.system), tuple(part.image is not None for part in request.parts))
        images = iter(request.images)
        return self._joined(shape, self._texts(request), lambda encoded, name: show(encoded, next(images), name))

    def _joined(self, shape: Shape, texts: Sequence[str], show: Callable[[Encoded, str], None]) -> Encoded:
        encoded = Encoded()
        pending: list[str] = [""]
        for fragment in shape:
            if isinstance(fragment, int):
                head, *tail = pieces_of(texts[fragment], self._literal)
                pending[-1] += head
                pending += tail
            elif fragment in self._placeholders:
                self._append_words(encoded, pending)
                pending = [""]
                show(encoded, fragment)
            else:
                pending[-1] += fragment
        self._append_words(encoded, pending)
        return encoded

    def _needs_one_call(self, system: bool, pictures: tuple[bool, ...]) -> bool:
        """Whether fragments make something else of prompts of this shape than the processor, on made-up questions."""
        shape = self._shape(system, pictures)
        shown = made_up(sum(pictures))
        kept: dict[tuple[int, str], Picture] = {}

        def pieces(texts: Sequence[str]) -> Encoded:
            left = iter(range(len(shown)))

            def show(encoded: Encoded, name: str) -> None:
                number = next(left)
                if (number, name) not in kept:
                    kept[number, name] = self._look(shown[number], name)
                self._append_picture(encoded, kept[number, name])

            return self._joined(shape, texts, show)

        for question in QUESTIONS:
            texts = [question] * (len(pictures) + 1)
            try:
                whole = self._whole(shape, texts, shown)
            except _FAILURES as problem:
                return self._without_truth(problem, lambda: pieces(texts))  # noqa: B023 - called at once
            if "cross_attention_mask" in whole.tensors:
                raise ModelUnavailable(
                    "this model looks at pictures through a mask over every word of prompt and reply "
                    "(cross_attention_mask), which is not made here: it cannot be trained with this version, and "
                    'answers through a server that knows it (use = "openai" or "vllm")'
                )
            try:
                made = pieces(texts)
            except _FAILURES:
                return True
            if not alike(made.ids, made.tracks, made.pictures, whole):
                return True
        return False

    def _without_truth(self, problem: Exception, pieces: Callable[[], Encoded]) -> bool:
        """A processor that takes no such prompt in one call, without pictures say: fragments, if it takes those."""
        try:
            pieces()
        except _FAILURES as other:
            raise ModelUnavailable(
                f"the model's processor cannot read a prompt of its own chat template: {first_line(problem)}; piece by "
                f'piece: {first_line(other)}. It needs a server that knows it (use = "openai")'
            ) from problem
        return False

    def _encode_whole(self, request: Request) -> Encoded:
        shape = self._shape(bool(request.system), tuple(part.image is not None for part in request.parts))
        texts, images = self._texts(request), request.images

        def make() -> Picture:
            shown = [open_picture(self._read(image, request.recipe), image.uri) for image in images]
            try:
                return self._whole(shape, texts, shown)
            except _FAILURES as problem:
                where = ", ".join(image.uri for image in images) or "a prompt"
                raise RefusedPicture(f"the model's processor does not take {where}: {first_line(problem)}") from problem

        made = self._once(("", *texts, request.recipe, *(image.sha256 for image in images)), make)
        words = self._walk(request, lambda encoded, image, placeholder: None)
        tracks = {name: list(row) for name, row in made.tracks.items()}
        pictures = [replace(made, ids=(), tracks={})] if made.tensors else []
        return Encoded(list(made.ids), tracks, pictures, max(0, len(made.ids) - len(words.ids)) if images else 0)

    def picture(self, image: Image, recipe: str, placeholder: str) -> Picture:
        """Tokens and tensors of a picture, kept for the next question on it."""

        def make() -> Picture:
            shown = open_picture(self._read(image, recipe), image.uri)
            try:
                return self._look(shown, placeholder)
            except REFUSALS as problem:
                raise RefusedPicture(
                    f"the model's processor does not take {image.uri}: {first_line(problem)}"
                ) from problem

        return self._once((image.sha256, recipe, placeholder), make)

    def _once(self, key: Hashable, make: Callable[[], Picture]) -> Picture:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        made = make()
        self._kept[key] = made
        self._kept_size += made.size
        while self._kept_size > _KEPT_BYTES and len(self._kept) > 1:
            self._kept_size -= self._kept.popitem(last=False)[1].size
        return made

    def _look(self, picture: Any, placeholder: str) -> Picture:
        return read_fields(
            self._processor(
                text=[placeholder], images=[picture], return_tensors="pt", add_special_tokens=False, padding=False
            )
        )

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

    def _tokenise(self, text: str, first: bool) -> tuple[int, ...]:
        tokenizer = self.tokenizer
        if first:
            begins = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
            ids = list(tokenizer(text, add_special_tokens=not begins)["input_ids"])
            while len(ids) > 1 and ids[-1] == tokenizer.eos_token_id and not text.endswith(tokenizer.eos_token):
                ids.pop()  # some tokenizers end every text; the prompt goes on
            return tuple(ids)
        # Tokenised behind a special token, as it stands in the prompt: alone, some tokenizers put a space before it.
        # A placeholder that is no token (Ovis2's) would grow together with the text.
        named = [name for name in reversed(self._placeholders) if name in self.special]
        lead = named[0] if named else (tokenizer.bos_token or "")
        ids = list(tokenizer(lead + text, add_special_tokens=False)["input_ids"])
        return tuple(ids[len(tokenizer(lead, add_special_tokens=False)["input_ids"]) :])

    def _render(self, system: bool, pictures: tuple[bool, ...]) -> tuple[str | int, ...]:
        """The template as fragments: text, a placeholder, or the number of a text (0 is the system message)."""
        written = self._written(system, pictures)
        self._placeholders = [name for name in self._placeholders if name in written] or self._placeholders
        split = re.compile("(" + "|".join([*map(re.escape, self._placeholders), "\ue000[0-9]+\ue001"]) + ")")
        fragments = [fragment for fragment in split.split(written) if fragment]
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

    def _written(
        self, system: bool, pictures: tuple[bool, ...], texts: Mapping[int, str] = MappingProxyType({})
    ) -> str:
        """The template with a mark in the place of each text, but for texts that are given by their number."""
        content: list[dict[str, str]] = [
            {"type": "image"} if picture else {"type": "text", "text": texts.get(number, _mark(number))}
            for number, picture in enumerate(pictures, 1)
        ]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        above = texts.get(0, _mark(0))
        if system:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": above}]})
        written = self._apply(messages)
        if system and _mark(0) not in written:  # a template without system messages: it leads the user's
            head = {"type": "text", "text": above + "\n\n"}
            written = self._apply([{"role": "user", "content": [head, *content]}])
        return written

    def _trimmed(self, system: bool, pictures: tuple[bool, ...]) -> tuple[Edges, ...]:
        """What the template takes off the ends of each text, by its number."""

        def around(number: int) -> Edges:
            return edges(lambda text: self._written(system, pictures, {number: text}), _mark(number))

        shown = [not system, *pictures]
        return tuple(Edges() if unspoken else around(number) for number, unspoken in enumerate(shown))

    def _texts(self, request: Request) -> tuple[str, ...]:
        """What the numbers of a rendered template stand for, as the template writes it."""
        given = (request.system, *(part.text or "" for part in request.parts))
        ends = self._edges(bool(request.system), tuple(part.image is not None for part in request.parts))
        return tuple(end.cut(text) for end, text in zip(ends, given, strict=True))

    def _apply(self, messages: list[dict[str, Any]]) -> str:
        try:
            return rendered(self._processor, messages, header=True)
        except ModelUnavailable:
            if messages[0]["role"] == "system":
                return ""
            raise


def _mark(number: int) -> str:
    """Stands for a text while the template is taken apart."""
    return f"\ue000{number}\ue001"


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
