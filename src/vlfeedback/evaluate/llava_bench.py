"""LLaVA-Bench in the wild: 60 open questions; a judge gives points to a reference answer and to the model's.

Protocol `llava_bench/own-1` asks the judge in words of our own; with `judge_prompt`, the rules of the user's copy
(`rule.json`) are filled in byte for byte as the official script does: `llava_bench/official`. The result is a ratio of
means, so two models are compared on their points, under one judge.

Source:
    Liu et al. 2023 (arXiv:2304.08485, arXiv:2310.03744).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.evaluate._contract import Example, Item, Judged, Mark
from vlfeedback.evaluate._digits import added
from vlfeedback.evaluate._exports import write_lines
from vlfeedback.evaluate._llava_bench_result import UNREADABLE, official
from vlfeedback.evaluate._pictures import picture
from vlfeedback.evaluate._read import Row, id_of, json_of, number, rows_of, unique
from vlfeedback.evaluate._resample import noise, ratio
from vlfeedback.evaluate._summary import summarise
from vlfeedback.images import Roots
from vlfeedback.records import Answer, ItemScore, Judgement, Part, Request, Sampling, Score

OWN = """Two assistants answered the question above about a picture that you do not see; the context describes it. Judge
how helpful, relevant, correct and detailed each answer is, and give each between 1 and 10 points. The order in which
they stand says nothing about them.

