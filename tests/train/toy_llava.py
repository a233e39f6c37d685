"""A tiny random LLaVA with a word-level tokenizer, pictures by colour, and groups made of words."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from PIL import Image as pillow

from vlfeedback import ids
from vlfeedback.records import Group, Image, Instruction, PreferencePair, Rating, Response, Split

TEXT = (
    "what is there a red green blue circle square and the sky yes no one two three it name says person I cannot not "
    "USER : ASSISTANT ? . , < > image / s see small big dog cat"
)
WORDS = tuple(TEXT.split())
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>")
CHAT = (
    "{% for message in messages %}{% if message.role == 'user' %}USER : {% for part in message.content %}"
    "{% if part.type == 'image' %}<image> {% else %}{{ part.text }}{% endif %}{% endfor %}"
    "{% else %} ASSISTANT : {{ message.content[0].text }} </s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT :{% endif %}"
)


def write_model(folder: Path, seed: int = 0, width: int = 32) -> Path:
    """Write weights and processor: CLIP tower with 9 patches, text model of 2 layers, about 40k parameters."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )  # fmt: skip

    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*SPECIAL, *WORDS]))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}), tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default", chat_template=CHAT, num_additional_image_tokens=1,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=24,
            patch_size=8,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, bos_token_id=2, eos_token_id=3,
            pad_token_id=0,
        ),
        image_token_id=4, vision_feature_layer=-1, vision_feature_select_strategy="default",
    )  # fmt: skip
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # other pictures and words give clearly other distributions
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


class Colours:
    """Pictures by colour; `open` is all that training asks of roots."""

    def __init__(self) -> None:
        self.bytes: dict[str, bytes] = {}
        self.opened = 0

    def picture(self, colour: tuple[int, int, int], size: tuple[int, int] = (24, 24)) -> Image:
        buffer = io.BytesIO()
        made = pillow.new("RGB", size, colour)
        made.putpixel((0, 0), (255, 255, 255))
        made.save(buffer, "PNG")
        data = buffer.getvalue()
        sha = hashlib.sha256(data).hexdigest()
        self.bytes[sha] = data
        return Image(sha, f"toy:{sha[:8]}.png", *size)

    def open(self, image: Image) -> bytes:
        self.opened += 1
        if image.sha256 not in self.bytes:
            from vlfeedback.errors import ImageError

            raise ImageError("missing_image", f"{image.uri} is not there")
        return self.bytes[image.sha256]


def group(
    prompt: str,
    replies: Sequence[str],
    scores: Sequence[int],
    images: Sequence[Image] = (),
    *,
    split: Split = "train",
    weight: float = 1.0,
) -> Group:
    """A group whose pairs are all pairs of different scores, chosen first."""
    name = ids.instruction_id(prompt, tuple(images))
    instruction = Instruction(name, prompt, tuple(images), "toy", split=split)
    responses = tuple(
        Response(ids.response_id(name, f"model-{n}", None, text), name, f"model-{n}", text, "stop")
        for n, text in enumerate(replies)
    )
    ratings = tuple(Rating(r.id, "Helpfulness", score) for r, score in zip(responses, scores, strict=True))
    pairs: list[PreferencePair] = []
    for (a, left), (b, right) in combinations(zip(responses, scores, strict=True), 2):
        if left != right:
            chosen, rejected = (a, b) if left > right else (b, a)
            made = ids.pair_id(chosen.id, rejected.id, "all_pairs")
            pairs.append(PreferencePair(made, name, chosen.id, rejected.id, abs(left - right), "all_pairs", weight))
    return Group(instruction, responses, ratings, tuple(pairs))


def groups(colours: Colours, count: int = 6, *, split: Split = "train", first: int = 0) -> list[Group]:
    """Groups with 6, 5, 1, 0 and 3 pairs in turn, on different pictures, with prompts and responses of many lengths."""
    replies = ["yes", "no , it is blue", "there is a red circle and a small dog .", "I cannot see it"]
    shapes = ((4, 3, 2, 1), (4, 3, 2, 2), (5, 1), (3, 3, 3, 3), (1, 2, 3))
    made: list[Group] = []
    for n in range(first, first + count):
        scores = shapes[n % len(shapes)]
        image = colours.picture((40 * n % 256, 90 * n % 256, 200 - 30 * n % 200))
        prompt = "what is there ?" + " and the sky" * (n % 3) + f" {WORDS[n % 10]}"
        made.append(group(prompt, replies[: len(scores)], scores, [image], split=split))
    return made


def told(of: Group) -> Group:
    """The same group without its picture, under an id of its own."""
    scores = [rating.score or 0 for rating in of.ratings]
    given = of.instruction
    return group(given.prompt, [response.text for response in of.responses], scores, split=given.split)


def naive_logp(model: Any, processor: Any, colours: Colours, of: Group, text: str) -> Any:
    """Log p of one response by a plain forward of one row, in float64 sums: no code of the package."""
    import torch

    pictures = [pillow.open(io.BytesIO(colours.bytes[image.sha256])).convert("RGB") for image in of.instruction.images]
    user = [{"type": "image"}] * len(pictures) + [{"type": "text", "text": of.instruction.prompt}]
    rendered = processor.apply_chat_template(
        [{"role": "user", "content": user}], tokenize=False, add_generation_prompt=True
    )
    inputs = processor(text=[rendered], images=[pictures], return_tensors="pt")
    reply = [*processor.tokenizer(text, add_special_tokens=False)["input_ids"], processor.tokenizer.eos_token_id]
    ids = torch.cat([inputs["input_ids"][0], torch.tensor(reply)])[None]
    logits = model(input_ids=ids, pixel_values=inputs["pixel_values"]).logits[0].float()
    start = inputs["input_ids"].shape[1]
    chosen = logits[start - 1 : -1].log_softmax(-1).gather(1, torch.tensor(reply)[:, None])
    return chosen.double().sum()
