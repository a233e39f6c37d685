"""What the tests of this room share: answers made up on the spot, a tiny copy of MME, scenes for examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from vlfeedback.evaluate import Item
from vlfeedback.images import Roots
from vlfeedback.records import Answer, Finish, Judgement

SPLIT = ("artwork", "celebrity", "landmark", "posters", "scene")


def answer(item: Item, text: str, *, benchmark: str = "mme", model: str = "m", finish: Finish = "stop") -> Answer:
    return Answer(benchmark, item.item_id, item.cluster, item.stratum, model, text, finish)


def say(
    items: Iterable[Item], reply: Callable[[Item], str], *, benchmark: str = "mme", model: str = "m"
) -> list[Answer]:
    return [answer(item, reply(item), benchmark=benchmark, model=model) for item in items]


def tiny_mme(
    folder: Path, pictures: int = 2, subtasks: Iterable[str] = ("color", "celebrity", "code_reasoning")
) -> Roots:
    """A folder laid out as the benchmark is: pictures and questions side by side, or apart."""
    for subtask in subtasks:
        shown = folder / subtask / ("images" if subtask in SPLIT else "")
        asked = folder / subtask / ("questions_answers_YN" if subtask in SPLIT else "")
        shown.mkdir(parents=True, exist_ok=True)
        asked.mkdir(parents=True, exist_ok=True)
        for number in range(pictures):
            Pillow.new("RGB", (8, 8), (number, 20, len(subtask))).save(shown / f"{number:04d}.png")
            text = f"Is it {number}?  Please answer yes or no.\tYes\nIs it 99? Please answer yes or no.\tNo\n"
            (asked / f"{number:04d}.txt").write_text(text, encoding="utf-8")
    return Roots({"mme": folder, "run": folder / "run"})


def judged_by(
    benchmark: Any, items: Iterable[Item], answers: Iterable[Answer], reply: Callable[[Item], str | None]
) -> list[Judgement]:
    """Judgements of all answers that there are; where the reply is None, the call failed."""
    given = {one.item_id: one for one in answers if one.finish != "error"}
    return [
        Judgement(
            given[item.item_id], benchmark.protocol, "judge", run, 1, text or "", "error" if text is None else "stop"
        )
        for item in items
        if item.item_id in given
        for run in range(benchmark.runs)
        for text in (reply(item),)
    ]
