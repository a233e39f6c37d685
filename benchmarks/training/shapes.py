"""A LLaVA-shaped random model and preference data on disk, for both sides of the comparison.

Words are single tokens, so that lengths are exact: a prompt is 256 image tokens, the template and its words; a response
is its words and the end token.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

IMAGE_TOKENS = 256
RESPONSES = 4
CHAT = (
    "{% for message in messages %}{% if message.role == 'user' %}user {% for part in message.content %}"
    "{% if part.type == 'image' %}<image> {% else %}{{ part.text }}{% endif %}{% endfor %}"
    "{% else %} assistant {{ message.content[0].text }} </s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} assistant{% endif %}"
)
TOWER = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Size:
    """Widths and depths of a LLaVA; `tower` of its vision tower."""

    hidden: int
    inner: int
    layers: int
    heads: int
    tower: tuple[int, int, int, int]


SIZES = {
    "small": Size(512, 1376, 6, 8, (256, 1024, 6, 4)),
    "2b": Size(2048, 5504, 32, 16, (1024, 4096, 24, 16)),
    "7b": Size(4096, 11008, 32, 32, (1024, 4096, 24, 16)),
}
"""The first for processors; the others, in bf16, for one GPU: 2.1 and 7.1 billion weights with CLIP-L's tower."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one comparison.

    Attributes:
        vocabulary: Tokens.
        prompt: Tokens of the prompt with its picture, about P.
        reply: Tokens of each response with its end token, R.
        instructions: How many, each with a picture of its own and four responses.
        size: Of the model, a name in `SIZES`.
    """

    vocabulary: int
    prompt: int
    reply: int
    instructions: int
    size: str = "small"


def write_world(folder: Path, shape: Shape, seed: int = 0) -> None:
    """Write `model/` (weights, processor), `pictures/`, `data.jsonl` (prompt, picture, replies, best first)."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_model(folder / "model", shape.vocabulary, SIZES[shape.size], seed)
    rng = random.Random(seed)
    (folder / "pictures").mkdir(exist_ok=True)
    with (folder / "data.jsonl").open("w", encoding="utf-8") as file:
        for number in range(shape.instructions):
            name = f"{number}.jpg"
            _draw(folder / "pictures" / name, rng)
            words = shape.prompt - IMAGE_TOKENS - 2  # the two names of the template
            row = {
                "image": name,
                "prompt": _words(rng, words, shape.vocabulary),
                "replies": [_words(rng, shape.reply - 1, shape.vocabulary) for _ in range(RESPONSES)],
            }
            file.write(json.dumps(row) + "\n")
    (folder / "shape.json").write_text(json.dumps(asdict(shape)), encoding="utf-8")


def _words(rng: random.Random, count: int, vocabulary: int) -> str:
    return " ".join(f"w{rng.randrange(vocabulary - len(SPECIAL))}" for _ in range(count))


def _draw(path: Path, rng: random.Random) -> None:
    """A photograph's size with something in it."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (640, 480), tuple(rng.randrange(256) for _ in range(3)))
    pen = ImageDraw.Draw(picture)
    for _ in range(30):
        x, y = rng.randrange(600), rng.randrange(440)
        pen.ellipse((x, y, x + 40, y + 40), fill=tuple(rng.randrange(256) for _ in range(3)))
    picture.save(path, quality=90)


def _write_model(folder: Path, vocabulary: int, size: Size, seed: int) -> None:
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
    )

    words = {word: n for n, word in enumerate([*SPECIAL, *(f"w{n}" for n in range(vocabulary - len(SPECIAL)))])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    images = CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=14, vision_feature_select_strategy="default", chat_template=CHAT,
        num_additional_image_tokens=1,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            **dict(zip(TOWER, size.tower, strict=True)), image_size=224, patch_size=14,
        ),
        text_config=LlamaConfig(
            vocab_size=vocabulary, hidden_size=size.hidden, intermediate_size=size.inner,
            num_hidden_layers=size.layers, num_attention_heads=size.heads, num_key_value_heads=size.heads,
            max_position_embeddings=4096, bos_token_id=2, eos_token_id=3, pad_token_id=0,
        ),
        image_token_id=4, vision_feature_layer=-2,  # pyright: ignore[reportCallIssue]
        vision_feature_select_strategy="default",
    )  # fmt: skip
    torch.manual_seed(seed)
    large = size is not SIZES["small"]
    with torch.device("cuda" if large and torch.cuda.is_available() else "cpu"):  # minutes on a processor
        model = LlavaForConditionalGeneration(config)
    if large:
        torch.nn.Module.to(model, torch.bfloat16)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
