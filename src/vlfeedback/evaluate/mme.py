"""MME: 1,187 pictures with two yes-or-no questions each, in ten perception and four cognition subtasks.

Protocol `mme/official`: the question unchanged, the official parser (the first four characters decide), and the
official formula. `mme/llava` and `mme/qwen` word the question as LLaVA does and as lmms-eval does for Qwen-VL, with the
same parser and formula. A subtask is 100 · accuracy + 100 · accuracy+; perception and cognition are sums of subtasks,
never means.

Source:
    Fu et al. 2023 (arXiv:2306.13394).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vlfeedback.errors import DataError
from vlfeedback.evaluate._contract import Benchmark, Example, Item
from vlfeedback.evaluate._mme_files import Line, read_file, read_folder, write_folder
from vlfeedback.evaluate._mme_result import Layout, MMEResult, Subtask, Total, score_lines
from vlfeedback.evaluate._parquet import hub_rows, parquet_files
from vlfeedback.evaluate._pictures import picture
from vlfeedback.evaluate._summary import summarise
from vlfeedback.evaluate._yes_no import LENIENT, PARSER, official, question_key, score_pairs, whole_words
from vlfeedback.images import Roots
from vlfeedback.records import Answer, ItemScore, Judgement, Score

__all__ = [
    "EXAMPLES", "LENIENT", "MME", "PARSER", "Layout", "Line", "MMEResult", "Subtask", "Total", "answer_lines", "load",
    "official", "read_file", "read_folder", "score_folder", "score_lines", "whole_words", "write_folder",
]  # fmt: skip

MME = Layout(
    "mme",
    {
        "existence": 30, "count": 30, "position": 30, "color": 30, "posters": 147, "celebrity": 170, "scene": 200,
        "landmark": 200, "artwork": 200, "OCR": 20,
    },
    {"commonsense_reasoning": 70, "numerical_calculation": 20, "text_translation": 20, "code_reasoning": 20},
)  # fmt: skip
"""Pictures per subtask."""

PICTURES = (".png", ".jpg", ".jpeg")

_REQUEST = "Please answer yes or no."
ENDINGS = {"llava": "\nAnswer the question using a single word or phrase.", "qwen": " Answer:"}
"""What other protocols put in the place of the question's last sentence."""


def worded(question: str, protocol: str) -> str:
    """A question in the words of a protocol; `official` changes nothing."""
    if protocol == "official":
        return question
    asked = question.rstrip()
    return (asked.removesuffix(_REQUEST).rstrip() if asked.endswith(_REQUEST) else question) + ENDINGS[protocol]


def score_folder(folder: Path, layout: Layout = MME, *, parser: str = PARSER) -> MMEResult:
    """Score a folder of official result files; needs no pictures, no model and no network.

    Args:
        folder: One text file per subtask; missing ones are named in the result, loudly.
        layout: Which subtasks are expected.
        parser: `mme-official-first4`, or `whole-words`, which is lenient and labelled so.
    Raises:
        DataError: the files are not of the format.
    """
    return score_lines(read_folder(folder, layout.subtasks), layout, parser)


def answer_lines(items: Sequence[Item], answers: Iterable[Answer]) -> dict[str, list[Line]]:
    """Items and answers as lines of the official format, by subtask; for `write_folder`.

    The lines of a picture follow each other. A picture one of whose questions has no answer, or a call that failed, is
    left out with both: the official script takes every two lines for a picture, and would pair all that follow a single
    one with strangers. The result will say that it is incomplete.
    """
    given = {answer.item_id: answer for answer in answers if answer.finish != "error"}
    pictures: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        pictures.setdefault((item.stratum, item.cluster), []).append(item)
    lines: dict[str, list[Line]] = {}
    for (stratum, cluster), asked in pictures.items():
        if all(item.item_id in given for item in asked):
            image = cluster.rsplit("/", 1)[-1]
            lines.setdefault(stratum, []).extend(
                Line(image, question_key(item.prompt), item.expected, given[item.item_id].text) for item in asked
            )
    return lines


