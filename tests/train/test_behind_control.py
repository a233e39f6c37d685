"""An answer right behind a control token is cut into tokens as in the template's own conversation."""

from __future__ import annotations

from typing import Any

import pytest
import toy_llava

from vlfeedback.train._collate import reader
from vlfeedback.train._tokens import Wording

SAID = ("Yes, it is", "yes", "12 dogs", " a blank first", "\nline one\nline two\n", ", or", "dog  dog", "é")
SCHEMES = ("first", "always", "never")
QUESTION = "is it red ?"

TURN = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST]{% for p in m.content %}{% if p.type == 'image' %}<image>"
    "{% else %}{{ p.text }}{% endif %}{% endfor %}[/INST]TAIL{% else %}LEAD{{ m.content[0].text }}</s>{% endif %}"
    "{% endfor %}"
)
CHATS = {"[/INST]": ("", ""), "and a blank": ("", " "), "[TOOL]": ("", "[TOOL]"), "words": ("", "final[TOOL]")}
CHATS |= {"a line": ("\\n", ""), "a line and [TOOL]": ("\\n", "[TOOL]\\n")}


def with_metaspace(processor: Any, scheme: str, rstrip: bool = False) -> Any:
    """The toy's processor with pieces as of Llama and Mistral: a blank is a letter of the word behind it.

    Args:
        scheme: Where a text without a blank gets one: at its start (`first`), behind every control token too
            (`always`), nowhere (`never`).
        rstrip: Whether `[/INST]` takes in the blanks behind it, as Phi-3's control tokens do.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlavaProcessor, PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)  # pyright: ignore[reportArgumentType]
    inner.decoder = decoders.Metaspace(prepend_scheme=scheme, split=False)  # pyright: ignore[reportArgumentType]
    trainer = trainers.BpeTrainer(vocab_size=240, special_tokens=list(toy_llava.SPECIAL), show_progress=False)
    inner.train_from_iterator([*SAID, toy_llava.TEXT, "</s>[/INST]<image>[TOOL]"] * 20, trainer)
    words: list[Any] = [AddedToken(word, special=True, normalized=False, rstrip=rstrip) for word in ("[/INST]",)]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        additional_special_tokens=["<image>", "[INST]", "[TOOL]", *words],
    )  # fmt: skip
    return LlavaProcessor(processor.image_processor, tokenizer, patch_size=8, num_additional_image_tokens=1)


def wording_of(processor: Any, colours: toy_llava.Colours, chat: str) -> Wording:
    tail, lead = CHATS[chat]
    processor.chat_template = TURN.replace("TAIL", tail).replace("LEAD", lead)
    return Wording(processor, reader(colours, mean=None), image_token_id=4)


def own(processor: Any, said: str) -> list[int]:
    """Ids of question and answer in the processor's own template."""
    talk = [
        {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
        {"role": "assistant", "content": [{"type": "text", "text": said}]},
    ]
    return processor(text=[processor.apply_chat_template(talk, tokenize=False)])["input_ids"][0]


@pytest.mark.parametrize("rstrip", [False, True])
@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_answer_is_cut_as_in_the_whole_conversation(
    processor: Any, colours: toy_llava.Colours, scheme: str, chat: str, rstrip: bool
) -> None:
    made_of = with_metaspace(processor, scheme, rstrip)
    wording = wording_of(made_of, colours, chat)
    tokenizer = made_of.tokenizer
    for said in SAID:
        whole = own(made_of, said)
        made = [*wording.prompt(QUESTION, ()).ids.tolist(), *wording.response(said).tolist()]
        assert made == whole, (tokenizer.convert_ids_to_tokens(made), tokenizer.convert_ids_to_tokens(whole))


@pytest.mark.parametrize("said", ["yes </s> no", "</s>", "<image> [/INST]dog", "[TOOL]yes", "<s>no", "a [INST"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_control_tokens_behind_one_are_plain_text(
    processor: Any, colours: toy_llava.Colours, scheme: str, said: str
) -> None:
    made_of = with_metaspace(processor, scheme)
    wording = wording_of(made_of, colours, "[/INST]")
    ids = wording.response(said).tolist()
    control = set(made_of.tokenizer.convert_tokens_to_ids(["<s>", "</s>", "<image>", "[INST]", "[/INST]", "[TOOL]"]))
    assert [number for number in ids if number in control] == [wording.end]
    spoken = "".join(made_of.tokenizer.convert_ids_to_tokens(ids[:-1])).replace("▁", " ")
    assert spoken == (" " if scheme == "always" and not said.startswith(" ") else "") + said
