"""What goes wrong in silence elsewhere and is tested nowhere else here: one test per line of the list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import toy_llava

from vlfeedback.train import Recipe
from vlfeedback.train._collate import Encoded, Encoder, collate, reader
from vlfeedback.train._layouts import layouts, why_not
from vlfeedback.train._logps import grouped_logps
from vlfeedback.train._shared import shared_rows
from vlfeedback.train._tokens import Wording
from vlfeedback.train._weights import origin

Make = Callable[..., Recipe]
SAID = ("yes", "a red circle .", "it is blue , no dog", "no, it is not", "Yes it is", "1 2 3")


@pytest.fixture
def byte_level(processor: Any) -> Any:
    """The toy's processor with a byte-level BPE: words with and without a space before them are other tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlavaProcessor, PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=list(toy_llava.SPECIAL), show_progress=False)
    text = [f"USER: {toy_llava.TEXT}\nASSISTANT: {one}" for one in SAID for _ in range(40)]
    inner.train_from_iterator(text, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    return LlavaProcessor(processor.image_processor, tokenizer, patch_size=8, num_additional_image_tokens=1)


TEMPLATES = {
    "a space in the template": ("ASSISTANT:", " "),
    "a line of its own": ("ASSISTANT:\n", ""),
    "a control token": ("<s>", ""),
    "nothing between": ("ASSISTANT:", ""),
    "an empty thought": ("ASSISTANT:\n", "<think>\n\n</think>\n\n"),
    "a control token after the header": ("ASSISTANT:", "final<s>"),
    "a control token and a line": ("ASSISTANT:\n", "<s>\n"),
}


def with_template(processor: Any, header: str, lead: str) -> Any:
    """The processor with a template that writes something between its header and the words of an answer."""
    processor.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}USER: {% for p in m.content %}"
        "{% if p.type == 'image' %}<image>{% else %}{{ p.text }}{% endif %}{% endfor %} "
        "{% else %}HEAD" + lead + "{{ m.content[0].text }}</s>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}HEAD{% endif %}"
    ).replace("HEAD", header)
    return processor


@pytest.mark.parametrize("name", TEMPLATES)
def test_prompt_and_response_are_cut_as_the_conversation_is(
    byte_level: Any, colours: toy_llava.Colours, name: str
) -> None:
    """Ids of prompt and response one after the other are those of the whole conversation in one text."""
    header, lead = TEMPLATES[name]
    wording = Wording(with_template(byte_level, header, lead), reader(colours, mean=None), image_token_id=4)
    tokenizer = byte_level.tokenizer
    for said in SAID:
        whole = tokenizer(f"USER: what is it ? {header}{lead}{said}</s>", add_special_tokens=False)["input_ids"]
        made = [*wording.prompt("what is it ?", ()).ids, *wording.response(said)]
        assert made == whole, tokenizer.convert_ids_to_tokens(made)


@pytest.mark.parametrize("lead", ["\n", "\n\n<think></think>\n"])
def test_what_the_template_says_before_an_answer_is_kept_where_it_grows_together_with_the_header(
    byte_level: Any, colours: toy_llava.Colours, lead: str
) -> None:
    """Two line ends are one token here: the header keeps its own, and the rest is the answer's."""
    header = "ASSISTANT:\n"
    tokenizer = byte_level.tokenizer
    tokenizer.add_tokens(["\n\n"])
    wording = Wording(with_template(byte_level, header, lead), reader(colours, mean=None), image_token_id=4)
    assert wording.plain(header + lead)[: len(wording.plain(header))] != wording.plain(header)
    for said in SAID:
        made = [*wording.prompt("what is it ?", ()).ids, *wording.response(said)]
        assert tokenizer.decode(made) == f"USER: what is it ? {header}{lead}{said}</s>"


def test_another_picture_size_or_normalisation_is_another_reference(recipe: Make, model: Any, processor: Any) -> None:
    """`max_pixels`, crop, mean: changed between reference and training, tokens may stay and pictures do not."""
    pictures = processor.image_processor
    names = [origin(recipe(), model, processor)]
    for field, value in (("crop_size", {"height": 16, "width": 16}), ("image_mean", [0.1, 0.2, 0.3]), ("do_pad", True)):
        setattr(pictures, field, value)
        names.append(origin(recipe(), model, processor))
    assert len(set(names)) == 4


