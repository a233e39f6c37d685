"""POPE: is there a thing in the picture? Three splits of 3,000 questions on 500 pictures, half of them yes.

Protocol `pope/official`: the question unchanged, the official parser (everything that is no `No`, `no` or `not` is a
yes). `pope/llava` appends LLaVA's suffix to the question, with the same parser.

Source:
    Li et al. 2023 (arXiv:2305.10355).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from vlfeedback.errors import DataError
from vlfeedback.evaluate._contract import Benchmark, Example, Item
from vlfeedback.evaluate._parquet import hub_rows, parquet_files
from vlfeedback.evaluate._pictures import picture
from vlfeedback.evaluate._pope_result import OLD_RANDOM, PARSER, SIZE, official, score_files
from vlfeedback.evaluate._read import Row, id_of, rows_of, unique
from vlfeedback.evaluate._resample import noise, ratio
from vlfeedback.evaluate._summary import summarise
from vlfeedback.evaluate._yes_no import whole_words
from vlfeedback.images import Roots
from vlfeedback.records import Answer, Image, ItemScore, ItemState, Judgement, Score

__all__ = ["EXAMPLES", "PARSER", "load", "official", "score_files"]

SPLITS = ("random", "popular", "adversarial")
SHORT_ANSWER = "\nAnswer the question using a single word or phrase."


@dataclass(frozen=True)
class PopeBenchmark:
    """The benchmark on the user's own copy of its questions and of COCO's pictures."""

    path: Path
    images: str
    roots: Roots
    suffix: str
    protocol: str
    max_tokens: int
    name: str = "pope"

    @cached_property
    def _rows(self) -> dict[str, list[Row]]:
        files = {name: self.path / f"coco_pope_{name}.json" for name in SPLITS}
        found = {name: rows_of(file) for name, file in files.items() if file.is_file()}
        if not found and self._tables:
            return self._of_tables()
        if not found:
            raise DataError(f"{self.path} holds none of {', '.join(file.name for file in files.values())}.")
        for name, rows in found.items():
            unique((id_of(row) for row in rows), files[name])
        return found

    @cached_property
    def _tables(self) -> list[Path]:
        return parquet_files(self.path)

    def _of_tables(self) -> dict[str, list[Row]]:
        """The dataset hub's Parquet files as rows of the official ones; each picture is stored once."""
        found: dict[str, list[Row]] = {}
        names = ("question_id", "question", "answer", "image_source", "category")
        for row in hub_rows(self._tables, names):
            split = row.texts["category"]
            if split not in SPLITS:
                raise DataError(f"{row.where} is no question of POPE: category {split!r}.")
            image = f"{row.texts['image_source']}.jpg"
            if image not in self._stored:
                self._stored[image] = row.image(self.roots)
            label = row.texts["answer"].strip().lower()
            fields = {"question_id": row.texts["question_id"], "image": image, "text": row.texts["question"]}
            found.setdefault(split, []).append(Row(row.where, {**fields, "label": label}))
        for rows in found.values():
            unique((id_of(row) for row in rows), self.path)
        return {name: found[name] for name in SPLITS if name in found}

    @cached_property
    def _stored(self) -> dict[str, Image]:
        return {}

    @property
    def size(self) -> int:
        """Questions of a whole benchmark: 9,000, or 8,910 with the older random split."""
        return 2 * SIZE + (OLD_RANDOM if len(self._rows.get("random", ())) == OLD_RANDOM else SIZE)

    def items(self) -> Iterator[Item]:
        """All questions, split by split, in the order of the files."""
        for split, rows in self._rows.items():
            for row in rows:
                yield self._item(split, row)

    def _item(self, split: str, row: Row) -> Item:
        image, text, label = (row.fields.get(name) for name in ("image", "text", "label"))
        if not isinstance(image, str) or not isinstance(text, str) or label not in ("yes", "no"):
            raise DataError(f"{row.where}: a question of POPE has image, text, and a label yes or no.")
        name = image.replace("\\", "/").rsplit("/", 1)[-1]
        found = self._stored.get(name) or picture(self.roots, self.images, (name, image), "POPE")
        return Item(
            f"{split}/{id_of(row)}", text + self.suffix, (found,), name, split, str(label), max_tokens=self.max_tokens
        )

    def score(self, items: Sequence[Item], answers: Iterable[Answer]) -> Iterator[ItemScore]:
        """Accuracy, yes answers, and those that say neither yes nor no in words."""
        expected = {item.item_id: item.expected for item in items}
        for answer in answers:
            failed = answer.finish == "error"
            read, words = official(answer.text), whole_words(answer.text)
            state: ItemState = "failed" if failed else "unparsable" if words == "other" else "scored"
            marks = {
                "accuracy": read == expected[answer.item_id],
                "yes_ratio": read == "yes",
                "other": words == "other",
            }
            for metric, mark in marks.items():
                yield ItemScore(answer, self.protocol, metric, None if failed else float(mark), state)

    def summarise(self, item_scores: Iterable[ItemScore]) -> list[Score]:
        """The rates over all splits, accuracy of each, and F1: pooled, of each split, and their mean."""
        scores = list(item_scores)
        parts = {name: [one for one in scores if one.answer.stratum == name] for name in SPLITS}
        found = summarise(scores, readable=("accuracy",))
        for name, part in parts.items():
            found += [
                replace(one, metric=f"{one.metric}/{name}")
                for one in summarise((s for s in part if s.metric in ("accuracy", "yes_ratio")), max_failed=1.0)
            ]
        each = [score for name, part in parts.items() for score in _f1(part, f"f1/{name}")]
        pooled = _f1(scores, "f1")
        mean = sum(one.value for one in each) / len(each) if len(each) == len(SPLITS) else None
        more = [replace(pooled[0], metric="mean_f1", value=mean, ci_low=None, ci_high=None)] if mean is not None else []
        return [*found, *pooled, *more, *each]

    def export(
        self, folder: Path, items: Sequence[Item], answers: Sequence[Answer], judgements: Sequence[Judgement]
    ) -> None:
        """One file per split: the benchmark's rows with `answer`, null where there is none."""
        del judgements
        folder.mkdir(parents=True, exist_ok=True)
        given = {one.item_id: one.text for one in answers if one.finish != "error"}
        asked = {item.item_id for item in items}
        for split, rows in self._rows.items():
            kept = [
                {**row.fields, "answer": given.get(name)} for row in rows if (name := f"{split}/{id_of(row)}") in asked
            ]
            text = "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in kept)
            (folder / f"coco_pope_{split}.json").write_text(text, encoding="utf-8")