Write the points of the first and of the second, parted by one space, alone on the first line. Give your reasons after
that line."""
"""Wording `own-1`; a change of a word is a new number."""

FILES = ("questions.jsonl", "context.jsonl", "answers_gpt4.jsonl")


@dataclass(frozen=True)
class LlavaBenchmark:
    """The benchmark on the user's own copy of its data."""

    path: Path
    images: str
    roots: Roots
    rules: Mapping[str, tuple[str, str]]
    system: str
    protocol: str
    max_tokens: int
    name: str = "llava_bench"
    size: int = 60
    runs: int = 1
    tries: int = 1

    @cached_property
    def _rows(self) -> dict[str, Row]:
        rows = rows_of(self.path / FILES[0])
        unique((id_of(row) for row in rows), self.path / FILES[0])
        return {id_of(row): row for row in rows}

    @cached_property
    def _context(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for row in rows_of(self.path / FILES[1]):
            caption = row.fields.get("caption")
            lines = cast("list[Any]", caption) if isinstance(caption, list) else [cast("Any", caption)]
            if not all(isinstance(line, str) for line in lines):
                raise DataError(f"{row.where} has no caption.")
            found[str(row.fields.get("image"))] = "\n".join(lines)
        return found

    @cached_property
    def _references(self) -> dict[str, str]:
        rows = rows_of(self.path / FILES[2])
        return {id_of(row): str(row.fields.get("text", "")) for row in rows}

    def items(self) -> Iterator[Item]:
        """All questions; the stratum is the category: conv, detail or complex."""
        for name, row in self._rows.items():
            image, text, category = (row.fields.get(field) for field in ("image", "text", "category"))
            if not (isinstance(image, str) and isinstance(text, str) and isinstance(category, str)):
                raise DataError(f"{row.where} lacks one of image, text, category.")
            if name not in self._references or image not in self._context:
                raise DataError(f"{row.where}: {FILES[2]} has no answer to it, or {FILES[1]} nothing of {image}.")
            if category not in self.rules and "" not in self.rules:
                raise ConfigError(f"judge_prompt has no rule for {category!r}; give the rule.json of LLaVA-Bench.")
            found = picture(self.roots, self.images, (image, f"images/{image}"), "LLaVA-Bench")
            reference = self._references[name]
            yield Item(name, text, (found,), name, category, reference, max_tokens=self.max_tokens)

    def question(self, item: Item, answer: Answer, attempt: int) -> Request:
        """Context, question, reference answer, answer, and the rule of the category; temperature 0.2."""
        del attempt
        role, rule = self.rules.get(item.stratum) or self.rules[""]
        context = self._context[str(self._rows[item.item_id].fields["image"])]
        text = (
            f"[Context]\n{context}\n\n"
            f"[Question]\n{item.prompt}\n\n"
            f"[{role} 1]\n{item.expected}\n\n[End of {role} 1]\n\n"
            f"[{role} 2]\n{answer.text}\n\n[End of {role} 2]\n\n"
            f"[System]\n{rule}\n\n"
        )
        return Request(self.system, (Part(text=text),), Sampling(temperature=0.2, max_tokens=1024))

    def readable(self, reply: str) -> bool:
        """The official script asks once."""
        del reply
        return True

    def marks(self, item: Item, replies: Sequence[str]) -> dict[str, Mark]:
        """Points of the model and of the reference; −1 each without two numbers in the official protocol, else none."""
        del item
        pair = official(replies[0]) if replies else None
        finite = pair is not None and number(pair.reference) is not None and number(pair.model) is not None
        if pair is None or not finite:
            value = UNREADABLE[0] if self.protocol.endswith("/official") else None
            return {"points": Mark(value, False), "reference": Mark(value, False)}
        return {"points": Mark(pair.model), "reference": Mark(pair.reference)}

    def summarise(self, item_scores: Iterable[ItemScore]) -> list[Score]:
        """Mean points, and `relative`: 100 · mean points of the model / of the reference, in all and by category."""
        scores = list(item_scores)
        parts = {"relative": scores}
        for kind in sorted({one.answer.stratum for one in scores}):
            parts[f"relative/{kind}"] = [one for one in scores if one.answer.stratum == kind]
        if any(one.state == "unparsable" and one.value is not None for one in scores):
            parts["relative/readable"] = [one for one in scores if one.state != "unparsable"]
        return [*summarise(scores), *(score for name, part in parts.items() for score in _relative(part, name))]

    def export(
        self, folder: Path, items: Sequence[Item], answers: Sequence[Answer], judgements: Sequence[Judgement]
    ) -> None:
        """`answers.jsonl` and, where there is a judge, `reviews.jsonl`."""
        given = {one.item_id: one for one in answers if one.finish != "error"}
        pairs = [(item, given[item.item_id]) for item in items if item.item_id in given]
        rows = [
            {"question_id": item.item_id, "prompt": item.prompt, "text": answer.text, "model_id": answer.model}
            for item, answer in pairs
        ]
        write_lines(folder / "answers.jsonl", rows)
        said = {one.answer.item_id: one for one in judgements}
        if said:
            reviews = [_review(place, item, said.get(item.item_id)) for place, item in enumerate(items)]
            write_lines(folder / "reviews.jsonl", reviews)


def _review(place: int, item: Item, said: Judgement | None) -> dict[str, Any]:
    text = None if said is None or said.finish == "error" else said.text
    row = {"id": place + 1, "question_id": item.item_id, "category": f"llava_bench_{item.stratum}", "content": text}
    if text is None:
        return row
    pair = official(text)
    finite = pair is not None and all(number(one) is not None for one in pair)
    return {**row, "tuple": list(pair if pair is not None and finite else UNREADABLE)}


def _relative(scores: Sequence[ItemScore], metric: str) -> list[Score]:
    points = [one for one in scores if one.metric == "points"]
    mine = {one.answer.item_id: one.value for one in points if one.value is not None}
    theirs = {one.answer.item_id: one.value for one in scores if one.metric == "reference" and one.value is not None}
    if not mine or not added(theirs.values()):
        return []
    spread = noise({name: (mine[name], theirs[name]) for name in mine}, lambda sums: 100 * ratio(sums))
    (mean,) = summarise(points, max_failed=1.0)
    value = 100 * added(mine.values()) / added(theirs.values())
    return [replace(mean, metric=metric, value=value, ci_low=spread.low, ci_high=spread.high)]


def _rules(path: Path) -> dict[str, tuple[str, str]]:
    found = json_of(path)
    rules = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    read: dict[str, tuple[str, str]] = {}
    for name, rule in rules.items():
        if name.startswith("llava_bench_") and isinstance(rule, dict):
            role, prompt = (cast("dict[str, Any]", rule).get(field) for field in ("role", "prompt"))
            if isinstance(role, str) and isinstance(prompt, str):
                read[name.removeprefix("llava_bench_")] = (role, prompt)
    if not read:
        raise ConfigError(
            f"judge_prompt: {path} has no llava_bench_… rule with role and prompt; give LLaVA's rule.json."
        )
    return read


def load(
    *,
    path: Path,
    images: str,
    roots: Roots,
    judge_prompt: Path | None = None,
    judge_system: str = "",
    max_tokens: int = 1024,
) -> Judged:
    """LLaVA-Bench in the wild from the user's own copy; its judge is [evaluate.llava_bench.judge].

    Args:
        path: Folder with questions.jsonl, context.jsonl and answers_gpt4.jsonl.
        images: Name of the image root in [images] that holds its pictures.
        roots: Where pictures lie (given by the pipeline).
        judge_prompt: The official rules: rule.json of the user's copy of LLaVA.
        judge_system: The system message of the official script, which stands in no file but the script.
        max_tokens: Upper bound of an answer.
    Raises:
        ConfigError: the rules are no rules.
    """
    rules = {"": ("Assistant", OWN)} if judge_prompt is None else _rules(judge_prompt)
    protocol = "llava_bench/own-1" if judge_prompt is None else "llava_bench/official"
    return LlavaBenchmark(path, images, roots, rules, judge_system, protocol, max_tokens)


EXAMPLES: tuple[Example, ...] = (
    Example("points of both", "conv", ("8 6\nBecause",), {"points": (6,), "reference": (8,)}),
    Example("a comma alone parts too", "detail", ("8,6.5",), {"points": (6.5,)}),
    Example("three parts are no verdict", "conv", ("8, 6",), {"points": (None,), "reference": (None,)}),
    Example("talk first", "conv", ("Assistant 1: 8\n8 6",), {"points": (None,)}),
    Example("no reply, no value", "detail", (None,), {"points": (None,), "reference": (None,)}),
)
