"""A judge that cannot be read is told of while it can still be stopped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vlfeedback import collecting
from vlfeedback.annotate import vlfeedback
from vlfeedback.records import Annotation, AnnotationStatus, Rating

RUBRIC = vlfeedback.load()


def replies(
    judge: str, count: int, status: AnnotationStatus = "unparsed", score: int | None = None
) -> list[Annotation]:
    ratings = tuple(Rating("r", aspect, score) for aspect in RUBRIC.aspects)
    return [Annotation(f"{judge}{n}", "i", judge, "vlfeedback@1", ("r",), status, ratings, "c") for n in range(count)]


def heard(stream: list[Annotation], capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    for number, _ in enumerate(collecting._whole(stream, RUBRIC), 1):  # pyright: ignore[reportPrivateUsage]
        for line in capsys.readouterr().err.splitlines():
            yield f"{number} {line}"


def test_it_is_told_after_twenty_replies_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    stream = [*replies("mute", 12), *replies("mute", 30, "refused")]
    (line,) = heard(stream, capsys)
    assert line.startswith("20 worth a look: none of the first 20 replies of mute holds a rating that can be read")
    assert "(12 unparsed, 8 refused)" in line


def test_one_rating_is_enough_and_judges_are_counted_apart(capsys: pytest.CaptureFixture[str]) -> None:
    one = [*replies("good", 19), *replies("good", 1, "partial", 3), *replies("good", 40)]
    assert list(heard(one, capsys)) == []
    assert list(heard([*replies("a", 19), *replies("b", 19)], capsys)) == []
