"""MME's formula on records of the official format, with everything that the official script does not check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vlfeedback import stats
from vlfeedback.errors import DataError
from vlfeedback.evaluate._books import Counted
from vlfeedback.evaluate._digits import added
from vlfeedback.evaluate._mme_files import Line
from vlfeedback.evaluate._yes_no import LENIENT, PARSER, Reading, image_score, official, question_key, whole_words
from vlfeedback.ids import hash_id


@dataclass(frozen=True, slots=True)
class Layout:
    """Which subtasks a benchmark in MME's format has, and how many pictures each.

    Attributes:
        perception: Pictures by subtask, in the benchmark's order.
        cognition: Likewise.
    """

    name: str
    perception: Mapping[str, int]
    cognition: Mapping[str, int]

    @property
    def subtasks(self) -> tuple[str, ...]:
        """All subtasks, perception first."""
        return (*self.perception, *self.cognition)

    @property
    def area(self) -> dict[str, str]:
        """`perception` or `cognition` by subtask."""
        return dict.fromkeys(self.perception, "perception") | dict.fromkeys(self.cognition, "cognition")


@dataclass(frozen=True, slots=True)
class Subtask:
    """One subtask.

    Attributes:
        score: 100 · accuracy + 100 · accuracy+, at most 200.
        accuracy: Right answers, as a share of questions.
        accuracy_plus: Pictures with both answers right, as a share of pictures.
        readable: The same score on pictures whose two answers can be read; None if there are none.
        images: Pictures with both questions, which are scored; `expected` should be there.
        unpaired: Lines whose picture has no second line; they are in no figure.
        other: Share of answers that are neither yes nor no; they are wrong.
        yes: Share of answers read as yes.
        constant: The one answer that every question got; empty if they differ. Such a subtask has exactly 50.
    """

    name: str
    area: str
    score: float
    accuracy: float
    accuracy_plus: float
    readable: float | None
    images: int
    expected: int
    unpaired: int
    other: float
    yes: float
    constant: str

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "area": self.area,
            "score": self.score,
            "accuracy": self.accuracy,
            "accuracy_plus": self.accuracy_plus,
            "questions": 2 * self.images,
            "images": self.images,
            "images_expected": self.expected,
            "unpaired": self.unpaired,
            "other": round(2 * self.images * self.other),
            "other_rate": self.other,
            "yes_ratio": self.yes,
            "readable": self.readable,
            "constant": self.constant or None,
        }


@dataclass(frozen=True, slots=True)
class Total:
    """Perception or cognition: the sum of its subtasks that are there, with a 95 % interval over pictures.

    Attributes:
        readable: Sum of the subtasks' readable scores; None if one has none.
    """

    value: float
    se: float | None
    low: float | None
    high: float | None
    readable: float | None
    subtasks: int
    expected_subtasks: int


@dataclass(frozen=True, slots=True)
class MMEResult(Counted):
    """What a folder in MME's format scores.

    Attributes:
        perception: None if no perception subtask is there.
        cognition: Likewise.
        complete: Every subtask has all of its pictures and nothing else; `n_failed` is 0, a line has its answer.
        other: Share of all answers that are neither yes nor no.
        yes: Share of all answers read as yes.
        differs: Share of answers that the official and the other parser read differently.
        missing: Subtasks without a file.
        constant: Subtasks in which every question got the same answer: usually a broken conversion.
        questions: Digest of subtask, image, question and truth of every line: equal for equal question sets.
    """

    benchmark: str
    parser: str
    perception: Total | None
    cognition: Total | None
    subtasks: tuple[Subtask, ...]
    other: float
    yes: float
    differs: float
    missing: tuple[str, ...]
    constant: tuple[str, ...]
    questions: str

    @property
    def protocol(self) -> str:
        """`mme/official`, or `mme/lenient` where words are read anywhere."""
        return f"{self.benchmark}/{'official' if self.parser == PARSER else 'lenient'}"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        totals = {"perception": self.perception, "cognition": self.cognition}
        return {
            "benchmark": self.benchmark,
            "protocol": self.protocol,
            "parser": self.parser,
            **{area: total and total.value for area, total in totals.items()},
            "subtasks": {one.name: one.to_json() for one in self.subtasks},
            "se": {area: total and total.se for area, total in totals.items()},
            "ci": {
                area: None if total is None or total.low is None else [total.low, total.high]
                for area, total in totals.items()
            },
            "readable": {area: total and total.readable for area, total in totals.items()},
            **self.books(),
            "other_rate": self.other,
            "yes_ratio": self.yes,
            "parsers_differ": self.differs,
            "missing": list(self.missing),
            "constant": list(self.constant),
            "questions": self.questions,
        }


class _Picture(NamedTuple):
    """A picture's two questions: how each was read, and whether that is right."""

    readings: tuple[Reading, Reading]
    right: tuple[bool, bool]
    differs: int

    @property
    def points(self) -> float:
        return image_score(self.right)


