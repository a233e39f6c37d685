"""POPE's parser and figures on answer files, with what the official script does not check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vlfeedback import stats
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.evaluate._books import Counted
from vlfeedback.evaluate._digits import added
from vlfeedback.evaluate._pope_files import Asked, join_split, questions_of, read_split
from vlfeedback.evaluate._resample import Noise, noise, ratio
from vlfeedback.evaluate._yes_no import Reading, whole_words

PARSER = "pope-official"
STRICT = "pope-strict"
SIZE, OLD_RANDOM, SPLITS = 3000, 2910, 3
"""Questions per split; of the random split before its authors completed it; number of splits."""

NEGATIVE = frozenset({"No", "no", "not"})


def official(text: str) -> Reading:
    """Read an answer exactly as POPE's official script does.

    What stands before the first full stop, without commas, is split at the space character only. `No`, `no` or `not`
    among these words, in just this case, is a no; everything else is a yes, an empty answer too.

    Source:
        Li et al. 2023 (arXiv:2305.10355), evaluation script of the benchmark.
    """
    words = text.split(".")[0].replace(",", "").split(" ")
    return "no" if NEGATIVE.intersection(words) else "yes"


class Said(NamedTuple):
    """How one answer was read: as `yes`, `no`, or (strictly) neither."""

    image: str
    label: str
    read: Reading


@dataclass(frozen=True, slots=True)
class Figures:
    """Positive class is yes; a figure whose denominator is nothing is None.

    Attributes:
        yes_ratio: Share of the predictions that are yes.
        n: Answers that were scored.
        se: Standard error of the accuracy, pictures being the units.
        se_f1: Likewise of F1, by bootstrap over pictures.
    """

    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    yes_ratio: float | None
    n: int
    tp: int
    fp: int
    tn: int
    fn: int
    se: float | None
    se_f1: float | None
    ci_accuracy: tuple[float, float] | None
    ci_f1: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


def figures(said: Sequence[Said]) -> Figures:
    """Score answers; one that is read as neither is wrong: no prediction of yes, and not right."""
    tp = sum(one.label == "yes" == one.read for one in said)
    fp = sum(one.label == "no" and one.read == "yes" for one in said)
    tn = sum(one.label == "no" == one.read for one in said)
    missed = sum(one.label == "yes" != one.read for one in said)
    n = len(said)
    precision, recall = _share(tp, tp + fp), _share(tp, tp + missed)
    values = [float(one.label == one.read) for one in said]
    estimate = stats.mean(values, clusters=[one.image for one in said]) if said else None
    of_f1 = noise(_counts(said), ratio)
    return Figures(
        accuracy=_share(tp + tn, n),
        precision=precision,
        recall=recall,
        f1=_harmonic(precision, recall, tp, fp + missed),
        yes_ratio=_share(tp + fp, n),
        n=n,
        tp=tp,
        fp=fp,
        tn=tn,
        fn=missed,
        se=estimate.se if estimate else None,
        se_f1=of_f1.se,
        ci_accuracy=None if estimate is None else _pair(Noise(None, estimate.low, estimate.high)),
        ci_f1=_pair(of_f1),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _harmonic(precision: float | None, recall: float | None, tp: int, wrong: int) -> float | None:
    """In the operations of the official script, and 0 where it would divide by nothing although there are mistakes."""
    if precision and recall:
        return 2 * precision * recall / (precision + recall)
    return 0.0 if not tp and wrong else None


def _pair(found: Noise) -> tuple[float, float] | None:
    return None if found.low is None or found.high is None else (found.low, found.high)


def _counts(said: Iterable[Said]) -> dict[str, tuple[float, float]]:
    """Per picture: true positives, and these + half of the mistakes; F1 is the quotient of the two sums."""
    found: dict[str, tuple[float, float]] = {}
    for one in said:
        hit = one.label == "yes" == one.read
        slip = (one.label == "yes") != (one.read == "yes")
        first, second = found.get(one.image, (0.0, 0.0))
        found[one.image] = (first + hit, second + hit + slip / 2)
    return found


@dataclass(frozen=True, slots=True)
class PopeResult(Counted):
    """What answer files score.

    Attributes:
        mean_f1: Mean of the splits' F1, as LLaVA reports it; None if one has none.
        differs: Share of answers that the official and the strict parser read differently.
        n_unparsable: Answers that say neither yes nor no in words; the official rule takes them for yes.
        versions: Per split, `3000`, `2910` (the random split before its authors completed it), or `other`.
    """

    parser: str
    splits: Mapping[str, Figures]
    pooled: Figures
    readable: Figures
    mean_f1: float | None
    differs: float | None
    versions: Mapping[str, str]
    benchmark: str = "pope"

    @property
    def protocol(self) -> str:
        """`pope/official` or `pope/strict`."""
        return f"pope/{self.parser.removeprefix('pope-')}"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "benchmark": "pope",
            "protocol": self.protocol,
            "parser": self.parser,
            "splits": {name: found.to_json() for name, found in self.splits.items()},
            "pooled": self.pooled.to_json(),
            "pooled_readable": self.readable.to_json(),
            "mean_f1": self.mean_f1,
            "se": self.pooled.se,
            **self.books(),
            "parsers_differ": self.differs,
            "versions": dict(self.versions),
        }


def score_files(paths: Sequence[Path], *, questions: Sequence[Path] = (), parser: str = PARSER) -> PopeResult:
    """Score answer files, one per split, each named by its stem.

    Args:
        paths: With the questions in them, or answers alone.
        questions: The official files of the splits, where `paths` holds answers alone; joined by id.
        parser: `pope-official` or `pope-strict`.
    Raises:
        ConfigError: two files of one name, or it cannot be told which questions a file answers.
        DataError: a file is not of the format, or holds no answer at all.
    """
    names = [path.stem for path in paths]
    if len(set(names)) != len(names) or not names:
        raise ConfigError(f"score pope takes one file per split, each with a name of its own, not {', '.join(names)}.")
    if questions:
        read = {path.stem: join_split(path, questions_of(path, questions)) for path in paths}
    else:
        read = {path.stem: read_split(path) for path in paths}
    return score_splits(read, parser=parser)


def score_splits(splits: Mapping[str, Sequence[Asked]], *, parser: str = PARSER) -> PopeResult:
    """Score questions with answers by split."""
    exact = {name: _read(rows, official) for name, rows in splits.items()}
    strict = {name: _read(rows, whole_words) for name, rows in splits.items()}
    chosen = strict if parser == STRICT else exact
    everything = [one for name in splits for one in chosen[name]]
    if not everything:
        raise DataError("there is no answer in any row: the field is called `answer`. Nothing can be scored.")
    sure = [one for name in splits for one in strict[name]]
    readable = [one for one, other in zip(everything, sure, strict=True) if other.read != "other"]
    changed = sum(a.read != b.read for name in splits for a, b in zip(exact[name], strict[name], strict=True))
    versions = {name: _version(name, len(rows)) for name, rows in splits.items()}
    found = {name: figures(chosen[name]) for name in splits}
    f1 = [one.f1 for one in found.values()]
    expected = sum(OLD_RANDOM if kind == str(OLD_RANDOM) else SIZE for kind in versions.values())
    expected += SIZE * max(0, SPLITS - len(splits))
    failed = sum(row.answer is None for rows in splits.values() for row in rows)
    complete = not failed and len(splits) == SPLITS and "other" not in versions.values()
    return PopeResult(
        parser=parser,
        splits=found,
        pooled=figures(everything),
        readable=figures(readable),
        mean_f1=added(one for one in f1 if one is not None) / len(f1) if None not in f1 else None,
        n_expected=expected,
        n_present=len(everything),
        n_unparsable=sum(one.read == "other" for one in sure),
        n_failed=failed,
        complete=complete,
        differs=changed / len(everything),
        versions=versions,
        warnings=tuple(_warnings(splits, found, versions, failed, len(everything), expected, complete)),
    )


def _read(rows: Iterable[Asked], reader: Callable[[str], Reading]) -> list[Said]:
    return [Said(row.image, row.label, reader(row.answer)) for row in rows if row.answer is not None]


def _version(name: str, rows: int) -> str:
    if rows == SIZE:
        return str(SIZE)
    return str(OLD_RANDOM) if rows == OLD_RANDOM and not {"popular", "adversarial"} & set(_words(name)) else "other"


def _words(name: str) -> list[str]:
    return name.lower().replace("-", "_").replace(".", "_").split("_")


def _warnings(
    splits: Mapping[str, Sequence[Asked]],
    found: Mapping[str, Figures],
    versions: Mapping[str, str],
    failed: int,
    present: int,
    expected: int,
    complete: bool,
) -> Iterable[str]:
    if not complete:
        yield f"INCOMPLETE: {present} of {expected} answers; no figure of this may be set beside a published one."
    if failed:
        yield f"{failed} rows have no answer; they are in no figure (an official script would stop, or shift the rest)."
    for name, rows in splits.items():
        if versions[name] == "other":
            yield f"{name}: {len(rows)} rows; a split of POPE has {SIZE} (the older random one {OLD_RANDOM})."
        elif versions[name] == str(OLD_RANDOM):
            yield f"{name}: the older random split of {OLD_RANDOM} questions; not comparable with that of {SIZE}."
        if not found[name].tp + found[name].fp:
            yield f"{name}: no answer is read as yes, so there is no precision."
        elif not found[name].tn + found[name].fn:
            yield f"{name}: every answer is read as yes (check the conversion of the answers)."