def _f1(scores: Sequence[ItemScore], metric: str) -> list[Score]:
    """F1 from who was right and who was read as yes; pictures are the units."""
    valued = [one for one in scores if one.value is not None]
    right = {one.answer.item_id: one for one in valued if one.metric == "accuracy"}
    yes = {one.answer.item_id: bool(one.value) for one in valued if one.metric == "yes_ratio"}
    counts: dict[str, tuple[float, float]] = {}
    for item, one in right.items():
        correct, said = bool(one.value), yes[item]
        first, second = counts.get(one.answer.cluster, (0.0, 0.0))
        hit = float(correct and said)
        counts[one.answer.cluster] = (first + hit, second + hit + (not correct) / 2)
    whole = sum(second for _, second in counts.values())
    if not right or not whole:
        return []
    spread, first = noise(counts, ratio), next(iter(right.values()))
    listed = [one for one in scores if one.metric == "accuracy"]
    value = sum(hit for hit, _ in counts.values()) / whole
    unread, failed = (sum(one.state == state for one in listed) for state in ("unparsable", "failed"))
    name, model = first.answer.benchmark, first.answer.model
    bounds = (spread.low, spread.high)
    return [Score(name, first.protocol, metric, value, *bounds, len(right), unread, failed, model)]


def load(
    *,
    path: Path,
    images: str = "",
    roots: Roots,
    protocol: Literal["official", "llava"] = "official",
    max_tokens: int = 64,
) -> Benchmark:
    """POPE from the user's own copy.

    Args:
        path: Folder with coco_pope_random.json, coco_pope_popular.json and coco_pope_adversarial.json (JSON lines); or
            a folder of the dataset hub's Parquet files, config Full.
        images: Name of the image root in [images] that is COCO's val2014; of no use with Parquet files.
        roots: Where pictures lie (given by the pipeline).
        protocol: `official` sends the question unchanged, `llava` appends a request for a single word or phrase.
        max_tokens: Upper bound of a reply; what follows its first full stop does not count.
    """
    suffix = SHORT_ANSWER if protocol == "llava" else ""
    return PopeBenchmark(path, images, roots, suffix, f"pope/{protocol}", max_tokens)


EXAMPLES: tuple[Example, ...] = (
    Example("right", "random", ("=", "="), {"accuracy": (1, 1), "yes_ratio": (1, 0), "other": (0, 0)}),
    Example("words, in this case only", "random", ("NO", "No, there is none."), {"accuracy": (1, 1), "other": (0, 0)}),
    Example("all else is a yes", "random", ("", "None."), {"accuracy": (1, 0), "yes_ratio": (1, 1), "other": (1, 1)}),
    Example("before the first full stop", "popular", ("Yes. No.", "It is not."), {"yes_ratio": (1, 0)}),
    Example("a line feed parts no words", "popular", ("yes\nno", "\nno"), {"yes_ratio": (1, 1)}),
    Example("no reply, no value", "adversarial", (None, "no"), {"accuracy": (None, 1), "yes_ratio": (None, 0)}),
)
