"""A prompt is what the model's own processor makes of it, also where it looks beyond one picture."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import PIL.Image
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import odd_processors  # noqa: E402

from vlfeedback.errors import ImageError, ModelUnavailable  # noqa: E402
from vlfeedback.models._prompts import Encoder  # noqa: E402
from vlfeedback.records import Image, Part, Request, Sampling  # noqa: E402
from vlfeedback.train._tokens import Wording  # noqa: E402

MAKERS = ("llava_onevision", "idefics2", "ovis2", "janus", "hunyuan", "minicpm", "aria")
SIZES = {"wide": (64, 32), "high": (32, 64)}
PICTURES = tuple(Image(name, f"toy:{name}.png", *size) for name, size in SIZES.items())


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Processors without the parts for videos, which need torchvision."""
    from transformers.processing_utils import ProcessorMixin

    def unchecked(self: Any, name: str, argument: Any) -> None:
        del self, name, argument

    monkeypatch.setattr(ProcessorMixin, "check_argument_for_proper_class", unchecked)
    return lambda name: getattr(odd_processors, name)()


def picture(name: str) -> PIL.Image.Image:
    return PIL.Image.new("RGB", SIZES[name], (200, 90 if name == "wide" else 10, 30))


class Read:
    """Bytes of the two pictures, counted."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, image: Image, recipe: str) -> bytes:
        self.times += 1
        data = io.BytesIO()
        picture(image.sha256).save(data, "PNG")
        return data.getvalue()


def own(processor: Any, words: str, shown: tuple[Image, ...]) -> dict[str, Any]:
    """What `processor.apply_chat_template(…, tokenize=True)` makes: one prompt, its pictures in a list."""
    content = [*[{"type": "image"}] * len(shown), {"type": "text", "text": words}]
    turns = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    images = [[picture(one.sha256) for one in shown]] if shown else None
    return processor(text=[text], images=images, return_tensors="pt")


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("name", MAKERS)
def test_prompts_are_those_of_the_models_own_processor(make: Callable[[str], Any], name: str, count: int) -> None:
    processor, shown = make(name), PICTURES[:count]
    wording = Wording(processor, Read(), frozenset())  # pyright: ignore[reportArgumentType]
    for words in ("what is there?", "\nwhat?", "(a) 1"):
        expected = own(processor, words, shown)
        made = wording.prompt(words, shown)
        assert made.ids.tolist() == expected["input_ids"][0].tolist()
        for track, values in made.per_token.items():
            assert track not in expected or values.tolist() == expected[track][0].tolist()
        for field, value in wording.pictures(words, shown).items():
            seen, wanted = value[value != 0], expected[field][expected[field] != 0]
            assert torch.equal(seen, wanted), field


@pytest.mark.parametrize("word", ["<image>", "<IMG_ATOM>", "<|im_end|>", "<video>", "<fake_token_around_image>"])
@pytest.mark.parametrize("name", ["llava_onevision", "idefics2", "ovis2", "janus"])
def test_control_tokens_in_a_whole_prompt_are_plain_text(make: Callable[[str], Any], name: str, word: str) -> None:
    processor = make(name)
    wording = Wording(processor, Read(), frozenset())  # pyright: ignore[reportArgumentType]
    control = set(wording._control.values())  # pyright: ignore[reportPrivateUsage]
    plain = wording.prompt("is it there?", PICTURES).ids.tolist()
    tricky = wording.prompt(f"is {word} there?", PICTURES).ids.tolist()
    assert sum(number in control for number in tricky) == sum(number in control for number in plain)
    assert f"is {word} there?" in processor.tokenizer.decode(tricky)


def test_an_even_processor_sees_a_picture_once(make: Callable[[str], Any]) -> None:
    read = Read()
    encoder = Encoder(make("aria"), read)
    for words in ("what is there?", "is it red?"):
        encoder.encode(request(words, PICTURES[:1]))
    assert read.times == 1


def request(words: str, shown: tuple[Image, ...]) -> Request:
    return Request("", (*(Part(image=one) for one in shown), Part(text=words)), Sampling())


def test_tokens_of_pictures_are_counted_in_whole_prompts(make: Callable[[str], Any]) -> None:
    encoder = Encoder(make("ovis2"), Read())
    assert encoder.encode(request("what?", PICTURES)).image_tokens == 2 * 7
    assert encoder.encode(request("what?", ())).image_tokens == 0


def refuse(processor: Any, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def preprocess(*_: object, **__: object) -> None:
        raise ValueError(why)

    monkeypatch.setattr(processor.image_processor, "preprocess", preprocess)


def test_a_processor_that_takes_its_own_prompts_in_no_way_is_refused(
    make: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(processor := make("aria"), "no such pictures", monkeypatch)
    with pytest.raises(ModelUnavailable, match=r"cannot read a prompt of its own.*no such pictures"):
        Encoder(processor, Read()).encode(request("what?", PICTURES))


def test_a_picture_that_a_whole_prompt_cannot_show_is_its_own_fault(
    make: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = make("idefics2")
    encoder = Encoder(processor, Read())
    encoder.encode(request("what?", PICTURES))
    refuse(processor, "too flat", monkeypatch)
    with pytest.raises(ImageError, match=r"does not take toy:wide.png, toy:high.png: too flat") as told:
        encoder.encode(request("what else?", PICTURES))
    assert told.value.reason == "bad_image"


def test_a_model_with_a_mask_from_words_to_pictures_is_refused_in_words(make: Callable[[str], Any]) -> None:
    encoder = Encoder(make("mllama"), Read())
    assert encoder.encode(request("what?", ())).ids
    with pytest.raises(ModelUnavailable, match=r"a mask over every word .*cannot be trained .*use = .openai"):
        encoder.encode(request("what?", PICTURES[:1]))


def test_an_engine_is_not_given_a_place_that_is_no_token(make: Callable[[str], Any]) -> None:
    encoder = Encoder(make("ovis2"), Read())
    assert encoder.outline(request("what?", ()))
    with pytest.raises(ModelUnavailable, match=r"<image> is no token .* use = .transformers"):
        encoder.outline(request("what?", PICTURES[:1]))
