"""Tiny vision-language models: stock `transformers` classes, about 0.9 million parameters, real pixels in, words out.

A CLIP tower whose 16-pixel patches are the cells of a scene, LLaVA's projector, a three-layer Llama on words. The chat
template ends with the style in which the model answers, so that one set of weights can be three differently mannered
models; folders load with `AutoProcessor` and `AutoModelForImageTextToText` and no code of ours.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlfeedback import progress
from vlfeedback.pocket import answers, scenes
from vlfeedback.pocket._forms import FORMS, YES_NO
from vlfeedback.pocket.answers import Style
from vlfeedback.pocket.questions import wording
from vlfeedback.pocket.scenes import GRID, PLACES, WIDTH, Badge, Character, Object, Scene, Sign, Thing

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast

BEGIN, END, PAD, UNKNOWN, PICTURE = "<s>", "</s>", "<pad>", "<unk>", "<image>"
STYLE_TOKENS: dict[Style, str] = {style: f"<{style}>" for style in answers.STYLES}
SPECIAL = (PAD, BEGIN, END, UNKNOWN, PICTURE, *STYLE_TOKENS.values())
IMAGE_TOKENS = GRID * GRID
CONTEXT = 160
MEAN, SPREAD = 0.95, 0.3
PHRASES = (
    YES_NO.strip(), "in the picture", "Is there a", "Is the number of", "Is the sum of the two numbers",
    "Is the difference of the two numbers", "Are there more", "How many", "What is the sum of the two numbers",
    "What is the difference of the two numbers", "that is true of the picture", "that is not true of the picture",
    answers.LOOKED.rstrip("."), "There is no", "There are more", "The number of", "The difference is", "The sum is",
    "I see", "in the", *PLACES,
)  # fmt: skip
"""What never varies is one token."""
LIST = "List the grid."
"""The lesson from which the tower learns to see: every cell in turn. Nobody asks it after school."""


def listing(scene: Scene) -> str:
    """Every cell of a scene in turn, its place first, with all there is to see in it."""
    return ", ".join(f"{place} {in_cell(scene.at(number))}" for number, place in enumerate(PLACES))


def in_cell(thing: Thing | None) -> str:
    """All there is to see in a cell, the words of badges and signs included."""
    match thing:
        case None:
            return "nothing"
        case Badge(name=name):
            return f"person {name.capitalize()}"
        case Sign(word=word):
            return f"sign {word.capitalize()}"
        case _:
            return answers.label(thing)


@cache
def vocabulary() -> tuple[str, ...]:
    """All tokens: the special ones, then every word and mark that the pocket world can write, in a fixed order."""
    texts = [*wording(), LIST, listing(Scene(())), "Name the object. Find the objects. nowhere"]
    everything: list[scenes.Thing] = [
        Object(0, shape, colour, size) for shape in scenes.SHAPES for colour in scenes.COLOURS for size in scenes.SIZES
    ]
    everything += [Character(0, text) for text in scenes.DIGITS + scenes.LETTERS]
    everything += [Badge(0, name) for name in scenes.NAMES] + [Sign(0, word) for word in scenes.ORDERS]
    for thing in everything:
        texts += [answers.describe([thing], style) for style in answers.STYLES]
        texts.append(listing(Scene((thing,))))
    texts += PLACES
    for form in FORMS:
        texts += [form.sentence.format(answer=word, shape=scenes.SHAPES[0], shapes="rings") for word in form.answers]
    texts += answers.phrases()
    splitter = _splitter()
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(text)}
    return (*SPECIAL, *sorted(words))


def _splitter() -> Any:
    """Words, marks and fixed phrases: a phrase that never varies is one token, which makes every text shorter."""
    from tokenizers import Regex, pre_tokenizers

    phrases = sorted(PHRASES, key=len, reverse=True)
    spaced = [re.escape("▁" + phrase.replace(" ", "▁")) for phrase in phrases]
    pieces = Regex("|".join([*spaced, r"▁?[^\W_]+", r"▁|[^\w▁]"]))
    metaspace = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    return pre_tokenizers.Sequence([metaspace, pre_tokenizers.Split(pieces, "isolated")])


def tokenizer() -> PreTrainedTokenizerFast:
    """Words as tokens; decoding what was encoded gives the same text again."""
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    words = vocabulary()
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=UNKNOWN))
    inner.pre_tokenizer = _splitter()
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    inner.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=BEGIN, eos_token=END, pad_token=PAD, unk_token=UNKNOWN,
        additional_special_tokens=[PICTURE, *STYLE_TOKENS.values()], padding_side="left", model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def processor(style: Style = "plain") -> LlavaProcessor:
    """Pictures and words to tensors, with a chat template that asks for answers in one style."""
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    pictures = CLIPImageProcessorPil(
        size={"height": WIDTH, "width": WIDTH}, crop_size={"height": WIDTH, "width": WIDTH}, do_center_crop=False,
        image_mean=[MEAN] * 3, image_std=[SPREAD] * 3, resample=4,
    )  # fmt: skip
    return LlavaProcessor(
        image_processor=pictures, tokenizer=tokenizer(), patch_size=scenes.CELL, image_token=PICTURE,
        vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=template(style),
    )  # fmt: skip


def template(style: Style) -> str:
    """Chat template: the picture, the words of the user, the style, the reply."""
    return (
        "{{ '" + BEGIN + "' }}{% for message in messages %}"
        "{% if message['role'] == 'assistant' %}"
        "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{{ '" + END + "' }}"
        "{% else %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}{{ '" + PICTURE + "' }}{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}"
        "{% if message['role'] == 'user' and (not loop.last or add_generation_prompt) %}"
        "{{ '" + STYLE_TOKENS[style] + "' }}{% endif %}"
        "{% endif %}{% endfor %}"
    )


def build(seed: int) -> LlavaForConditionalGeneration:
    """A model that has learned nothing yet; the same for the same seed, whatever the global generator is at."""
    import torch
    from transformers import CLIPVisionConfig, GenerationConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    words = vocabulary()
    numbers = {word: number for number, word in enumerate(words)}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=96, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4, image_size=WIDTH,
            patch_size=scenes.CELL, projection_dim=96,
        ),
        text_config=LlamaConfig(
            vocab_size=len(words), hidden_size=128, intermediate_size=384, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=4, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
            bos_token_id=numbers[BEGIN], eos_token_id=numbers[END], pad_token_id=numbers[PAD],
        ),
        image_token_index=numbers[PICTURE], image_seq_length=IMAGE_TOKENS, vision_feature_layer=-1,
        vision_feature_select_strategy="default", tie_word_embeddings=True,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
        _start(model)
    model.generation_config = GenerationConfig(
        bos_token_id=numbers[BEGIN], eos_token_id=numbers[END], pad_token_id=numbers[PAD], do_sample=False,
        max_new_tokens=96, suppress_tokens=[numbers[word] for word in SPECIAL if word != END],
    )  # fmt: skip
    return model


def _start(model: LlavaForConditionalGeneration) -> None:
    """Larger first weights than the classes' own, which learn to see in half the steps.

    Measured on the listing lesson, 500 steps of 16 pictures: with CLIP's own 0.02 the place of a patch is hidden behind
    its content, and the loss stood at 0.53 nats per token; with these at 0.09.
    """
    import torch

    for name, weight in model.named_parameters():
        if name.endswith("position_embedding.weight"):
            torch.nn.init.normal_(weight, std=1.0)
        elif name.endswith("patch_embedding.weight"):
            weight.data.mul_(6)
        elif weight.dim() == 2:
            weight.data.mul_(2)


def save(model: LlavaForConditionalGeneration, folder: Path, style: Style) -> None:
    """Write a folder that stock `transformers` loads."""
    with progress.quiet_transformers():
        model.save_pretrained(folder)
    processor(style).save_pretrained(folder)
