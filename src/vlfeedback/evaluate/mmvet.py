"""MM-Vet: 218 open questions that need several capabilities at once; a grader compares with the truth, from 0 to 1.

Protocol `mmvet/own-2` words the grader's instruction in our own way, and a reply that cannot be read has no value. With
`judge_prompt`, the official text of the user's copy stands before the row of question, truth and prediction, byte for
byte as in the official script, which counts such a reply as 0: `mmvet/official`.

Source:
    Yu et al. 2023 (arXiv:2308.02490).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from vlfeedback.errors import DataError
from vlfeedback.evaluate._contract import Example, Item, Judged, Mark
from vlfeedback.evaluate._digits import added
from vlfeedback.evaluate._exports import write_json
from vlfeedback.evaluate._mmvet_files import official, read_capabilities
from vlfeedback.evaluate._pictures import picture
from vlfeedback.evaluate._read import json_of, number
from vlfeedback.evaluate._summary import summarise
from vlfeedback.evaluate._templates import positive, prompt_text
from vlfeedback.images import Roots
from vlfeedback.records import Answer, ItemScore, Judgement, Part, Request, Sampling, Score

TRIES = 5
"""The official script takes 0.0 after five replies that are no number from 0 to 1."""

AGAIN = "\nPredict the correctness of the answer (digit): "
"""What it appends when it asks again."""

OWN = """Grade a prediction against the truth with a number from 0.0 (nothing of it is right) to 1.0 (all of it is), in
steps of 0.1. Where the truth holds <AND>, every part joined by it must be in the prediction for 1.0, and each part
counts for its share. Where it holds <OR>, any one of the parts is enough. Wording does not matter, meaning does.

The last row of the table lacks its grade. Reply with that number and nothing else.

Question | Ground truth | Prediction | Correctness
--- | --- | --- | ---
How many birds sit on the wire? | 4 | There are four. | 1.0
Which two colours has the flag? | red <AND> white | It is red and blue. | 0.5
What is the man holding? | umbrella <OR> parasol | A walking stick. | 0.0
"""
"""Wording of `own-1`, which counted unreadable replies as 0, and `own-2`; a change of a word is a new number."""


@dataclass(frozen=True)
class MMVetBenchmark:
    """The benchmark on the user's own copy of its data."""

    path: Path
    images: str
    roots: Roots
    prompt: str
    protocol: str
    runs: int
    max_tokens: int
    name: str = "mmvet"
    size: int = 218
    tries: int = TRIES

    @property
    def _file(self) -> Path:
        return self.path / "mm-vet.json" if self.path.is_dir() else self.path

    @cached_property
    def _records(self) -> dict[str, dict[str, Any]]:
        found = json_of(self._file)
        records = cast("dict[str, dict[str, Any]]", found) if isinstance(found, dict) else {}
        for name, record in records.items():
            fields = (record.get(field) for field in ("question", "answer", "imagename"))
            if not all(isinstance(field, str) for field in fields):
                raise DataError(f"{self._file}: {name} lacks one of question, answer, imagename.")
        return records

    @cached_property
    def _needs(self) -> dict[str, tuple[str, ...]]:
        return read_capabilities(self._file)

    def items(self) -> Iterator[Item]:
        """All questions; the stratum is the combination of capabilities, the unit the question."""
        for name, needs in self._needs.items():
            record = self._records[name]
            image = picture(self.roots, self.images, (record["imagename"], f"images/{record['imagename']}"), "MM-Vet")
            yield Item(
                name, record["question"], (image,), name, "_".join(needs), record["answer"],
                max_tokens=self.max_tokens,
            )  # fmt: skip

    def question(self, item: Item, answer: Answer, attempt: int) -> Request:
        """The fixed text, a line feed, and the row without its last cell; asked again with a hint, ever warmer."""
        truth = item.expected.replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
        text = f"{self.prompt}\n" + " | ".join((item.prompt, truth, answer.text, ""))
        warmth = 0.5 * max(0, attempt - 1)  # 0 for the first question and for its first repetition
        sampling = Sampling(temperature=warmth, max_tokens=3)
        return Request("", (Part(text=text + AGAIN if attempt else text),), sampling)

    def readable(self, reply: str) -> bool:
        """A number from 0 to 1 before the first space; what is not finite settles it, as in the official script."""
        return official(reply) is not None

    def marks(self, item: Item, replies: Sequence[str]) -> dict[str, Mark]:
        """The grade, and the same under the name of every capability that the question needs; the mean over runs.

        An unreadable reply counts as 0 by the official rule, and not in our own words; a number that is not finite has
        no value.
        """
        read = [official(reply) for reply in replies]
        unread = 0.0 if self.protocol.endswith("/official") else None
        grades = [unread if value is None else number(value) for value in read]
        valued = [grade for grade in grades if grade is not None]
        readable = any(value is not None and number(value) is not None for value in read)
        mark = Mark(added(valued) / len(valued) if valued else None, readable)
        return dict.fromkeys(("correctness", *self._needs[item.item_id]), mark)

    def summarise(self, item_scores: Iterable[ItemScore]) -> list[Score]:
        """Total, capabilities and combinations, in points of 100."""
        scores = list(item_scores)
        parts = {score.answer.stratum for score in scores}
        total = [one for one in scores if one.metric == "correctness"]
        found = summarise(total, readable=("correctness",))
        found += summarise((one for one in scores if one.metric != "correctness"), max_failed=1.0)
        for part in sorted(parts):
            only = (one for one in total if one.answer.stratum == part)
            found += [replace(one, metric=f"correctness/{part}") for one in summarise(only, max_failed=1.0)]
        return [_points(one) for one in found]

    def export(
        self, folder: Path, items: Sequence[Item], answers: Sequence[Answer], judgements: Sequence[Judgement]
    ) -> None:
        """`answers.json` (id → text), `grades.json` as the official script keeps it, and `capabilities.json`."""
        write_json(folder / "answers.json", {one.item_id: one.text for one in answers if one.finish != "error"})
        write_json(folder / "capabilities.json", {item.item_id: self._needs[item.item_id] for item in items})
        if not judgements:
            return
        grades: dict[str, dict[str, list[Any]]] = {}
        for one in sorted(judgements, key=lambda one: one.run):
            entry = grades.setdefault(one.answer.item_id, {"model": [], "content": [], "score": []})
            failed, value = one.finish == "error", official(one.text)
            entry["model"].append(one.judge)
            entry["content"].append(None if failed else one.text.split(" ")[0].strip())
            entry["score"].append(None if failed else 0.0 if value is None else number(value))
        order = [item.item_id for item in items if item.item_id in grades]
        write_json(folder / "grades.json", {name: grades[name] for name in order})