@dataclass(frozen=True, slots=True)
class MMEBenchmark:
    """The benchmark on the user's own copy of its data."""

    path: Path
    images: str
    roots: Roots
    max_tokens: int = 64
    size: int = 2374
    name: str = "mme"
    wording: str = "official"

    @property
    def protocol(self) -> str:
        """`mme/official`, `mme/llava` or `mme/qwen`."""
        return f"mme/{self.wording}"

    def items(self) -> Iterator[Item]:
        """All questions, subtask by subtask, pictures in the order of their names."""
        found = [name for name in MME.subtasks if (self.path / name).is_dir()]
        tables = [] if found else parquet_files(self.path)
        if not found and not tables:
            raise DataError(f"{self.path} holds none of the folders {', '.join(MME.subtasks)}; is it the unpacked MME?")
        for subtask in found:
            yield from self._subtask(subtask)
        yield from self._rows(tables)

    def _rows(self, tables: list[Path]) -> Iterator[Item]:
        """Questions of the dataset hub's Parquet files, under the same ids as those of the folders."""
        seen: dict[str, int] = {}
        for row in hub_rows(tables, ("question_id", "question", "answer", "category")):
            subtask, truth = row.texts["category"], row.texts["answer"].strip().lower()
            if subtask not in MME.subtasks or truth not in ("yes", "no"):
                raise DataError(f"{row.where} is no question of MME: category {subtask!r}, answer {truth!r}.")
            cluster = f"{subtask}/{row.texts['question_id'].rsplit('/', 1)[-1]}"
            seen[cluster] = seen.get(cluster, 0) + 1
            question, number = worded(row.texts["question"], self.wording), seen[cluster]
            image = row.image(self.roots)
            yield Item(f"{cluster}#{number}", question, (image,), cluster, subtask, truth, max_tokens=self.max_tokens)

    def _subtask(self, subtask: str) -> Iterator[Item]:
        home = self.path / subtask
        # Five subtasks keep pictures and questions apart, the others side by side.
        asked, shown = home / "questions_answers_YN", home / "images"
        pictures = {
            path.stem: path for path in (shown if shown.is_dir() else home).iterdir() if path.suffix in PICTURES
        }
        for text in sorted((asked if asked.is_dir() else home).glob("*.txt")):
            file = pictures.get(text.stem)
            if file is None:
                raise DataError(f"{text} has no picture beside it ({text.stem}.png or .jpg)")
            image = picture(self.roots, self.images, (file.relative_to(self.path).as_posix(),), "MME")
            for number, (question, truth) in enumerate(_questions(text), 1):
                cluster = f"{subtask}/{file.name}"
                yield Item(
                    f"{cluster}#{number}", worded(question, self.wording), (image,), cluster, subtask, truth,
                    max_tokens=self.max_tokens,
                )  # fmt: skip

    def score(self, items: Sequence[Item], answers: Iterable[Answer]) -> Iterator[ItemScore]:
        """Points per picture, accuracy, unreadable and yes answers."""
        given = {answer.item_id: answer for answer in answers}
        yield from score_pairs(items, given, protocol=self.protocol, area=MME.area)

    def summarise(self, item_scores: Iterable[ItemScore]) -> list[Score]:
        """Perception, cognition, their subtasks, and the rates."""
        return summarise(item_scores)

    def export(
        self, folder: Path, items: Sequence[Item], answers: Sequence[Answer], judgements: Sequence[Judgement]
    ) -> None:
        """One text file per subtask, as the official script reads them."""
        del judgements
        write_folder(folder, answer_lines(items, answers))


def _questions(path: Path) -> list[tuple[str, str]]:
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    if len(rows) != 2 or any(len(row) != 2 or row[1].strip().lower() not in ("yes", "no") for row in rows):
        raise DataError(f"{path} must hold two lines, each a question, a tab, and Yes or No.")
    if question_key(rows[0][0]) == question_key(rows[1][0]):
        raise DataError(f"{path} asks the same question twice.")
    return [(question, truth.strip().lower()) for question, truth in rows]


def load(
    *,
    path: Path,
    images: str = "",
    roots: Roots,
    protocol: Literal["official", "llava", "qwen"] = "official",
    max_tokens: int = 64,
) -> Benchmark:
    """MME from the user's own copy.

    Args:
        path: The unpacked benchmark: a folder per subtask; or a folder of the dataset hub's Parquet files.
        images: Name of the image root in [images] that is the same folder; of no use with Parquet files.
        roots: Where pictures lie (given by the pipeline).
        protocol: `official` sends the question unchanged; `llava` and `qwen` replace its request for yes or no.
        max_tokens: Upper bound of a reply; only its first four characters count.
    """
    return MMEBenchmark(path, images, roots, max_tokens, wording=protocol)


EXAMPLES: tuple[Example, ...] = (
    Example("both right", "color", ("=", "="), {"perception": (200, 200), "accuracy": (1, 1), "other": (0, 0)}),
    Example("one of two", "color", ("=", "maybe"), {"perception": (50, 50), "accuracy": (1, 0), "other": (0, 1)}),
    Example("a constant answer", "color", ("Yes", "Yes, it is."), {"perception": (50, 50), "yes_ratio": (1, 1)}),
    Example("substrings, not words", "code_reasoning", ("Know", "eyes"), {"yes_ratio": (0, 1), "other": (0, 0)}),
    Example("yes comes before no", "color", ("yesno", "noyes"), {"yes_ratio": (1, 0), "other": (0, 0)}),
    Example("four characters, blanks included", "color", ("   yes", "\n\nno"), {"other": (1, 0)}),
    Example("talk first, or nothing", "color", ("There is, yes.", ""), {"other": (1, 1), "perception": (0, 0)}),
    Example("no reply, no value", "color", (None, "="), {"perception": (None, None), "accuracy": (None, 1)}),
)
