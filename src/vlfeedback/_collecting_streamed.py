"""Instructions with their responses out of two tables, a portion at a time: a million of them do not fit in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

from vlfeedback import groups, tables
from vlfeedback._groups_places import Beside, Numbered
from vlfeedback.annotate import Answered
from vlfeedback.records import Instruction, Response

PORTION = 1024
"""Instructions that are held at a time with their responses: some 8 MB where answers have 120 words."""


def answered(instructions: Path, responses: Path, done: Collection[str]) -> Iterator[Answered]:
    """Instructions in the order of their table, each with its responses in the order of theirs.

    Args:
        instructions: Their table.
        responses: Theirs.
        done: Ids of instructions to leave out.
    Raises:
        BooksError: there are responses to what is not in the table of instructions; said before the first is given.
    """
    answers = Beside(Numbered(instructions), responses, Response, "responses")
    left = tables.read(instructions, Instruction, but=tables.But("id", done))
    while portion := list(islice(left, PORTION)):
        for group in groups.join(portion, answers.of(portion)):
            yield Answered(group.instruction, group.responses)
