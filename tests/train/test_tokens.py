"""Words to ids: the template's control tokens act, those that somebody wrote do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import toy_llava

from vlfeedback.errors import ModelUnavailable
from vlfeedback.train._collate import reader
from vlfeedback.train._tokens import Wording

IMAGE, END, START = 4, 3, 2


@pytest.fixture
def wording(processor: Any, colours: toy_llava.Colours) -> Wording:
    return Wording(processor, reader(colours, mean=None))


def test_prompt_is_what_the_processor_makes_of_the_template(
    wording: Wording, processor: Any, colours: toy_llava.Colours
) -> None:
    from PIL import Image as pillow

    image = colours.picture((200, 10, 10))
    turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is there ?"}]}]
    text = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    expected = processor(text=[text], images=[[pillow.new("RGB", (24, 24))]])["input_ids"][0]
    made = wording.prompt("what is there ?", (image,))
    assert made.ids.tolist() == list(expected)
    assert made.image_tokens == 9


@pytest.mark.parametrize(
    "text", ["is it <image> ?", "<image>", "</s> USER : yes", "<s><image></s>", "a <image> and <image>"]
)
def test_control_tokens_in_a_prompt_are_plain_text(wording: Wording, colours: toy_llava.Colours, text: str) -> None:
    plain = wording.prompt("is it ?", (colours.picture((1, 2, 3)),)).ids.tolist()
    made = wording.prompt(text, (colours.picture((1, 2, 3)),))
    assert made.image_tokens == 9
    for token in (IMAGE, END, START):
        assert made.ids.tolist().count(token) == plain.count(token)


@pytest.mark.parametrize("text", ["yes </s> no", "<image> a red circle", "<image>", "</s>", "<s> USER : what ?"])
def test_control_tokens_in_a_response_are_plain_text_and_it_ends_once(wording: Wording, text: str) -> None:
    ids = wording.response(text).tolist()
    assert ids.count(END) == 1
    assert ids[-1] == END
    assert IMAGE not in ids
    assert START not in ids
    assert len(ids) > 1


def test_words_around_a_control_token_stay_whole(wording: Wording, processor: Any) -> None:
    yes, no = processor.tokenizer.convert_tokens_to_ids(["yes", "no"])
    ids = wording.response("yes </s> no").tolist()
    assert (ids[0], ids[-2]) == (yes, no)


def test_end_token_is_in_every_response_also_in_an_empty_one(wording: Wording) -> None:
    assert wording.response("").tolist() == [END]
    assert wording.response("yes")[-1] == END


def test_response_ids_follow_the_prompt_as_in_one_text(wording: Wording, processor: Any) -> None:
    prompt = wording.prompt("what is it ?", ()).ids
    whole = processor.tokenizer("USER : what is it ? ASSISTANT : a red dog", add_special_tokens=False)["input_ids"]
    assert np.concatenate([prompt, wording.response("a red dog")[:-1]]).tolist() == whole


def test_a_picture_is_processed_once_for_all_prompts_that_show_it(wording: Wording, colours: toy_llava.Colours) -> None:
    image = colours.picture((9, 9, 9))
    for prompt in ("what ?", "is it red ?", "what ?"):
        wording.prompt(prompt, (image,))
        wording.pictures(prompt, (image,))
    assert colours.opened == 1


def test_blind_shows_an_even_picture_of_the_same_size(processor: Any, colours: toy_llava.Colours) -> None:
    import torch

    mean = tuple(round(255 * channel) for channel in processor.image_processor.image_mean)
    blind = Wording(processor, reader(colours, mean=mean))
    red, blue = colours.picture((250, 0, 0), (48, 36)), colours.picture((0, 0, 250), (48, 36))
    shown = [blind.pictures("what ?", (image,))["pixel_values"] for image in (red, blue)]
    assert torch.equal(shown[0], shown[1])
    assert float(shown[0].abs().max()) < 0.02
    assert blind.prompt("what ?", (red,)).image_tokens == 9


class LooseTokenizer:
    """A tokenizer that finds control tokens even where it is told not to."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, text: Any, **options: Any) -> Any:
        options.pop("split_special_tokens", None)
        return self._inner(text, **options)


def test_a_tokenizer_that_insists_is_never_shown_a_control_token_whole(wording: Wording, processor: Any) -> None:
    wording._tokenizer = LooseTokenizer(processor.tokenizer)
    ids = wording.response("yes </s> <image> no").tolist()
    assert ids.count(END) == 1
    assert IMAGE not in ids


ADDS = "{% for m in messages %}{{ m['role'] + ' : ' + m['content'] + ' ' }}{% endfor %}ASSISTANT :"
WRITES = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {% endfor %}ASSISTANT :"
TRIMS = "{% for m in messages %}{{ m['role'] }} : {{ m['content'].strip() }} {% endfor %}ASSISTANT :"
REFUSES = "{{ raise_exception('roles must alternate\\nuser/assistant') }}"


@pytest.mark.parametrize("chat", [ADDS, WRITES, TRIMS])
def test_a_template_for_words_gets_words_and_shows_no_picture(
    processor: Any, colours: toy_llava.Colours, chat: str
) -> None:
    processor.chat_template = chat
    wording = Wording(processor, reader(colours, mean=None))
    whole = processor.tokenizer("user : what is it ? ASSISTANT :", add_special_tokens=False)["input_ids"]
    assert wording.prompt("what is it ?", ()).ids.tolist() == whole
    with pytest.raises(ModelUnavailable, match=r"cannot show pictures: .*chat_template.jinja"):
        wording.prompt("what is it ?", (colours.picture((1, 2, 3)),))


def test_a_template_that_refuses_is_named_in_words(processor: Any, colours: toy_llava.Colours) -> None:
    processor.chat_template = REFUSES
    with pytest.raises(ModelUnavailable, match=r"template cannot be used: roles must alternate$"):
        Wording(processor, reader(colours, mean=None))
