"""Tiny random models of many families, pictures for them as tensors, and groups of token ids: no processor, no files.

Weights are random and larger than usual, so that another picture or word gives clearly another distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers

from vlfeedback.records import Image
from vlfeedback.train._collate import Encoded

VOCABULARY = 128
PICTURE, START, END = 4, 6, 7
FIRST_WORD = 10
Fields = Mapping[str, torch.Tensor]
Draw = Callable[[torch.Generator], Fields]

TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 2,
    "eos_token_id": 3, "pad_token_id": 0,
}  # fmt: skip
TOWER: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 24,
    "patch_size": 8,
}  # fmt: skip
AXES = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """How to build a model of a family.

    Attributes:
        name: As its users call it.
        model: Class in `transformers`.
        config: Class of its configuration.
        settings: Of the configuration.
        draw: Fields of one picture, dimension 0 as the processor lays it.
        tracks: Names of per-token fields of the prompt, 1 where a token stands for a picture.
        marked: Tokens before and after a picture, as in a stream of pictures and words.
        both_ways: Tokens of a prompt see each other; the fields of `tracks` are 0 there and 1 in responses.
    """

    name: str
    model: str
    config: str
    settings: Mapping[str, Any]
    draw: Draw
    tracks: tuple[str, ...] = ()
    marked: bool = False
    both_ways: bool = False


def pixels(*shape: int) -> Draw:
    """Pictures of one size."""
    return lambda random: {"pixel_values": torch.randn(1, *shape, generator=random)}


def tiles(random: torch.Generator) -> Fields:
    """A wide picture cut into two tiles beside the whole, as LLaVA-NeXT does."""
    return {
        "pixel_values": torch.randn(1, 3, 3, 24, 24, generator=random),
        "image_sizes": torch.tensor([[24, 48]]),
    }


def patches(edge: int, merge: int = 2, frames: int = 2) -> Draw:
    """A grid of patches in one dimension, as the Qwen family takes it; every picture has a size of its own."""

    def draw(random: torch.Generator) -> Fields:
        grid = [1, merge * int(torch.randint(1, 3, (1,), generator=random)), merge * 2]
        count = int(np.prod(grid))
        return {
            "pixel_values": torch.randn(count, 3 * frames * edge * edge, generator=random),
            "image_grid_thw": torch.tensor([grid]),
        }

    return draw


def split(random: torch.Generator) -> Fields:
    """One or two tiles beside the whole, padded with empty ones, as Idefics3 does."""
    shown = torch.randn(1, 3, 3, 32, 32, generator=random)
    shown[:, 2 + int(torch.randint(0, 2, (1,), generator=random)) :] = 0
    return {"pixel_values": shown, "pixel_attention_mask": torch.ones(1, 3, 32, 32, dtype=torch.long)}


LLAVA_TOWER = {"model_type": "clip_vision_model", **TOWER}
SIGLIP = {"model_type": "siglip_vision_model", **TOWER, "vision_use_head": False}
LLAMA = {"model_type": "llama", **TEXT}
QWEN = {"model_type": "qwen2", **TEXT}
STREAM = {"image_token_id": PICTURE, "video_token_id": 5, "vision_start_token_id": START, "vision_end_token_id": END}
FAMILIES = (
    Family(
        "LLaVA-1.5", "LlavaForConditionalGeneration", "LlavaConfig",
        {"vision_config": LLAVA_TOWER, "text_config": LLAMA, "image_token_id": PICTURE, "vision_feature_layer": -2},
        pixels(3, 24, 24),
    ),
    Family(
        "VipLLaVA", "VipLlavaForConditionalGeneration", "VipLlavaConfig",
        {"vision_config": LLAVA_TOWER, "text_config": LLAMA, "image_token_id": PICTURE,
         "vision_feature_layers": [-2, -1]},
        pixels(3, 24, 24),
    ),
    Family(
        "LLaVA-NeXT", "LlavaNextForConditionalGeneration", "LlavaNextConfig",
        {"vision_config": LLAVA_TOWER, "text_config": LLAMA, "image_token_id": PICTURE, "vision_feature_layer": -2,
         "image_grid_pinpoints": [[24, 48], [48, 24], [48, 48]]},
        tiles,
    ),
    Family(
        "LLaVA-OneVision", "LlavaOnevisionForConditionalGeneration", "LlavaOnevisionConfig",
        {"vision_config": SIGLIP, "text_config": QWEN, "image_token_id": PICTURE, "video_token_id": 5,
         "image_grid_pinpoints": [[24, 48], [48, 24], [48, 48]], "vision_feature_layer": -1},
        tiles,
    ),
    Family(
        "Qwen2-VL", "Qwen2VLForConditionalGeneration", "Qwen2VLConfig",
        {"text_config": {**TEXT, "rope_parameters": AXES},
         "vision_config": {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2,
                           "patch_size": 8}, **STREAM},
        patches(8), ("mm_token_type_ids",), marked=True,
    ),
    Family(
        "Qwen2.5-VL", "Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLConfig",
        {"text_config": {**TEXT, "rope_parameters": AXES},
         "vision_config": {"depth": 2, "hidden_size": 16, "intermediate_size": 32, "out_hidden_size": 32,
                           "num_heads": 2, "patch_size": 8, "window_size": 32, "fullatt_block_indexes": [1]}, **STREAM},
        patches(8), ("mm_token_type_ids",), marked=True,
    ),
    Family(
        "Qwen3-VL", "Qwen3VLForConditionalGeneration", "Qwen3VLConfig",
        {"text_config": {**TEXT, "head_dim": 8, "rope_parameters": AXES},
         "vision_config": {"depth": 3, "hidden_size": 16, "intermediate_size": 32, "out_hidden_size": 32,
                           "num_heads": 2, "patch_size": 8, "deepstack_visual_indexes": [0, 1],
                           "num_position_embeddings": 16}, **STREAM},
        patches(8), ("mm_token_type_ids",), marked=True,
    ),
    Family(
        "Idefics3", "Idefics3ForConditionalGeneration", "Idefics3Config",
        {"text_config": LLAMA, "vision_config": {**TOWER, "image_size": 32}, "image_token_id": PICTURE,
         "scale_factor": 2},
        split, marked=True,
    ),
    Family(
        "SmolVLM", "SmolVLMForConditionalGeneration", "SmolVLMConfig",
        {"text_config": LLAMA, "vision_config": {**TOWER, "image_size": 32}, "image_token_id": PICTURE,
         "scale_factor": 2},
        split, marked=True,
    ),
    Family(
        "InternVL", "InternVLForConditionalGeneration", "InternVLConfig",
        {"text_config": QWEN, "vision_config": {**TOWER, "image_size": [32, 32], "patch_size": [8, 8]},
         "image_token_id": PICTURE},
        pixels(3, 32, 32), marked=True,
    ),
    Family(
        "Gemma 3", "Gemma3ForConditionalGeneration", "Gemma3Config",
        {"text_config": {**TEXT, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 12,
                         "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
         "vision_config": {**TOWER, "image_size": 32}, "mm_tokens_per_image": 4, "image_token_index": PICTURE,
         "boi_token_index": START, "eoi_token_index": END},
        pixels(3, 32, 32), ("token_type_ids",), marked=True,
    ),
    Family(
        "Mistral 3", "Mistral3ForConditionalGeneration", "Mistral3Config",
        {"text_config": {"model_type": "mistral", **TEXT, "head_dim": 8},
         "vision_config": {"model_type": "pixtral", **TOWER, "head_dim": 8, "image_size": 32},
         "image_token_id": PICTURE, "spatial_merge_size": 2, "vision_feature_layer": -1},
        lambda random: {**pixels(3, 32, 32)(random), "image_sizes": torch.tensor([[32, 32]])},
    ),
    Family(
        "Aya Vision", "AyaVisionForConditionalGeneration", "AyaVisionConfig",
        {"text_config": {"model_type": "cohere2", **TEXT, "sliding_window": 12, "head_dim": 8,
                         "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
         "vision_config": {**SIGLIP, "image_size": 32}, "image_token_id": PICTURE, "downsample_factor": 2},
        pixels(3, 32, 32), marked=True,
    ),
    Family(
        "PaliGemma", "PaliGemmaForConditionalGeneration", "PaliGemmaConfig",
        {"text_config": {"model_type": "gemma", **TEXT, "head_dim": 8}, "vision_config": {**SIGLIP,
         "projection_dim": 32}, "image_token_id": PICTURE, "projection_dim": 32},
        pixels(3, 24, 24), ("token_type_ids",), both_ways=True,
    ),
    Family(
        "PaliGemma 2", "PaliGemmaForConditionalGeneration", "PaliGemmaConfig",
        {"text_config": {"model_type": "gemma2", **TEXT, "head_dim": 8, "sliding_window": 40,
                         "query_pre_attn_scalar": 8},
         "vision_config": {**SIGLIP, "projection_dim": 32}, "image_token_id": PICTURE, "projection_dim": 32},
        pixels(3, 24, 24), ("token_type_ids",), both_ways=True,
    ),
    Family(
        "Qwen3.5", "Qwen3_5ForConditionalGeneration", "Qwen3_5Config",
        {"text_config": {**TEXT, "head_dim": 8, "rope_parameters": {**AXES, "partial_rotary_factor": 1.0},
                         "layer_types": ["linear_attention", "full_attention", "linear_attention"],
                         "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8,
                         "linear_value_head_dim": 8},
         "vision_config": {"depth": 2, "hidden_size": 16, "intermediate_size": 32, "out_hidden_size": 32,
                           "num_heads": 2, "patch_size": 8, "num_position_embeddings": 16}, **STREAM},
        patches(8), ("mm_token_type_ids",), marked=True,
    ),
)  # fmt: skip
MORE = (
    Family(
        "HunYuanVL", "HunYuanVLForConditionalGeneration", "HunYuanVLConfig",
        {"text_config": {**TEXT, "head_dim": 8, "rope_parameters": {
            "rope_type": "default", "rope_theta": 10000.0, "xdrope_section": [1] * 4, "mrope_section": [1] * 4}},
         "vision_config": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                           "patch_size": 8, "out_hidden_size": 32},
         "image_token_id": PICTURE, "image_start_token_id": START, "image_end_token_id": END},
        lambda random: {"pixel_values": torch.randn(16, 3 * 64, generator=random),
                        "image_grid_thw": torch.tensor([[1, 4, 4]])},
        ("mm_token_type_ids",), marked=True,
    ),
    Family(
        "Gemma 4", "Gemma4ForConditionalGeneration", "Gemma4Config",
        {"text_config": {**TEXT, "head_dim": 8, "global_head_dim": 8, "sliding_window": 12, "num_kv_shared_layers": 0,
                         "layer_types": ["sliding_attention", "full_attention", "full_attention"],
                         "vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8,
                         "use_bidirectional_attention": "vision"},
         "vision_config": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                           "num_key_value_heads": 2, "head_dim": 8, "patch_size": 8, "pooling_kernel_size": 2,
                           "position_embedding_size": 64},
         "audio_config": None, "image_token_id": PICTURE, "boi_token_id": START, "eoi_token_id": END,
         "video_token_id": 5, "audio_token_id": 8},
        lambda random: {"pixel_values": torch.rand(1, 16, 192, generator=random),
                        "image_position_ids": torch.stack(
                            torch.meshgrid(torch.arange(4), torch.arange(4), indexing="xy"), -1).reshape(1, 16, 2)},
        ("mm_token_type_ids",), marked=True,
    ),
    Family(
        "Llama 4", "Llama4ForConditionalGeneration", "Llama4Config",
        {"text_config": {**TEXT, "head_dim": 8, "num_local_experts": 2, "intermediate_size_mlp": 64,
                         "attention_chunk_size": 64},
         "vision_config": {"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                           "image_size": 32, "patch_size": 8, "vision_output_dim": 32, "projector_input_dim": 32,
                           "projector_output_dim": 32}, "image_token_index": PICTURE},
        pixels(3, 32, 32),
    ),
)  # fmt: skip
"""Families that show one thing each, in the test of that thing."""


def build(family: Family, seed: int = 0) -> Any:
    """A random model in evaluation mode, fp32."""
    torch.manual_seed(seed)
    config = getattr(transformers, family.config)(**family.settings)
    model = getattr(transformers, family.model)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)
                if not parameter.any():  # Gemma 3 begins with a projection of zeros, and sees nothing
                    parameter.normal_(std=0.5)
    model.config.use_cache = False
    return model


class Album:
    """Pictures of a family by name, and groups that show them."""

    def __init__(self, family: Family, model: Any) -> None:
        self._family, self._model = family, model
        self._shown: dict[str, list[Fields]] = {}

    def group(self, seed: int, *, pictures: int, responses: int, words: int = 9) -> Encoded:
        """A group of random words of which the first response is the longest."""
        random = torch.Generator().manual_seed(seed)
        shown = [self._family.draw(random) for _ in range(pictures)]
        name = f"group-{seed}"
        self._shown[name] = shown
        prompt: list[int] = []
        for one in shown:
            stand = [PICTURE] * self._tokens(one)
            prompt += [START, *stand, END] if self._family.marked else stand
        prompt += torch.randint(FIRST_WORD, VOCABULARY, (words,), generator=random).tolist()
        ids = np.asarray(prompt, np.int32)
        said = tuple(
            torch.randint(FIRST_WORD, VOCABULARY, (1 + (7 * responses - 3 * k) % 11,), generator=random).numpy()
            for k in range(responses)
        )
        return Encoded(
            group_id=name,
            question="",
            images=tuple(Image(f"{name}-{n}", "toy:x", 24, 24) for n in range(pictures)),
            prompt=ids,
            per_token={
                track: ((ids == PICTURE) & (not self._family.both_ways)).astype(np.int32)
                for track in (self._family.tracks if shown else ())  # words alone have none
            },
            image_tokens=int((ids == PICTURE).sum()),
            responses=tuple(one.astype(np.int32) for one in said),
            response_ids=tuple(f"{name}/{k}" for k in range(responses)),
            pairs=tuple((a, b) for a in range(responses) for b in range(a + 1, responses)),
            pair_ids=(),
            weights=(1.0,) * (responses * (responses - 1) // 2),
            best=0,
        )

    def pictures(self, group: Encoded) -> Fields:
        """Picture fields of a group."""
        return joined(self._shown[group.group_id])

    def _tokens(self, fields: Fields) -> int:
        with torch.no_grad():
            pooled = self._model.get_image_features(**fields, return_dict=True).pooler_output
        return sum(one.reshape(-1, one.shape[-1]).shape[0] for one in pooled)


def joined(pictures: Sequence[Fields]) -> Fields:
    """Pictures after one another along dimension 0."""
    return {name: torch.cat([one[name] for one in pictures]) for name in (pictures[0] if pictures else ())}


def plain_logps(model: Any, group: Encoded, fields: Fields, *, said: int = 0) -> torch.Tensor:
    """Log p of every token of every response, one forward each, masks and positions made by the model: the oracle.

    Without a track to say where the response begins, a model that reads prompts both ways reads everything so.
    """
    found: list[torch.Tensor] = []
    marked = group.per_token or ({"token_type_ids": np.zeros_like(group.prompt)} if said else {})
    for response in group.responses:
        ids = torch.from_numpy(np.concatenate([group.prompt, response]).astype(np.int64))[None]
        tracks = {
            name: torch.nn.functional.pad(torch.from_numpy(values.astype(np.int64)), (0, len(response)), value=said)[
                None
            ]
            for name, values in marked.items()
        }
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **tracks, **fields).logits[0]
        scores = logits[len(group.prompt) - 1 : -1].log_softmax(-1)
        found.append(scores.gather(1, ids[0, len(group.prompt) :, None])[:, 0])
    return torch.cat(found)
