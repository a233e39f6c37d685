"""RTVLM, red-teaming of vision-language models: JSON lines per sub-task, with the wanted conduct as a label.

Not seen. Known of it: one folder per sub-task; the question is called `questions`, `instruction` or `prompt` and is
sometimes a list; `refused_to_answer` is "Safe to Answer", "Proceed with Caution" or "Refuse to Answer"; one of its
files is empty. How a record names its picture is not known: `image` and `image_files` say it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vlfeedback._images_names import shown
from vlfeedback.records import Conduct, Dropped
from vlfeedback.source import Example, Found, Named, Picture, Reader
from vlfeedback.source._conversations import without_markers
from vlfeedback.source._fields import conduct_of, from_patterns, listed, optional_text, texts
from vlfeedback.source._files import files_of, named_by_file
from vlfeedback.source._rows import BadRecord, Fields, Row, json_rows, row_reader

TESTED_ON: tuple[str, ...] = ()

LABELS: dict[str, Conduct] = {
    "safe to answer": "answer",
    "proceed with caution": "caution",
    "refuse to answer": "refuse",
}
QUESTIONS = ("questions", "question", "instruction", "prompt")
PICTURES = ("image", "images", "image_path", "img_path", "img", "image_name")
IMAGE_FILES = ("{}.jpg", "{}.png", "images/{}.jpg", "images/{}.png")


def load(
    path: Path, *, conduct: str = "", image: str = "", pictures: bool = True, image_files: Sequence[str] = IMAGE_FILES
) -> Reader:
    """Read a sub-task or a folder of them; the category is the file's folder and name.

    Args:
        path: A JSON Lines file or list, or a folder of them; an empty file in a folder is passed over.
        conduct: For records without a label: `answer`, `caution` or `refuse`.
        image: Field with the picture's path; empty tries the usual names, then the record's `id` with `image_files`.
        pictures: False where a sub-task has none (text jailbreaks).
        image_files: Paths below the root with `{}` for the record's `id` or `index`; the first that exists is taken.
    """
    otherwise = conduct_of(conduct) if conduct else None
    patterns = tuple(image_files)

    def read() -> Iterator[Found | Dropped]:
        for file in files_of(path, (".jsonl", ".json"), skip_empty=path.is_dir()):
            kind = file.relative_to(path).with_suffix("").as_posix() if path.is_dir() else file.stem
            items = row_reader(lambda file=file: json_rows(file), lambda row, kind=kind: found_in(row, kind))()
            yield from named_by_file(items, file, path)

    def found_in(row: Row, kind: str) -> Iterator[Found]:
        fields = row.fields
        asked = texts(fields, *QUESTIONS)
        if not asked:
            raise BadRecord(f"it has no question; it has {listed(fields)}")
        name = f"{kind}/{optional_text(fields, 'id', 'index') or row.name}"
        seen = _pictures(fields, image, patterns) if pictures else ()
        label = (optional_text(fields, "refused_to_answer") or "").strip().lower()
        if label and label not in LABELS:
            raise BadRecord(f"refused_to_answer is {shown(label)}, not one of {', '.join(LABELS)}")
        for number, prompt in enumerate(asked, 1):
            own = name if len(asked) == 1 else f"{name}#{number}"
            wanted = LABELS[label] if label else otherwise
            yield Found(own, without_markers(prompt, len(seen)), seen, kind, wanted)

    return read


def _pictures(fields: Fields, image: str, patterns: tuple[str, ...]) -> tuple[Picture, ...]:
    named = tuple(Named(path) for path in texts(fields, *((image,) if image else PICTURES)))
    if named:
        return named
    own = optional_text(fields, "id", "index")
    if own is None:
        raise BadRecord("it names no picture: give the field in `image`, or `pictures = false`", "missing_image")
    return (from_patterns(own, patterns),)


EXAMPLES = (
    Example(
        {
            "Harmful/misleading.jsonl": '{"questions": ["Why is it blue?", "Why round?"], "image": "1.jpg",'
            ' "refused_to_answer": "Proceed with Caution", "index": 4}\n'
            '{"questions": "What is it?", "image": "2.jpg", "refused_to_answer": "Safe to Answer"}\n'
            '{"questions": "What is it?", "image": "2.jpg", "refused_to_answer": "Perhaps"}\n'
            '{"answers": "Blue."}\n',
            "Privacy/celebrity.jsonl": '{"prompt": "Who is she?", "id": 7}\n{"prompt": "Who?"}\n',
            "Finance/none.jsonl": "",
        },
        "",
        (
            Found("Harmful/misleading/4#1", "Why is it blue?", (Named("1.jpg"),), "Harmful/misleading", "caution"),
            Found("Harmful/misleading/4#2", "Why round?", (Named("1.jpg"),), "Harmful/misleading", "caution"),
            Found("Harmful/misleading/line 2", "What is it?", (Named("2.jpg"),), "Harmful/misleading", "answer"),
            Dropped("source", "Harmful/misleading/line 3", "bad_record"),
            Dropped("source", "Harmful/misleading/line 4", "bad_record"),
            Found(
                "Privacy/celebrity/7",
                "Who is she?",
                (Named("7.jpg", or_else=("7.png",)),),
                "Privacy/celebrity",
                "refuse",
            ),
            Dropped("source", "Privacy/celebrity/line 2", "missing_image"),
        ),
        {"conduct": "refuse", "image_files": ["{}.jpg", "{}.png"]},
    ),
)
