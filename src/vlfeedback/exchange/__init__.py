"""Import and export of data that already has responses, ratings or pairs, one file per format.

A format reads a file into items: an instruction as found, its completions, their ratings and the preferences among
them. `Intake` turns items into ledger rows and into the records that the other rooms make, so that everything
downstream treats imported data like its own. Law 2 holds: what the file says is in the ledger before anything is
derived from it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vlfeedback.compact import compact
from vlfeedback.exchange._items import (
    ASPECTS,
    IMAGES_ROOT,
    Both,
    Completion,
    Exporter,
    Format,
    Importer,
    Item,
    Pictures,
    Preference,
    Shape,
    Tally,
    Verdict,
)
from vlfeedback.exchange._scored import Marked, ScoreImporter, Sheet
from vlfeedback.ids import annotation_id, instruction_id, pair_id, response_id
from vlfeedback.images import side
from vlfeedback.records import (
    Annotation,
    AnnotationStatus,
    Call,
    Dropped,
    Generation,
    Instruction,
    PreferencePair,
    Purpose,
    Rating,
    Response,
    Split,
)
from vlfeedback.tables import balance

__all__ = [
    "ASPECTS",
    "IMAGES_ROOT",
    "Batch",
    "Books",
    "Both",
    "Completion",
    "Exporter",
    "Format",
    "Importer",
    "Intake",
    "Item",
    "Marked",
    "Pictures",
    "Preference",
    "Record",
    "ScoreImporter",
    "Shape",
    "Sheet",
    "Tally",
    "Verdict",
    "imported",
]  # fmt: skip

Record = Instruction | Response | Annotation | PreferencePair | Dropped
"""What an import hands on, in one stream."""

PARSER = "exchange-1"
"""Version of the reading of imported ratings; part of an annotation's id."""

RECORDS_AT_ONCE = 4096


@dataclass(slots=True)
class Books:
    """Counts of an import (law 3): rows = instructions + merged + dropped, and so on for what is inside them.

    Attributes:
        bare: Instructions without a picture, among the others.
        merged: Rows that add to an instruction which an earlier row has made.
        shared: Completions that an earlier row or position of the same instruction already has.
        unjudged: Rows without any rating, also dropped as `missing_rating` where the format has ratings.
        opposed: Pairs whose opposite is a pair as well; both are kept, because people who label disagree.
    """

    rows: int = 0
    instructions: int = 0
    bare: int = 0
    merged: int = 0
    rows_dropped: int = 0
    completions: int = 0
    responses: int = 0
    shared: int = 0
    completions_dropped: int = 0
    annotations: int = 0
    unjudged: int = 0
    ratings: int = 0
    ratings_missing: int = 0
    preferences: int = 0
    pairs: int = 0
    preferences_dropped: int = 0
    opposed: int = 0

    def check(self) -> None:
        """Raise BooksError if anything went missing."""
        balance(
            "exchange rows", self.rows, instructions=self.instructions, merged=self.merged, dropped=self.rows_dropped
        )
        balance(
            "exchange completions", self.completions,
            responses=self.responses, shared=self.shared, dropped=self.completions_dropped,
        )  # fmt: skip
        balance("exchange preferences", self.preferences, pairs=self.pairs, dropped=self.preferences_dropped)


class _Read(NamedTuple):
    """A completion that became a response."""

    id: str
    completion: Completion


def imported(name: str) -> str:
    """Identity of a model or judge of whom only the name is known."""
    return f"imported:{name}"


class Batch(NamedTuple):
    """Calls, and the records that rest on them and may only be handed on once the calls are kept."""

    calls: list[Call]
    records: list[Record]


