"""LLaVA-Instruct and everything in its format: `id`, `image`, `conversations` with turns of `human` and `gpt`.

Tested on: the record in POVID's README, the rows of Prometheus-Vision and the demo of LLaMA-Factory, which are of this
format, and on LLaVA's own questions. The file of LLaVA-Instruct-150K itself was not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vlfeedback.records import Dropped
from vlfeedback.source import Example, Found, Named, Reader
from vlfeedback.source._conversations import checked_turns, found_in_turns, name_of, question
from vlfeedback.source._fields import named, objects
from vlfeedback.source._rows import Row, json_reader

TESTED_ON: tuple[str, ...] = (
    "POVID readme_sample.json",
    "Prometheus-Vision sample_train_data.json",
    "LLaMA-Factory mllm_demo.json",
    "LLaMA-Factory v1_multimodal_demo.jsonl",
    "LLaVA qa90_questions.jsonl",
    "LLaVA coco2014_val_gpt4_qa_30x3.jsonl",
)


def load(path: Path, *, turns: str = "first", category: str = "") -> Reader:
    """Read a file of conversations.

    The instruction is the first turn of the person and its reply the reference; later turns are left out, because they
    cannot be understood without the earlier ones. `turns = "each"` makes every turn of the person an instruction of its
    own. The format's `<image>` at the beginning or end of a turn is removed, unless it is a word of a sentence. Roles
    and texts may also be called `role` and `content`, the conversation `messages`, the pictures `images`; a content may
    be a list of parts. A record without a conversation is a question: `text`, `instruction` or `question`.

    Args:
        path: A JSON list or JSON lines.
        turns: `first` or `each`.
        category: For all instructions; LLaVA keeps its kinds in different files.
    Raises:
        ConfigError: `turns` is neither.
    """
    which = checked_turns(turns)

    def found_in(row: Row) -> Iterator[Found]:
        fields, pictures = row.fields, named(row.fields, "image", "images")
        name = name_of(fields, row.name)
        if "conversations" in fields or "messages" in fields:
            talk = objects(fields, "conversations", "messages")
            yield from found_in_turns(name, talk, pictures, which, category)
        else:
            yield question(name, fields, pictures, category)

    return json_reader(path, found_in)


_TALK = (
    '{"id": "7", "image": "cat.jpg", "conversations": [{"from": "human", "value": "<image>\\nWho is asleep?"},'
    ' {"from": "gpt", "value": "The cat."}, {"from": "human", "value": "Where?"}, {"from": "gpt", "value": "There."}]}'
)

EXAMPLES = (
    Example(
        {"talk.json": f"[{_TALK}]"},
        "talk.json",
        (Found("7", "Who is asleep?", (Named("cat.jpg"),), reference="The cat."),),
    ),
    Example(
        {"talk.jsonl": _TALK},
        "talk.jsonl",
        (
            Found("7#1", "Who is asleep?", (Named("cat.jpg"),), "conversation", reference="The cat."),
            Found("7#2", "Where?", (Named("cat.jpg"),), "conversation", reference="There."),
        ),
        {"turns": "each", "category": "conversation"},
    ),
    Example(
        {
            "edges.jsonl": '{"messages": [{"role": "user", "content": [{"type": "image_url",'
            ' "image_url": {"url": "a.png"}}, {"type": "text", "text": "Who?"}]}]}\n'
            '{"question_id": 3, "image": "a.png", "instruction": "Count them.", "output": "Two.", "type": "detail"}\n'
            '{"conversations": [{"from": "human", "value": "What does <image> mean in HTML?"}]}\n'
            '{"image": "a.png", "conversations": [{"from": "human", "value": "Explain <image> here.\\n<image>"}]}\n'
            '{"image": "a.png", "conversations": [{"from": "gpt", "value": "Hello."}]}\n'
            "{broken\n"
            '{"image": ["a.png", "b.png"], "messages": [{"role": "user", "content": "<image><image>Compare."}]}\n'
            '{"images": ["a.png", "b.png"], "messages": [{"role": "user", "content": "Who?<image>"},'
            ' {"role": "assistant", "content": "You."}, {"role": "user", "content": "<image>And here?"}]}\n'
        },
        "edges.jsonl",
        (
            Found("line 1", "Who?", (Named("a.png"),)),
            Found("3", "Count them.", (Named("a.png"),), "detail", reference="Two."),
            Found("line 3", "What does <image> mean in HTML?"),
            Found("line 4", "Explain <image> here.", (Named("a.png"),)),
            Dropped("source", "line 5", "bad_record"),
            Dropped("source", "line 6", "bad_record"),
            Found("line 7", "Compare.", (Named("a.png"), Named("b.png"))),
            Found("line 8", "Who?", (Named("a.png"),), reference="You."),
        ),
    ),
)
