"""Stock processors that look beyond one picture, around a tokenizer learned from a few lines; no weights."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

# How Qwen's tokenizers cut words: a bracket and the line end behind it are one piece.
_CUT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LINES = ["what is there in the picture?\nassistant\nuser\nYou are a helpful assistant.\n", "a>\n <b>\n dog\n\n"] * 50
CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}PICTURE{% else %}{{ c['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tokenizer(special: Sequence[str] = (), **named: str) -> Any:
    """Byte-level pieces; `named` are tokens that a processor asks for by attribute."""
    inner = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(Regex(_CUT), "isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    inner.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(_LINES, trainers.BpeTrainer(vocab_size=400, initial_alphabet=letters))
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<pad>", extra_special_tokens=named
    )
    added: list[Any] = [AddedToken(word, special=True, normalized=False) for word in ("<|im_start|>", *special)]
    made.add_tokens(added, special_tokens=True)
    return made


def _pictures(family: str, kind: str, **settings: Any) -> Any:
    module = import_module(f"transformers.models.{family}.image_processing_pil_{family}")
    return getattr(module, f"{kind}ImageProcessorPil")(**settings)


def llava_onevision() -> Any:
    """One picture is cut into tiles, two are not."""
    pictures = _pictures(
        "llava_onevision", "LlavaOnevision", size={"height": 24, "width": 24},
        image_grid_pinpoints=[[24, 48], [48, 24], [48, 48]],
    )  # fmt: skip
    return transformers.LlavaOnevisionProcessor(
        image_processor=pictures, tokenizer=tokenizer(["<image>", "<video>"]), video_processor=None,
        num_image_tokens=9, vision_feature_select_strategy="full", chat_template=CHAT.replace("PICTURE", "<image>\n"),
    )  # fmt: skip


def idefics2() -> Any:
    """A blank before the word after a picture, and one token between two pictures."""
    words = tokenizer(["<fake_token_around_image>", "<image>", "<end_of_utterance>"])
    pictures = _pictures("idefics2", "Idefics2", size={"shortest_edge": 20, "longest_edge": 32})
    return transformers.Idefics2Processor(
        image_processor=pictures, tokenizer=words, image_seq_len=3, chat_template=CHAT.replace("PICTURE", "<image>")
    )


def ovis2() -> Any:
    """`<image>` is no token: it is words that the processor finds."""
    parts = [f"<IMG_{part}>" for part in ("ATOM", "START", "GRID", "COL", "ROW", "END")]
    pictures = _pictures("ovis2", "Ovis2", size={"height": 32, "width": 32}, crop_to_patches=False)
    return transformers.Ovis2Processor(
        image_processor=pictures, tokenizer=tokenizer(parts), image_seq_length=4,
        chat_template=CHAT.replace("PICTURE", "<image>\n"),
    )  # fmt: skip


def janus() -> Any:
    """Begins every prompt with a text of its own."""
    words = tokenizer(
        image_token="<image_placeholder>", boi_token="<begin_of_image>", eoi_token="<end_of_image>", bos_token="<s>"
    )
    return transformers.JanusProcessor(
        image_processor=_pictures("janus", "Janus", size={"height": 24, "width": 24}), tokenizer=words,
        chat_template=CHAT.replace("PICTURE", "<image_placeholder>\n"), use_default_system_prompt=True,
        num_image_tokens=5,
    )  # fmt: skip


def hunyuan() -> Any:
    """Takes no placeholder alone."""
    words = tokenizer(image_token="<IMG>", image_start_token="<IMGS>", image_end_token="<IMGE>")
    return transformers.HunYuanVLProcessor(
        image_processor=_pictures("hunyuan_vl", "HunYuanVL"), tokenizer=words,
        chat_template=CHAT.replace("PICTURE", "<IMGS><IMG><IMGE>"),
    )  # fmt: skip


def minicpm() -> Any:
    """Numbers the pictures of a prompt."""
    parts = {
        f"{part}_{end}_token": f"<{part}_{end}>" for part in ("image", "slice", "image_id") for end in ("start", "end")
    }
    videos = SimpleNamespace(slice_mode=False, downsample_mode="16x", model_input_names=[])
    return transformers.MiniCPMV4_6Processor(
        image_processor=_pictures("minicpmv4_6", "MiniCPMV4_6"), video_processor=videos,
        tokenizer=tokenizer(image_token="<unk2>", video_token="<vid>", **parts),
        chat_template=CHAT.replace("PICTURE", "<unk2>"),
    )  # fmt: skip


def aria() -> Any:
    """Puts the same tokens for a picture wherever it stands."""
    return transformers.AriaProcessor(
        image_processor=_pictures("aria", "Aria", max_image_size=490, min_image_size=36),
        tokenizer=tokenizer(image_token="<|img|>"), size_conversion={490: 4, 980: 6},
        chat_template=CHAT.replace("PICTURE", "<|img|>"),
    )  # fmt: skip


def mllama() -> Any:
    """Says of every word which tiles it sees."""
    return transformers.MllamaProcessor(
        image_processor=_pictures("mllama", "Mllama", size={"height": 24, "width": 24}, max_image_tiles=2),
        tokenizer=tokenizer(["<|image|>", "<|python_tag|>"], bos_token="<s>"),
        chat_template="<s>" + CHAT.replace("PICTURE", "<|image|>"),
    )
