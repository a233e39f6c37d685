"""Tiny random vision-language models in stock classes, written to a folder as a checkpoint would be."""

from __future__ import annotations

from pathlib import Path

WORDS = """
what is this there a an the red green blue circle square triangle in on picture yes no how many are do you see one two
three four left right top bottom describe color of says USER: ASSISTANT: ? . , : image < > |
""".split()  # noqa: SIM905
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "<image>"]
CHAT = (
    "{% for message in messages %}{% if message.role == 'system' %}{{ message.content[0].text + ' ' }}{% else %}"
    "USER: {% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)


def _tokenizer(special: list[str], chat: str):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(33, 127)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys([*special, *WORDS, *letters, "Ġ", "Ċ"]))}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=special[1]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=special[0], unk_token=special[1], bos_token=special[2], eos_token=special[3],
        additional_special_tokens=special[4:],
    )  # fmt: skip
    tokenizer.chat_template = chat
    return tokenizer


def write_llava(folder: Path, seed: int = 0, *, width: int = 32, layers: int = 2, text_width: int = 48) -> Path:
    """A LLaVA with 9 image tokens a picture (48 pixels, 16-pixel patches) and a letter-level tokenizer."""
    import torch
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )  # fmt: skip

    tokenizer = _tokenizer(SPECIAL, CHAT)
    image_processor = CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})
    processor = LlavaProcessor(
        image_processor, tokenizer, patch_size=16, vision_feature_select_strategy="default", chat_template=CHAT,
        num_additional_image_tokens=1,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=4, image_size=48,
            patch_size=16,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=text_width, intermediate_size=2 * text_width,
            num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512,
            bos_token_id=2, eos_token_id=3, pad_token_id=0,
        ),
        image_token_index=4, vision_feature_layer=-1, vision_feature_select_strategy="default",
    )  # fmt: skip
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)  # larger weights: another picture or prompt gives clearly another distribution
    return _save(folder, model, processor)


def write_llava_for_vllm(folder: Path, seed: int = 0) -> Path:
    """The same with heads that vLLM's attention knows, and weights named as released checkpoints name them."""
    from safetensors.torch import load_file, save_file

    path = write_llava(folder, seed, width=64, text_width=128) / "model.safetensors"
    named = {name.replace("vision_tower.", "vision_tower.vision_model."): one for name, one in load_file(path).items()}
    save_file(named, path, metadata={"format": "pt"})
    return folder


def write_qwen2_vl(folder: Path, seed: int = 0) -> Path:
    """A Qwen2-VL with 28-pixel image tokens, which needs its grid and its three-axis positions."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    vision = {"depth": 1, "embed_dim": 32, "hidden_size": 48, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14}
    return _write_qwen(folder, seed, Qwen2VLConfig, Qwen2VLForConditionalGeneration, vision)


def write_qwen2_5_vl(folder: Path, seed: int = 0) -> Path:
    """A Qwen2.5-VL of the same kind."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 48, "num_heads": 2, "patch_size": 14,
        "window_size": 56, "fullatt_block_indexes": [1],
    }  # fmt: skip
    return _write_qwen(folder, seed, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, vision)


def _write_qwen(folder: Path, seed: int, settings, family, vision) -> Path:
    import torch
    from transformers import Qwen2VLImageProcessorPil

    special = [
        "<pad>",
        "<unk>",
        "<s>",
        "<|im_end|>",
        "<|image_pad|>",
        "<|video_pad|>",
        "<|vision_start|>",
        "<|vision_end|>",
    ]
    chat = CHAT.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
    tokenizer = _tokenizer(special, chat)
    image_processor = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=28 * 28 * 16)
    config = settings(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 2,
            "eos_token_id": 3, "pad_token_id": 0,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 2, 2], "rope_theta": 10000.0},
        },
        vision_config=vision, image_token_id=4, video_token_id=5, vision_start_token_id=6, vision_end_token_id=7,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = family(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image_processor.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(chat)
    return folder


def _save(folder: Path, model, processor) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
