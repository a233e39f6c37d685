"""Plain JSON records, one object a line or a list of objects: your own data.

Tested on: `qa90_questions.jsonl` of LLaVA, `detail_test_30_input.jsonl` of RLAIF-V, `questions.jsonl` of OwlEval, and
`test.json` of SLAKE.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vlfeedback.records import Dropped
from vlfeedback.source import Example, Found, Named, Reader
from vlfeedback.source._fields import FieldMap, mapped
from vlfeedback.source._fit import fitting
from vlfeedback.source._rows import Row, json_rows, row_reader

TESTED_ON: tuple[str, ...] = (
    "RLAIF-V detail_test_30_input.jsonl",
    "OwlEval questions.jsonl",
    "SLAKE test.json",
    "RLAIF-V RefoMB_dev.jsonl",
)


def load(
    path: Path,
    *,
    prompt: str = "prompt",
    image: str = "image",
    record_id: str = "id",
    category: str = "category",
    reference: str = "reference",
    conduct: str = "conduct",
) -> Reader:
    """Read plain records. The prompt is taken as it is: a literal `<image>` in it stays text.

    Args:
        path: JSON lines or a JSON list.
        prompt: Field with the prompt; the only one that must be there.
        image: Field with the path of a picture below the root, an object with one (`path`, `url`, `file_name`, …), or a
            list of these; missing, null or empty for none. `""`: no record has pictures.
        record_id: Field with the record's own id.
        category: Field with the kind of the instruction.
        reference: Field with a known good answer.
        conduct: Field with `answer`, `caution` or `refuse`.
    Raises:
        ConfigError: no record has the field of `image`; with the default, where another one seems to hold pictures.
    """
    fields_of = FieldMap(prompt, image, record_id, category, reference, conduct)

    def found_in(row: Row) -> Iterator[Found]:
        yield mapped(row, fields_of)

    return row_reader(lambda: fitting(json_rows(path), fields_of, path), found_in)


EXAMPLES = (
    Example(
        {
            "mine.jsonl": '{"id": "a", "prompt": "What is <image>?", "image": "x/1.png", "conduct": "caution"}\n'
            "\n"
            '{"prompt": "Compare.", "image": ["1.png", "2.png"], "category": "pairs", "reference": "Same."}\n'
            '{"prompt": "Why?", "image": null}\n'
            '{"image": "1.png"}\n'
            '["no object"]\n'
            '{"prompt": "Why?", "conduct": "sing"}\n'
        },
        "mine.jsonl",
        (
            Found("a", "What is <image>?", (Named("x/1.png"),), conduct="caution"),
            Found("line 3", "Compare.", (Named("1.png"), Named("2.png")), "pairs", reference="Same."),
            Found("line 4", "Why?"),
            Dropped("source", "line 5", "bad_record"),
            Dropped("source", "line 6", "bad_record"),
            Dropped("source", "line 7", "bad_record"),
        ),
    ),
    Example(
        {"theirs.json": '[{"question_id": 4, "img": "a.jpg", "text": "How many?"}]'},
        "theirs.json",
        (Found("4", "How many?", (Named("a.jpg"),)),),
        {"prompt": "text", "image": "img", "record_id": "question_id"},
    ),
)
