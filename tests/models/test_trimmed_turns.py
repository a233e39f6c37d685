"""Blanks that a chat template takes off a turn are in no prompt and no answer; those that it keeps are."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, cast

import PIL.Image
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import odd_processors

from vlfeedback.models._prompts import Encoder
from vlfeedback.models._turns import Edges, edges
from vlfeedback.records import Image, Part, Request, Sampling
from vlfeedback.train._tokens import Wording

SHOWN = Image("wide", "toy:wide.png", 64, 32)
SAID = (" a blank first", "line one\nline two\n", "\n\n  both ends \t\n", "none", "\n", "")

PARTS = "{% for c in m['content'] %}{% if c['type'] == 'image' %}PICTURE{% else %}{{ TEXT }}{% endif %}{% endfor %}"
TURN = "{{ '<|im_start|>' + m['role'] + '\n' }}" + PARTS + "{{ '<|im_end|>\n' }}"
HEADER = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
WHOLE = (  # the turn is put together first and trimmed then, as templates for words do
    "{% for m in messages %}{% set ns = namespace(all='') %}{% for c in m['content'] %}"
    "{% set ns.all = ns.all + ('PICTURE' if c['type'] == 'image' else c['text']) %}{% endfor %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + (ns.all | trim) + '<|im_end|>\n' }}{% endfor %}" + HEADER
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}TURN{% endfor %}"
)


def turns(text: str) -> str:
    return "{% for m in messages %}" + TURN.replace("TEXT", text) + "{% endfor %}" + HEADER


CHATS = {
    "gemma": turns("c['text'] | trim"),
    "strip": turns("c['text'].strip()"),
    "qwen thinking": turns("c['text'].lstrip('\n')"),
    "right": turns("c['text'].rstrip()"),
    "nothing": turns("c['text']"),
    "whole turn": WHOLE,
    "no system": NO_SYSTEM.replace("TURN", TURN.replace("TEXT", "c['text'] | trim")) + HEADER,
}


@pytest.fixture(params=["aria", "idefics2"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A processor with a template: one is read in pieces, the other as a whole. Parts for videos need torchvision."""
    from transformers.processing_utils import ProcessorMixin

    def unchecked(self: Any, name: str, argument: Any) -> None:
        del self, name, argument

    monkeypatch.setattr(ProcessorMixin, "check_argument_for_proper_class", unchecked)
    place = {"aria": "<|img|>", "idefics2": "<image>"}[request.param]

    def made(chat: str) -> Any:
        processor = getattr(odd_processors, request.param)()
        processor.chat_template = CHATS[chat].replace("PICTURE", place)
        return processor

    return made


def read(image: Image, recipe: str) -> bytes:
    del image, recipe
    data = io.BytesIO()
    PIL.Image.new("RGB", (64, 32), (200, 90, 30)).save(data, "PNG")
    return data.getvalue()


def own(processor: Any, talk: list[dict[str, Any]], shown: int, header: bool) -> list[int]:
    """Ids that the processor makes of a conversation in its own template."""
    text = processor.apply_chat_template(talk, tokenize=False, add_generation_prompt=header)
    images = [[PIL.Image.open(io.BytesIO(read(SHOWN, "")))] * shown] if shown else None
    return processor(text=[text], images=images, return_tensors="pt")["input_ids"][0].tolist()


def part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


@pytest.mark.parametrize("chat", CHATS)
def test_a_conversation_is_what_the_template_leaves_of_it(make: Callable[[str], Any], chat: str) -> None:
    processor = make(chat)
    wording = Wording(processor, cast("Any", read), frozenset())
    for said in SAID:
        for asked in ("what is there?", "\n what is there? \n"):
            user = {"role": "user", "content": [{"type": "image"}, part(asked)]}
            whole = own(processor, [user, {"role": "assistant", "content": [part(said)]}], 1, header=False)
            made = [*wording.prompt(asked, (SHOWN,)).ids.tolist(), *wording.response(said).tolist()]
            text = processor.tokenizer.decode(made)
            assert text + "\n" == processor.tokenizer.decode(whole), "a line ends behind the turn"
            # Line ends that stay grow together with the header's, whose own the model was given.
            assert made == whole[: len(made)] or (said.startswith("\n") and chat in ("right", "nothing")), text


@pytest.mark.parametrize("chat", CHATS)
def test_what_a_local_model_is_asked_is_what_the_template_leaves_of_it(make: Callable[[str], Any], chat: str) -> None:
    """Several texts in a turn, and a system message: each loses the blanks that it loses in the template."""
    processor = make(chat)
    first, last, above = " Look:\n", "\n what is there? ", "\nYou are a helpful assistant. \n"
    parts = (Part(text=first), Part(image=SHOWN), Part(text=last))
    user = {"role": "user", "content": [part(first), {"type": "image"}, part(last)]}
    encoder = Encoder(processor, read)
    assert encoder.encode(Request("", parts, Sampling())).ids == own(processor, [user], 1, header=True)
    system = {"role": "system", "content": [part(above)]}
    talk: list[dict[str, Any]] = [system, user]
    if chat == "no system":
        talk = [{"role": "user", "content": [part(above + "\n\n"), *user["content"]]}]
    assert encoder.encode(Request(above, parts, Sampling())).ids == own(processor, talk, 1, header=True)


def test_an_edge_is_told_letter_by_letter() -> None:
    assert edges(lambda text: f"<{text.strip()}>", "X") == Edges(None, None)
    assert edges(lambda text: f"<\n{text}\n>", "X") == Edges("", "")
    assert edges(lambda text: f"<\n{text.lstrip(chr(10))}>", "X") == Edges("\n", "")
    assert edges(lambda text: f" {text.rstrip(' ')} ", "X") == Edges("", " ")
    assert edges(lambda _: "a template that shows no such text", "X") == Edges("", "")
    assert Edges(None, "\n").cut("\u00a0 said \n\n") == "said "