def score_lines(lines: Mapping[str, Sequence[Line]], layout: Layout, parser: str = PARSER) -> MMEResult:
    """Score lines by subtask.

    Lines are paired by the name of their picture, not by position.

    Args:
        lines: By subtask.
        layout: Which subtasks are expected.
        parser: The official one, or `whole-words`, which is labelled as lenient.
    Raises:
        DataError: a picture has more than two lines in one subtask, or the same question twice; a subtask has no pair;
            or there is no subtask of the layout at all.
    """
    unknown = lines.keys() - set(layout.subtasks)
    if unknown or not lines:
        raise DataError(f"{', '.join(sorted(unknown)) or 'nothing'} is no subtask of {layout.name}.")
    pictures: dict[str, list[_Picture]] = {}
    subtasks: list[Subtask] = []
    warnings: list[str] = []
    for name in layout.subtasks:
        if name in lines:
            pictures[name] = _pictures(name, lines[name], parser, warnings)
            subtasks.append(_subtask(name, layout, pictures[name], len(lines[name])))
    missing = tuple(name for name in layout.subtasks if name not in lines)
    constant = tuple(one.name for one in subtasks if one.constant)
    expected = 2 * sum({**layout.perception, **layout.cognition}.values())
    present = sum(len(listed) for listed in lines.values())
    complete = not missing and all(one.images == one.expected and not one.unpaired for one in subtasks)
    read = [reading for listed in pictures.values() for picture in listed for reading in picture.readings]
    warnings = [*_incomplete(complete, present, expected, missing), *_constant(constant), *warnings]
    return MMEResult(
        benchmark=layout.name,
        parser=parser,
        perception=_total(subtasks, pictures, "perception", len(layout.perception)),
        cognition=_total(subtasks, pictures, "cognition", len(layout.cognition)),
        subtasks=tuple(subtasks),
        n_expected=expected,
        n_present=present,
        n_unparsable=read.count("other"),
        n_failed=0,
        complete=complete,
        other=read.count("other") / len(read),
        yes=read.count("yes") / len(read),
        differs=sum(picture.differs for listed in pictures.values() for picture in listed) / len(read),
        missing=missing,
        constant=constant,
        questions=_digest(lines),
        warnings=tuple(warnings),
    )


def _pictures(name: str, lines: Sequence[Line], parser: str, warnings: list[str]) -> list[_Picture]:
    by_image: dict[str, list[Line]] = {}
    for line in lines:
        by_image.setdefault(line.image, []).append(line)
    found: list[_Picture] = []
    for image, pair in by_image.items():
        if len(pair) > 2:
            raise DataError(f"{name}.txt has {len(pair)} lines for {image}; MME asks two questions per picture.")
        if len(pair) == 2:
            if question_key(pair[0].question) == question_key(pair[1].question):
                raise DataError(f"{name}.txt asks {image} the same question twice; remove the repeated line.")
            found.append(_picture(pair, parser))
    if not found:
        raise DataError(f"{name}.txt has no picture with two questions; nothing can be scored.")
    if any(lines[index].image != lines[index + 1].image for index in range(0, len(lines) - 1, 2)):
        warnings.append(
            f"{name}: the two lines of a picture do not follow each other; the official script would pair others."
        )
    if len(by_image) > len(found):
        warnings.append(f"{name}: {len(by_image) - len(found)} pictures have one question only and are left out.")
    return found


def _picture(pair: Sequence[Line], parser: str) -> _Picture:
    exact: list[Reading] = [official(line.response) for line in pair]
    loose: list[Reading] = [whole_words(line.response) for line in pair]
    one, two = loose if parser == LENIENT else exact
    differs = sum(a != b for a, b in zip(exact, loose, strict=True))
    right = (one == pair[0].truth, two == pair[1].truth)
    return _Picture((one, two), right, differs)


def _subtask(name: str, layout: Layout, pictures: Sequence[_Picture], lines: int) -> Subtask:
    read = [reading for picture in pictures for reading in picture.readings]
    right = sum(sum(picture.right) for picture in pictures)
    readable = [picture.points for picture in pictures if "other" not in picture.readings]
    accuracy = right / len(read)
    plus = sum(all(picture.right) for picture in pictures) / len(pictures)
    return Subtask(
        name=name,
        area=layout.area[name],
        score=100 * accuracy + 100 * plus,
        accuracy=accuracy,
        accuracy_plus=plus,
        readable=added(readable) / len(readable) if readable else None,
        images=len(pictures),
        expected={**layout.perception, **layout.cognition}[name],
        unpaired=lines - 2 * len(pictures),
        other=read.count("other") / len(read),
        yes=read.count("yes") / len(read),
        constant=read[0] if len(set(read)) == 1 and len(pictures) > 1 else "",
    )


def _total(
    subtasks: Sequence[Subtask], pictures: Mapping[str, Sequence[_Picture]], area: str, expected: int
) -> Total | None:
    there = [one for one in subtasks if one.area == area]
    if not there:
        return None
    values = [picture.points for one in there for picture in pictures[one.name]]
    strata = [one.name for one in there for _ in pictures[one.name]]
    estimate = stats.mean(values, strata=strata)
    readable = [one.readable for one in there if one.readable is not None]
    return Total(
        value=added(one.score for one in there),
        se=estimate.se,
        low=estimate.low,
        high=estimate.high,
        readable=added(readable) if len(readable) == len(there) else None,
        subtasks=len(there),
        expected_subtasks=expected,
    )


def _incomplete(complete: bool, present: int, expected: int, missing: Sequence[str]) -> Iterable[str]:
    if not complete:
        yield f"INCOMPLETE: {present} of {expected} questions; no total of this may be set beside a published one."
    if missing:
        yield f"Missing subtasks, left out of the sums: {', '.join(missing)}."


def _constant(constant: Sequence[str]) -> Iterable[str]:
    if constant:
        yield f"One and the same answer to every question (check the conversion of the answers): {', '.join(constant)}."


def _digest(lines: Mapping[str, Sequence[Line]]) -> str:
    rows = [[name, line.image, question_key(line.question), line.truth] for name in lines for line in lines[name]]
    return hash_id("questions", sorted(rows))
