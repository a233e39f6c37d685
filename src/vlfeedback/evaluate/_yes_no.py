"""Yes-or-no questions, two per picture: MME's parser and MME's formula, for every benchmark that uses them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from vlfeedback.errors import BooksError
from vlfeedback.evaluate._contract import Item
from vlfeedback.records import Answer, ItemScore, ItemState

Reading = Literal["yes", "no", "other"]
PARSER = "mme-official-first4"
LENIENT = "whole-words"
_WORD = re.compile(r"[a-z]+")


def official(response: str) -> Reading:
    """Read a response exactly as MME's official script does.

    Lower-cased and not stripped; `yes` or `no` alone is the answer; otherwise the first four characters decide: `yes`
    anywhere in them, else `no` anywhere in them, else `other`. A test of substrings, not of words: `Know` is a no, and
    three blanks before `yes` make it unreadable.

    Source:
        Fu et al. 2023 (arXiv:2306.13394), evaluation script of the benchmark.
    """
    lowered = response.lower()
    if lowered in ("yes", "no"):
        return "yes" if lowered == "yes" else "no"
    start = lowered[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def whole_words(text: str) -> Reading:
    """Read a reply leniently: `yes`, or else `no` or `not`, as a whole word anywhere; both or neither is `other`.

    No official rule: it is there to show how much of a score is a matter of form.
    """
    words = set(_WORD.findall(text.lower()))
    yes, no = "yes" in words, bool(words & {"no", "not"})
    return "other" if yes == no else "yes" if yes else "no"


def image_score(right: tuple[bool, bool]) -> float:
    """MME's points of one picture: 100 · (right answers / 2) + 100 · [both right], so 0, 50 or 200."""
    return 50.0 * sum(right) + 100.0 * all(right)


def question_key(question: str) -> str:
    """A question with white space collapsed: some lines of MME have two blanks where others have one."""
    return " ".join(question.split())


def score_pairs(
    items: Iterable[Item], answers: Mapping[str, Answer], *, protocol: str, area: Mapping[str, str]
) -> Iterator[ItemScore]:
    """Score questions of which every picture has two.

    Both questions of a picture carry the picture's points (0, 50, 200) under `perception` or `cognition`, so that the
    mean of a stratum is MME's accuracy + accuracy+ and a picture is one unit. If one of them has no reply, the picture
    has no points.

    Args:
        items: Yes-or-no questions; `cluster` is the picture, `expected` is `yes` or `no`.
        answers: By item id.
        protocol: As in `ItemScore.protocol`.
        area: `perception` or `cognition` by stratum.
    Returns:
        Per question its picture's points, `accuracy`, `other` (unreadable) and `yes_ratio` (of the answers).
    Raises:
        BooksError: a picture of a stratum has not exactly two questions.
    """
    pictures: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        pictures.setdefault((item.stratum, item.cluster), []).append(item)
    for (stratum, cluster), pair in pictures.items():
        if len(pair) != 2:
            raise BooksError(f"picture {cluster} has {len(pair)} questions in {stratum}; MME's formula needs two")
        given = [answers[item.item_id] for item in pair]
        readings = [official(answer.text) for answer in given]
        right = [reading == item.expected for reading, item in zip(readings, pair, strict=True)]
        replied = all(answer.finish != "error" for answer in given)
        points = image_score((right[0], right[1])) if replied else None
        for answer, reading, correct in zip(given, readings, right, strict=True):
            state: ItemState = "unparsable" if reading == "other" else "scored"
            yield ItemScore(answer, protocol, area[stratum], points, state if replied else "failed")
            marks = {"accuracy": correct, "other": reading == "other", "yes_ratio": reading == "yes"}
            for metric, mark in marks.items():
                failed = answer.finish == "error"
                yield ItemScore(
                    answer, protocol, metric, None if failed else float(mark), "failed" if failed else state
                )
