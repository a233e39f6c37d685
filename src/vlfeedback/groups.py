"""Instruction, responses, ratings and pairs, joined by id: what training and pages consume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from vlfeedback import tables
from vlfeedback.errors import BooksError
from vlfeedback.records import Annotation, Group, Instruction, PreferencePair, Rating, Response

T = TypeVar("T")

SCORES_ONLY = (
    "id", "instruction_id", "judge", "rubric", "order", "status", "call_key",
    "ratings.list.element.response_id", "ratings.list.element.aspect", "ratings.list.element.score",
)  # fmt: skip
"""Columns of annotations without the rationales, which are most of the bytes."""


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


def load(run_dir: Path, *, rationales: bool = True) -> Iterator[Group]:
    """Groups of a run folder, from whichever of its tables exist.

    Args:
        run_dir: A run folder with at least `instructions.parquet` and `responses.parquet`.
        rationales: Read the judge's words too; without them a large run loads several times faster.
    """

    def rows(name: str, record: type[T], columns: tuple[str, ...] | None = None) -> Iterator[T]:
        path = run_dir / f"{name}.parquet"
        return tables.read(path, record, columns=columns) if path.exists() else iter(())

    yield from join(
        tables.read(run_dir / "instructions.parquet", Instruction),
        tables.read(run_dir / "responses.parquet", Response),
        rows("annotations", Annotation, None if rationales else SCORES_ONLY),
        rows("pairs", PreferencePair),
    )
