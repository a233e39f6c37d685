"""Instruction, responses, ratings and pairs, joined by id: what training and pages consume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from vlfeedback import tables
from vlfeedback._groups_places import Beside, Numbered
from vlfeedback.errors import BooksError
from vlfeedback.records import Annotation, Group, Instruction, PreferencePair, Rating, Response

T = TypeVar("T")

SCORES_ONLY = (
    "id", "instruction_id", "judge", "rubric", "order", "status", "call_key",
    "ratings.list.element.response_id", "ratings.list.element.aspect", "ratings.list.element.score",
)  # fmt: skip
"""Columns of annotations without the rationales, which are most of the bytes."""

PORTION = 8192
"""Instructions that are held at a time with all that is known of them."""


def join(
    instructions: Iterable[Instruction],
    responses: Iterable[Response],
    annotations: Iterable[Annotation] = (),
    pairs: Iterable[PreferencePair] = (),
) -> Iterator[Group]:
    """Groups in the order of the instructions; one without responses or pairs is a group all the same.

    Raises:
        BooksError: a response, rating or pair points to something that is not there.
    """
    answers: dict[str, list[Response]] = defaultdict(list)
    ratings: dict[str, list[Rating]] = defaultdict(list)
    preferences: dict[str, list[PreferencePair]] = defaultdict(list)
    for response in responses:
        answers[response.instruction_id].append(response)
    for annotation in annotations:
        ratings[annotation.instruction_id].extend(annotation.ratings)
    for pair in pairs:
        preferences[pair.instruction_id].append(pair)
    for instruction in instructions:
        mine = Group(
            instruction,
            tuple(answers.pop(instruction.id, ())),
            tuple(ratings.pop(instruction.id, ())),
            tuple(preferences.pop(instruction.id, ())),
        )
        _check(mine)
        yield mine
    for what, rest in (("responses", answers), ("ratings", ratings), ("pairs", preferences)):
        if rest:
            lost = next(iter(rest))
            raise BooksError(
                f"{len(rest):,} instructions have {what} but are not in the table of instructions (first: {lost}). "
                "The tables are of different runs: run the rooms again from source."
            )


def _check(group: Group) -> None:
    known = {response.id for response in group.responses}
    for rating in group.ratings:
        if rating.response_id not in known:
            raise BooksError(
                f"instruction {group.instruction.id} has a rating of response {rating.response_id}, not its own."
            )
    for pair in group.pairs:
        if pair.chosen_id not in known or pair.rejected_id not in known:
            raise BooksError(
                f"instruction {group.instruction.id} has pair {pair.id} of responses that are not its own."
            )


class Portion(NamedTuple):
    """Some groups of a run, and the annotations that their ratings are from."""

    groups: list[Group]
    annotations: list[Annotation]


def load(run_dir: Path, *, rationales: bool = True) -> Iterator[Group]:
    """Groups of a run folder, from whichever of its tables exist; a portion of them is in memory at a time.

    Args:
        run_dir: A run folder with at least `instructions.parquet` and `responses.parquet`.
        rationales: Read the judge's words too; without them a large run loads several times faster.
    Raises:
        BooksError: as `join`, for whole tables before the first group.
        DataError: a table is missing or damaged.
    """
    for portion in portions(run_dir, rationales=rationales):
        yield from portion.groups
        del portion  # or it would be held while the next one is read


def portions(run_dir: Path, *, rationales: bool = True, paired: bool = True) -> Iterator[Portion]:
    """The same in portions, in the order of the instructions.

    Args:
        paired: With the pairs that are there.
    """
    numbered = Numbered(run_dir / "instructions.parquet")

    def beside(name: str, record: type[T], what: str, columns: tuple[str, ...] | None = None) -> Beside[T] | None:
        path = run_dir / f"{name}.parquet"
        return Beside(numbered, path, record, what, columns) if path.exists() else None

    responses = Beside(numbered, run_dir / "responses.parquet", Response, "responses")
    annotations = beside("annotations", Annotation, "ratings", None if rationales else SCORES_ONLY)
    pairs = beside("pairs", PreferencePair, "pairs") if paired else None

    def portion(some: list[Instruction]) -> Portion:
        rated = list(annotations.of(some)) if annotations else []
        return Portion(list(join(some, responses.of(some), rated, pairs.of(some) if pairs else ())), rated)

    left = tables.read(run_dir / "instructions.parquet", Instruction)
    while some := list(islice(left, PORTION)):
        yield portion(some)
