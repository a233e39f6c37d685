"""Questions with one, two and no pictures in one batch get what the model makes of its own processor's prompts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import PIL.Image
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import families  # noqa: E402
import odd_processors  # noqa: E402
import toy_llava  # noqa: E402

from vlfeedback.models._batches import _collate  # noqa: E402  # pyright: ignore[reportPrivateUsage]
from vlfeedback.models._prompts import Encoder  # noqa: E402
from vlfeedback.records import Image, Part, Request, Sampling  # noqa: E402
from vlfeedback.train import Recipe  # noqa: E402
from vlfeedback.train._chosen import chosen_layout  # noqa: E402
from vlfeedback.train._collate import Encoded, Encoder as GroupEncoder, collate  # noqa: E402
from vlfeedback.train._scoring import Scorer  # noqa: E402
from vlfeedback.train._tokens import Wording  # noqa: E402

SIZES = {"wide": (64, 32), "high": (32, 64), "flat": (64, 20)}
TOWER = {**families.TOWER, "image_size": 32}


def onevision(tokens: Any) -> Any:
    return transformers.LlavaOnevisionConfig(
        vision_config=families.SIGLIP, text_config={**families.QWEN, "vocab_size": len(tokens)},
        image_token_id=tokens.convert_tokens_to_ids("<image>"), image_grid_pinpoints=[[24, 48], [48, 24], [48, 48]],
        video_token_id=tokens.convert_tokens_to_ids("<video>"), vision_feature_layer=-1,
    )  # fmt: skip


def idefics2(tokens: Any) -> Any:
    return transformers.Idefics2Config(
        vision_config=TOWER,
        text_config={"model_type": "mistral", **families.TEXT, "vocab_size": len(tokens), "sliding_window": None},
        perceiver_config={"resampler_n_latents": 3, "resampler_depth": 1, "resampler_n_heads": 2,
                          "resampler_head_dim": 8, "num_key_value_heads": 1, "hidden_size": 32},
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
    )  # fmt: skip


def ovis2(tokens: Any) -> Any:
    atom, *others = (f"<IMG_{part}>" for part in ("ATOM", "START", "GRID", "COL", "ROW", "END"))
    return transformers.Ovis2Config(
        vision_config={**TOWER, "hidden_stride": 2, "vocab_size": 24, "num_visual_indicator_tokens": 5},
        text_config={**families.QWEN, "vocab_size": len(tokens)}, hidden_size=32, vocab_size=len(tokens),
        image_token_id=tokens.convert_tokens_to_ids(atom),
        visual_indicator_token_ids=tokens.convert_tokens_to_ids(others),
    )  # fmt: skip


CONFIGS = {
    "llava_onevision": (onevision, "LlavaOnevision"), "idefics2": (idefics2, "Idefics2"), "ovis2": (ovis2, "Ovis2")
}  # fmt: skip
ASKED = (("what is there?", ["wide"]), ("is it so?", ["high", "flat"]), ("and what?", []), ("what?", ["flat"]))


def picture(name: str) -> PIL.Image.Image:
    shade = PIL.Image.linear_gradient("L").resize(SIZES[name])
    return PIL.Image.merge("RGB", [shade, shade.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT), shade])


class Bytes:
    """Bytes of pictures, none of which was only named."""

    def __call__(self, image: Image, recipe: str) -> bytes:
        return read(image, recipe)

    def content(self, image: Image) -> str:
        del image
        return ""


def read(image: Image, recipe: str) -> bytes:
    data = io.BytesIO()
    picture(image.sha256).save(data, "PNG")
    return data.getvalue()


@pytest.fixture(params=["llava_onevision", "idefics2", "ovis2"])
def made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """A processor and a random model of its family."""
    from transformers.processing_utils import ProcessorMixin

    def unchecked(self: Any, name: str, argument: Any) -> None:
        del self, name, argument

    monkeypatch.setattr(ProcessorMixin, "check_argument_for_proper_class", unchecked)
    processor = getattr(odd_processors, request.param)()
    config, kind = CONFIGS[request.param]
    if kind == "Idefics2":
        processor.image_processor.do_image_splitting = False
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config(processor.tokenizer)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return processor, model


def own(processor: Any, words: str, shown: Sequence[str]) -> Any:
    """One prompt as the processor makes it."""
    turns = [{"role": "user", "content": [*[{"type": "image"}] * len(shown), {"type": "text", "text": words}]}]
    text = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    images = [[picture(one) for one in shown]] if shown else None
    return processor(text=[text], images=images, return_tensors="pt")


def images_of(shown: Sequence[str]) -> tuple[Image, ...]:
    return tuple(Image(one, "toy:x", *SIZES[one]) for one in shown)


def test_a_batch_of_questions_is_what_each_is_alone(made: tuple[Any, Any]) -> None:
    processor, model = made
    encoder = Encoder(processor, read)
    encoded = [
        encoder.encode(Request("", (*(Part(image=one) for one in images_of(shown)), Part(text=words)), Sampling()))
        for words, shown in ASKED
    ]
    with torch.no_grad():
        together = model(**_collate(cast("Any", SimpleNamespace(model=model)), encoded)).logits[:, -1].log_softmax(-1)
        for row, (words, shown) in enumerate(ASKED):
            alone = model(**own(processor, words, shown)).logits[0, -1].log_softmax(-1)
            assert torch.allclose(together[row], alone, atol=1e-4), shown


def test_a_training_batch_is_what_each_response_is_alone(made: tuple[Any, Any]) -> None:
    processor, model = made
    image_token = model.config.image_token_id
    encoder = GroupEncoder(Wording(processor, cast("Any", Bytes()), frozenset(), image_token), 3000)
    said, scores = ("Yes", "there is a dog", "no"), (3, 2, 1)
    groups = [toy_llava.group(words, said, scores, images_of(shown)) for words, shown in ASKED]
    encoded = [one for group in groups for one in encoder.encode(group) if isinstance(one, Encoded)]
    assert len(encoded) == len(ASKED)
    recipe = Recipe(model="", dtype="fp32")
    score = Scorer(model, recipe, torch.device("cpu"))
    layout = chosen_layout(model, processor, encoded, encoder, score, recipe).layout
    found = score.tokens(collate(encoded, layout=layout, pictures=encoder.pictures))
    expected: list[float] = []
    for (words, shown), group in zip(ASKED, encoded, strict=True):
        for response in group.responses:
            fields = dict(own(processor, words, shown))
            ids = torch.from_numpy(response.astype("int64"))
            start = fields["input_ids"].shape[1]
            fields["input_ids"] = torch.cat([fields["input_ids"], ids[None]], 1)
            fields["attention_mask"] = torch.ones_like(fields["input_ids"])
            with torch.no_grad():
                logps = model(**fields).logits[0, start - 1 : -1].log_softmax(-1)
            expected += logps.gather(1, ids[:, None])[:, 0].tolist()
    assert found == pytest.approx(expected, abs=1e-4)