@pytest.mark.parametrize("attention", ["eager", "flash_attention_2", "flex_attention"])
def test_attention_that_may_not_take_our_mask_shares_no_prompt(model: Any, attention: str) -> None:
    """Flash attention reads packed sequences off the positions: responses 2 to K would lose their prompt."""
    assert shared_rows(model, 0) is not None
    model.config.get_text_config()._attn_implementation = attention
    assert attention in why_not(model)
    assert shared_rows(model, 0) is None


def test_padding_gives_numbers_in_every_layer_and_gradient(
    model: Any, processor: Any, colours: toy_llava.Colours
) -> None:
    """A row of a mask in which nothing is seen has no softmax: what is not a number spreads by the gradient."""
    encoder = Encoder(Wording(processor, reader(colours, mean=None)), 128)
    groups = [
        toy_llava.group("what ?", ["yes", "no"], (2, 1), [colours.picture((9, 9, 9))]),
        toy_llava.group("what is there ?" * 6, ["a red circle and a dog", "no"], (2, 1), [colours.picture((1, 2, 9))]),
    ]
    made = [item for group in groups for item in encoder.encode(group) if isinstance(item, Encoded)]
    states: list[torch.Tensor] = []
    for layer in model.get_decoder().layers:
        layer.register_forward_hook(lambda _, __, out: states.append(out[0] if isinstance(out, tuple) else out))
    for way in layouts(model, processor):
        batch = collate(made, layout=way.layout, pictures=encoder.pictures)
        assert batch.rows.inputs["input_ids"].numel() > batch.tokens, "there is padding"
        model.zero_grad()
        grouped_logps(model, batch.rows).total.sum().backward()
        assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None), way.name
    assert states and all(bool(torch.isfinite(one).all()) for one in states)


def test_no_layer_is_given_a_cache(model: Any, processor: Any, colours: toy_llava.Colours) -> None:
    """Recomputing activations drops what a cache holds, and with it the prompt."""
    encoder = Encoder(Wording(processor, reader(colours, mean=None)), 128)
    made = [item for item in encoder.encode(toy_llava.groups(colours, 1)[0]) if isinstance(item, Encoded)]
    given: list[Any] = []
    for layer in model.get_decoder().layers:
        layer.register_forward_pre_hook(
            lambda _, __, named: given.append(named.get("past_key_values")), with_kwargs=True
        )
    model.config.use_cache = True
    for way in layouts(model, processor):
        grouped_logps(model, collate(made, layout=way.layout, pictures=encoder.pictures).rows)
    assert given and given == [None] * len(given)


def alone(model: Any, one: Encoded, response: Any, shown: Any) -> float:
    """Log p of one response by a forward of its own, with masks and positions that the model makes."""
    ids = torch.from_numpy(np.concatenate([one.prompt, response]).astype(np.int64))[None]
    scores = model(input_ids=ids, **shown).logits[0, len(one.prompt) - 1 : -1].double().log_softmax(-1)
    return float(scores.gather(1, ids[0, len(one.prompt) :, None]).sum())


def test_two_pictures_one_and_none_share_a_batch_with_responses_of_any_length(
    model: Any, processor: Any, colours: toy_llava.Colours
) -> None:
    """One token, forty tokens, eight responses, other picture sizes: each response as if it were alone."""
    encoder = Encoder(Wording(processor, reader(colours, mean=None)), 200)
    two = [colours.picture((9, 0, 0), (48, 24)), colours.picture((0, 0, 9), (24, 60))]
    groups = [
        toy_llava.group("what ?", ["", " ".join(["sky"] * 40)], (2, 1), two),
        toy_llava.group("is it ?", ["yes", "no"], (1, 2)),
        toy_llava.group("and ?", [f"a {word}" for word in toy_llava.WORDS[:8]], (1, 2, 3, 4, 5, 1, 2, 3), two[:1]),
    ]
    made = [item for group in groups for item in encoder.encode(group) if isinstance(item, Encoded)]
    assert [len(one.responses) for one in made] == [2, 2, 8] and len(made[0].responses[0]) == 1
    with torch.no_grad():
        truth = [alone(model, one, response, encoder.pictures(one)) for one in made for response in one.responses]
        for way in layouts(model, processor):
            found = grouped_logps(model, collate(made, layout=way.layout, pictures=encoder.pictures).rows)
            off = (found.total - torch.tensor(truth, dtype=torch.float64)).abs() / found.lengths
            assert float(off.max()) < 5e-6, way.name