def _points(score: Score) -> Score:
    low, high = (None if end is None else 100 * end for end in (score.ci_low, score.ci_high))
    return replace(score, value=100 * score.value, ci_low=low, ci_high=high)


def load(
    *,
    path: Path,
    images: str,
    roots: Roots,
    judge_prompt: Path | None = None,
    runs: int = 1,
    max_tokens: int = 1024,
) -> Judged:
    """MM-Vet from the user's own copy; its grader is [evaluate.mmvet.judge].

    Args:
        path: Folder with mm-vet.json, or that file.
        images: Name of the image root in [images] that holds its pictures.
        roots: Where pictures lie (given by the pipeline).
        judge_prompt: The official text: mm-vet_evaluator.py of the user's copy, or a text file.
        runs: How often each answer is graded, ≥ 1; the paper's figures are of 5.
        max_tokens: Upper bound of an answer.
    """
    protocol = "mmvet/own-2" if judge_prompt is None else "mmvet/official"
    text = OWN if judge_prompt is None else prompt_text(judge_prompt, "prompt")
    return MMVetBenchmark(path, images, roots, text, protocol, positive(runs, "runs"), max_tokens)


EXAMPLES: tuple[Example, ...] = (
    Example("a grade", "rec", ("0.7",), {"correctness": (0.7,), "rec": (0.7,)}),
    Example("before the first space", "math_ocr", ("0.5 or so",), {"correctness": (0.5,), "math": (0.5,)}),
    Example("not a number from 0 to 1, five times", "rec", ("7",), {"correctness": (None,)}),
    Example("nan passes the official bounds and has no value", "rec", ("nan",), {"correctness": (None,)}),
    Example("no reply, no value", "math_ocr", (None,), {"correctness": (None,), "ocr": (None,)}),
)
