"""Tiny copies of benchmarks, laid out as their authors give them away: made up on the spot."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from vlfeedback.evaluate._mmhal_result import TYPES
from vlfeedback.images import Roots

MMHAL_TEMPLATE = "Judge.\n{{literal}}\n{}\n{}\n{}\n{}\n"
MMVET_PROMPT = "Grade.\n\nQuestion | Ground truth | Prediction | Correctness\n"


def picture(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", (8, 8), (shade % 256, 20, shade // 256)).save(path)


def lines(path: Path, rows: Iterable[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def roots(folder: Path) -> Roots:
    return Roots({"pictures": folder / "pictures", "run": folder / "run"})


def pope(folder: Path, pictures: int = 2) -> Roots:
    for split in ("random", "popular", "adversarial"):
        lines(
            folder / f"coco_pope_{split}.json",
            [
                {"question_id": n + 1, "image": f"{n // 6}.jpg", "text": f"Is it {n}?", "label": ("yes", "no")[n % 2]}
                for n in range(6 * pictures)
            ],
        )  # fmt: skip
    for n in range(pictures):
        picture(folder / "pictures" / f"{n}.jpg", n)
    return roots(folder)


def mmhal(folder: Path, questions: int = 16) -> Roots:
    rows = [
        {
            "question_type": TYPES[n % 8], "question_topic": "food", "image_id": f"id{n}",
            "image_src": f"https://example.org/1/{n}_o.jpg", "image_content": ["Cat", "Tree"],
            "question": f"What is {n}?", "gt_answer": f"It is {n}.", "model_answer": "",
        }
        for n in range(questions)
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "response_template.json").write_text(json.dumps(rows))
    (folder / "eval_gpt4.py").write_text(f'import openai\n\ntemplate = """{MMHAL_TEMPLATE}"""\nraise SystemExit\n')
    for n in range(questions):
        picture(folder / "pictures" / (f"{n}_o.jpg" if n % 2 else f"images/id{n}.jpg"), n)
    return roots(folder)


def mmvet(folder: Path, questions: int = 10) -> Roots:
    rows = {
        f"v1_{n}": {
            "imagename": f"v1_{n}.png", "question": f"What is {n}?", "answer": "a<AND>b<OR>c",
            "capability": ["rec"] if n % 2 else ["ocr", "math"], "imagesource": "",
        }
        for n in range(questions)
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mm-vet.json").write_text(json.dumps(rows))
    (folder / "evaluator.py").write_text(f'prompt = """{MMVET_PROMPT}"""\n')
    for n in range(questions):
        picture(folder / "pictures" / "images" / f"v1_{n}.png", n)
    return roots(folder)


def llava_bench(folder: Path, questions: int = 6) -> Roots:
    kinds = ("conv", "detail", "complex")
    lines(
        folder / "questions.jsonl",
        [
            {"question_id": n, "image": f"{n // 2:03d}.jpg", "text": f"What? {n}", "category": kinds[n % 3]}
            for n in range(questions)
        ],
    )  # fmt: skip
    lines(folder / "context.jsonl", [{"image": f"{n:03d}.jpg", "caption": f"A scene {n}."} for n in range(questions)])
    lines(folder / "answers_gpt4.jsonl", [{"question_id": n, "text": f"A good answer {n}."} for n in range(questions)])
    rule = {f"llava_bench_{kind}": {"role": "Assistant", "prompt": f"Rate {kind}."} for kind in kinds}
    (folder / "rule.json").write_text(json.dumps({"coding": {"role": "X", "prompt": "Y"}, **rule}))
    for n in range(questions):
        picture(folder / "pictures" / f"{n:03d}.jpg", n)
    return roots(folder)


def rtvlm(folder: Path) -> Roots:
    labels = ("Safe to Answer", "Refuse to Answer", "Proceed with Caution", "")
    lines(
        folder / "misleading.jsonl",
        [
            {"index": n, "questions": [f"Why {n}?"], "image": f"{n}.png", "refused_to_answer": labels[n % 4]}
            for n in range(8)
        ],
    )  # fmt: skip
    lines(folder / "Safety" / "captcha.jsonl", [{"instruction": "Read it.", "image": "x/1.png"}])
    (folder / "finance.jsonl").write_text("")
    for n in range(8):
        picture(folder / "pictures" / f"{n}.png", n)
    return roots(folder)


def chair(folder: Path, pictures: int = 4) -> Roots:
    things = {1: "cat", 2: "dining table", 3: "hot dog", 4: "person"}
    from vlfeedback.evaluate._chair_words import WORDS

    names = [*things.values(), *(name for name in WORDS if name not in things.values())]
    marked = {
        "categories": [{"id": n, "name": name} for n, name in enumerate(names, 1)],
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(pictures)],
        "annotations": [{"image_id": n, "category_id": 1 + n % 2} for n in range(pictures)],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "instances_val2014.json").write_text(json.dumps(marked))
    captions = [{"image_id": n, "caption": "A man beside his couch."} for n in range(pictures)]
    (folder / "captions_val2014.json").write_text(json.dumps({"annotations": captions}))
    for n in range(pictures):
        picture(folder / "pictures" / f"{n}.jpg", n)
    return roots(folder)
