"""`vlfeedback score`: the scorer alone, on files in a benchmark's official format; no model, no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from vlfeedback.errors import ConfigError, DataError, ResultFileError
from vlfeedback.registry import closest


class Scored(Protocol):
    """What every scorer gives.

    Attributes:
        complete: Every item of the benchmark is there and has a reply.
        warnings: What a reader must know before quoting a figure, the worst first.
    """

    @property
    def complete(self) -> bool: ...

    @property
    def warnings(self) -> tuple[str, ...]: ...

    def to_json(self) -> dict[str, Any]: ...


class Given(NamedTuple):
    """What the caller gave besides the benchmark's name."""

    paths: Sequence[Path]
    parser: str = "official"
    template: Path | None = None
    capabilities: Path | None = None
    questions: Sequence[Path] = ()

    def only_path(self, what: str) -> Path:
        """The one path.

        Raises:
            ConfigError: there are several.
        """
        if len(self.paths) != 1:
            raise ConfigError(f"this benchmark is scored from {what}, not from {len(self.paths)} paths.")
        return self.paths[0]


def _mme(given: Given) -> Scored:
    from vlfeedback.evaluate import mme

    folder = given.only_path("one folder of answer files")
    return mme.score_folder(folder, parser=mme.LENIENT if given.parser == "lenient" else mme.PARSER)


def _pope(given: Given) -> Scored:
    from vlfeedback.evaluate import _pope_result as pope

    return pope.score_files(given.paths, questions=given.questions, parser=f"pope-{given.parser}")


def _mmhal(given: Given) -> Scored:
    from vlfeedback.evaluate import _mmhal_result as mmhal

    path = given.only_path("one file of judge replies")
    return mmhal.score_file(path, template=given.template, parser=f"mmhal-{given.parser}")


def _mmvet(given: Given) -> Scored:
    from vlfeedback.evaluate import _mmvet_result as mmvet

    if given.capabilities is None:
        raise ConfigError(
            "score mmvet needs --capabilities FILE: question id → list of capabilities, or the benchmark's mm-vet.json."
        )
    return mmvet.score_files(given.paths, given.capabilities)


def _llava_bench(given: Given) -> Scored:
    from vlfeedback.evaluate import _llava_bench_result as llava_bench

    return llava_bench.score_file(given.only_path("one file of reviews"))


class _Scorer(NamedTuple):
    """How a benchmark is scored, what its files hold, and which parsers and options it takes besides the official."""

    score: Callable[[Given], Scored]
    reads: str
    parsers: tuple[str, ...] = ("official",)
    options: tuple[str, ...] = ()


SCORERS: dict[str, _Scorer] = {
    "mme": _Scorer(
        _mme, "a folder of SUBTASK.txt, lines of image, question, ground truth and response with tabs between them",
        ("official", "lenient"),
    ),
    "pope": _Scorer(
        _pope, "a file per split, JSON lines of question_id, image, text, label and answer",
        ("official", "strict"), ("questions",),
    ),
    "mmhal": _Scorer(
        _mmhal, "a JSON list of chat completions, one per question in their order, null where there is none",
        ("official", "strict"), ("template",),
    ),
    "mmvet": _Scorer(
        _mmvet, "JSON objects: question id → model, content and score; and for --capabilities id → list",
        options=("capabilities",),
    ),
    "llava_bench": _Scorer(_llava_bench, "JSON lines of question_id, category and content"),
}  # fmt: skip


def score(
    benchmark: str,
    paths: Sequence[Path],
    *,
    parser: str = "official",
    template: Path | None = None,
    capabilities: Path | None = None,
    questions: Sequence[Path] = (),
) -> Scored:
    """Score answers or judge replies that lie on disk.

    Args:
        benchmark: mme, pope, mmhal, mmvet or llava_bench.
        paths: MME: one folder with a text file per subtask. POPE: one file of JSON lines per split. MMHal-Bench: one
            JSON list of judge replies. MM-Vet: grade files. LLaVA-Bench: one file of reviews, JSON lines.
        parser: `official`; also `lenient` (mme) or `strict` (pope, mmhal).
        template: MMHal-Bench's response_template.json, for the types of the questions.
        capabilities: MM-Vet: what each question needs.
        questions: POPE: the official files of the splits, where `paths` holds answers alone.
    Raises:
        ConfigError: unknown benchmark, parser or option; a path that is not there; a wrong number of paths.
        ResultFileError: the files are not in the official format.
    """
    if benchmark not in SCORERS:
        raise ConfigError(f"there is no scorer {benchmark!r}; {closest(benchmark, tuple(SCORERS))}")
    scorer = SCORERS[benchmark]
    if parser not in scorer.parsers:
        raise ConfigError(f"{benchmark} has no parser {parser!r}; {closest(parser, scorer.parsers)}")
    options = {
        "template": [template] if template else [],
        "capabilities": [capabilities] if capabilities else [],
        "questions": list(questions),
    }
    for name, files in options.items():
        if files and name not in scorer.options:
            raise ConfigError(f"--{name} says nothing of {benchmark}; leave it out.")
    for path in [*paths, *(file for files in options.values() for file in files)]:
        _look(path)
    try:
        return scorer.score(Given(paths, parser, template, capabilities, questions))
    except DataError as error:
        words = (
            str(error) if any(str(path) in str(error) for path in paths) else f"{', '.join(map(str, paths))}: {error}"
        )
        raise ResultFileError(
            f"{words}\n`score {benchmark}` reads {scorer.reads}: see docs/rooms/evaluate.md."
        ) from error


def _look(path: Path) -> None:
    """Refuse what cannot be read to its end."""
    try:
        there, device = path.exists(), path.is_char_device()
    except OSError as error:  # a name that is too long
        raise ConfigError(f"{str(path)[:80]} … cannot be looked up: {error.strerror}.") from error
    if not there:
        raise ConfigError(f"{path} is not there.")
    if device:
        raise ConfigError(f"{path} is a device and has no end; give a file.")