class Intake:
    """The stage: items in, batches of calls and records out.

    Args:
        origin: Name of the format; becomes `Instruction.source`, and the strategy of its pairs.
        judge: Name of whoever rated; empty where the format has no ratings.
        eval_share: Share of pictures on the eval side, 0 to 1, of items whose data have no splits of their own.
    """

    def __init__(self, *, origin: str, judge: str, eval_share: float) -> None:
        self._origin, self._judge, self._eval_share = origin, judge, eval_share
        self._instructions: set[str] = set()
        self._responses: set[str] = set()
        self._rows: set[str] = set()
        self._paired: set[str] = set()
        self._sides: dict[str, Split] = {}
        self._calls: list[Call] = []
        self._now = time.time()
        self.books = Books()

    def run(self, items: Iterable[Item | Dropped]) -> Iterator[Batch]:
        """Turn items into batches, and check the books at the end.

        Raises:
            BooksError: something was lost.
        """
        waiting: list[Record] = []
        for item in items:
            self.books.rows += 1
            waiting.extend([self._drop(item)] if isinstance(item, Dropped) else self._item(item))
            if len(waiting) >= RECORDS_AT_ONCE:
                yield Batch(self._calls, waiting)
                self._calls, waiting = [], []
        yield Batch(self._calls, waiting)
        self.books.check()

    def _drop(self, dropped: Dropped) -> Dropped:
        self.books.rows_dropped += 1
        return dropped

    def _item(self, item: Item) -> Iterator[Record]:
        prompt = item.prompt.strip()
        split = self._side(prompt, item)
        usable = [one for one in item.completions if isinstance(one, Completion)]
        if not prompt:
            yield self._drop(Dropped("exchange", item.where, "empty_prompt"))
        elif split is None:
            detail = "its pictures lie on different sides of the split"
            if item.side is not None:
                detail = "it is in the held-out split, and its picture or prompt in the training split too"
            yield self._drop(Dropped("exchange", item.where, "split_conflict", detail))
        elif not usable:
            yield self._drop(Dropped("exchange", item.where, "no_responses"))
        else:
            key = instruction_id(prompt, item.images)
            read = [_Read(response_id(key, imported(one.model), None, one.text), one) for one in usable]
            found = _found(read)
            row = _digest(f"{key}\n{found}\n{item.preferences}")
            if row in self._rows:
                yield self._drop(Dropped("exchange", item.where, "duplicate", f"an earlier row is the same: {key}"))
                return
            self._rows.add(row)
            if key in self._instructions:
                self.books.merged += 1
            else:
                self._instructions.add(key)
                self.books.instructions += 1
                self.books.bare += not item.images
                yield Instruction(key, prompt, item.images, self._origin, item.category, split=split)
            yield from self._inside(key, item, read, found)

    def _side(self, prompt: str, item: Item) -> Split | None:
        """Side of an item; None where a picture (without one, the prompt) would be on both sides.

        The data's own splits are kept, but no picture is on both sides (law 6): what was there first keeps its side.
        """
        if item.side is None:
            return side(prompt, item.images, self._eval_share)
        keys = [image.sha256 for image in item.images] or [_digest(prompt)]
        return item.side if {self._sides.setdefault(key, item.side) for key in keys} == {item.side} else None

    def _inside(self, key: str, item: Item, read: Sequence[_Read], found: str) -> Iterator[Record]:
        """Responses, annotation and pairs of a row that is kept."""
        books = self.books
        unusable = [one for one in item.completions if isinstance(one, Dropped)]
        books.completions += len(item.completions)
        books.completions_dropped += len(unusable)
        yield from unusable
        parts = _json([*(["image", image.sha256] for image in item.images), ["text", item.prompt]])
        for one in read:
            if one.id in self._responses:
                books.shared += 1
                continue
            self._responses.add(one.id)
            books.responses += 1
            model = imported(one.completion.model)
            call = self._call(model, "decode", parts, one.completion.raw)
            yield Response(one.id, key, model, one.completion.text, "stop", None, call)
        if self._judge:
            yield self._annotation(key, item.where, read, found, whole=not unusable)
        yield from self._pairs(key, item, read)

    def _annotation(
        self, key: str, where: str, read: Sequence[_Read], found: str, *, whole: bool
    ) -> Annotation | Dropped:
        ratings = tuple(
            Rating(one.id, verdict.aspect, verdict.score, verdict.rationale)
            for one in read
            for verdict in one.completion.verdicts
        )
        if not ratings:
            self.books.unjudged += 1
            return Dropped("exchange", where, "missing_rating", f"the row has no ratings; instruction {key}")
        shown = "".join(f',["response","{one.id}"]' for one in read)
        parts = f'[["instruction","{key}"]{shown}]'
        call = self._call(imported(self._judge), "annotate", parts, found)
        missing = sum(rating.score is None for rating in ratings)
        self.books.annotations += 1
        self.books.ratings += len(ratings) - missing
        self.books.ratings_missing += missing
        status: AnnotationStatus = (
            "unparsed" if missing == len(ratings) else "partial" if missing or not whole else "ok"
        )
        rubric = imported(self._origin)
        return Annotation(
            annotation_id(call, rubric, PARSER), key, imported(self._judge), rubric, None, status, ratings, call
        )

    def _pairs(self, key: str, item: Item, read: Sequence[_Read]) -> Iterator[PreferencePair | Dropped]:
        left = iter(read)
        ids = [next(left).id if isinstance(one, Completion) else None for one in item.completions]
        strategy = imported(self._origin)
        for preference in item.preferences:
            self.books.preferences += 1
            chosen, rejected = ids[preference.chosen], ids[preference.rejected]
            if chosen is None or rejected is None:
                self.books.preferences_dropped += 1
                yield Dropped("exchange", item.where, "incomplete", "one side of the preference is not usable")
            elif chosen == rejected:
                self.books.preferences_dropped += 1
                yield Dropped("exchange", item.where, "identical", "both sides of the preference are the same response")
            elif (made := pair_id(chosen, rejected, strategy)) in self._paired:
                self.books.preferences_dropped += 1
                yield Dropped("exchange", item.where, "duplicate", f"an earlier row has the same pair: {made}")
            else:
                self._paired.add(made)
                self.books.pairs += 1
                self.books.opposed += pair_id(rejected, chosen, strategy) in self._paired
                yield PreferencePair(made, key, chosen, rejected, preference.margin, strategy)

    def _call(self, model: str, purpose: Purpose, parts: str, reply: str) -> str:
        """Put one settled call on the list and give its key.

        The reply is part of the key: a file may hold several answers of one model to one question, and how they were
        sampled is not known.
        """
        request = f'{{"imported":"{_digest(reply)}","parts":{parts},"sampling":null,"system":""}}'
        key = _digest(f"imported call\n{model}\n{request}")
        said = Generation(reply, "stop")
        self._calls.append(Call(key, model, request, purpose, said, 0.0, "done", 1, self._now, self._now))
        return key


def _json(value: object) -> str:
    return compact(value).decode("utf-8", "surrogatepass")


def _digest(text: str) -> str:
    """32 digits, as `hash_id` gives, without its JSON, which is half of an import's time for texts of this length."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


def _found(read: Sequence[_Read]) -> str:
    """What the judge said of a row as JSON, ratings exactly as found, each with the response it is about."""
    return _json([{"response": one.id, "model": one.completion.model, "found": one.completion.found} for one in read])
