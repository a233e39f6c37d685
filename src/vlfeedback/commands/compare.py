"""`vlfeedback compare DIR_A DIR_B`: paired differences of two runs, or of several seeds of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vlfeedback.commands._compare_text import show
from vlfeedback.commands._sides import Model, models_of
from vlfeedback.errors import ConfigError
from vlfeedback.evaluate import (
    MAX_FAILED,
    UNKNOWN,
    Drift,
    Row,
    compare_seeds,
    drift,
    failed_share,
    sentence,
    unlike,
    unlike_items,
)

__all__ = ["Comparison", "compare_runs", "show", "write_page"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two run folders, several seeds of each, or the models of one.

    Attributes:
        first: Folders with the old results.
        second: Folders with the new ones, as many.
        same: Models that answered every item alike in both runs; they are in no row.
        drift: How the form of the answers changed.
        refused: Why there is no headline: metrics of which too many items failed. Empty if there is one.
        notes: What was noticed, and compared all the same.
    """

    first: tuple[Path, ...]
    second: tuple[Path, ...]
    rows: tuple[Row, ...]
    same: tuple[str, ...] = ()
    drift: tuple[Drift, ...] = ()
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> list[str] | None:
        """What the headline metrics say, in words; None where it is refused."""
        return None if self.refused else [sentence(row) for row in self.rows if row.headline]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        first, second = ([str(one) for one in side] for side in (self.first, self.second))
        return {
            "first": first[0] if len(first) == 1 else first,
            "second": second[0] if len(second) == 1 else second,
            "seeds": len(first),
            "headline": self.headline,
            "rows": [row.to_json() for row in self.rows],
            "drift": [one.to_json() for one in self.drift],
            "same": list(self.same),
            "refused": list(self.refused),
            "notes": list(self.notes),
        }


class _Two(NamedTuple):
    """Two models that meet, old and new, in every seed."""

    old: list[Model]
    new: list[Model]


def compare_runs(
    first: Path | Sequence[Path],
    second: Path | Sequence[Path] | None = None,
    *,
    parts: bool = False,
    anyway: bool = False,
    max_failed: float = MAX_FAILED,
) -> Comparison:
    """Compare two runs, or with one folder alone its models with its base.

    Of two runs those models meet that were made alike: base with base, `+dpo` with `+dpo`. If no two were, the first
    trained model of each run meets the other's. Several folders are seeds: the first of one side is paired with the
    first of the other.

    Args:
        first: Run folder with the old results, or one per seed.
        second: Run folder with the new ones, or as many; None, or the same again, compares within.
        parts: Also the subtasks of sums; they are too small to be read alone.
        anyway: Compare although conditions differ, on the items both have; they are named in `notes`.
        max_failed: Share of items without a reply above which there is no headline, 0 to 1.
    Returns:
        Differences, second minus first.
    Raises:
        ConfigError: a folder has no item scores, the two share no item, or judge, judge prompt, protocol, prompt,
            decoding, dtype or item set differ and `anyway` is not set.
    """
    olds = (first,) if isinstance(first, Path) else tuple(first)
    news = olds if second is None else (second,) if isinstance(second, Path) else tuple(second)
    if len(olds) != len(news) or not olds:
        raise ConfigError(f"{len(olds)} folders on one side, {len(news)} on the other: give one per seed on each.")
    if not 0 <= max_failed <= 1:
        raise ConfigError(f"--max-failed is a share between 0 and 1, not {max_failed}")
    meetings = _meetings(olds, news)
    found = [unlike_words for two in meetings for unlike_words in _unlike(two)]
    within = olds == news
    if found and not anyway and not within:
        raise ConfigError(
            f"{_names(olds)} and {_names(news)} were not evaluated alike:\n  "
            + "\n  ".join(dict.fromkeys(found))
            + "\nEvaluate both alike, or add --anyway to compare them on the items both have."
        )
    rows: list[Row] = []
    forms: list[Drift] = []
    same: list[str] = []
    refused: list[str] = []
    for two in meetings:
        scores = [one.scores for one in two.old], [one.scores for one in two.new]
        gone = [str(one) for side in scores for run in side for one in failed_share(run, max_failed)]
        refused += gone
        if not gone and all(old.said == new.said for old, new in zip(*two, strict=True)):
            same.append(two.new[0].name)
            continue
        rows += compare_seeds(*scores, parts=parts, max_failed=max_failed, anyway=anyway or within)
        forms += drift(two.old[0].scores, two.new[0].scores)
    notes = (*dict.fromkeys(found), *_unrecorded(meetings), *dict.fromkeys(_one_sided(meetings)))
    return Comparison(olds, news, tuple(rows), tuple(same), tuple(forms), tuple(dict.fromkeys(refused)), notes)


def write_page(found: Comparison, path: Path) -> None:
    """Write a comparison as a page."""
    from vlfeedback import report

    report.write_comparison(found.to_json(), path)


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))


def _meetings(olds: Sequence[Path], news: Sequence[Path]) -> list[_Two]:
    """Which models meet; over several seeds those that meet in every one."""
    seeds: list[dict[tuple[str, str], tuple[Model, Model]]] = []
    for old, new in zip(olds, news, strict=True):
        if old == new:
            seeds.append(dict(_within(models_of(old))))
            if not seeds[-1]:
                raise ConfigError(f"{old} holds one model only: evaluate a second one, or name another run folder.")
        else:
            seeds.append(dict(_across(models_of(old), models_of(new))))
    shared = [key for key in seeds[0] if all(key in one for one in seeds)]
    if not shared:
        raise ConfigError("no two models meet in every seed: give runs that trained and evaluated the same models.")
    return [_Two([one[key][0] for one in seeds], [one[key][1] for one in seeds]) for key in shared]


_Meeting = tuple[tuple[str, str], tuple[Model, Model]]


def _within(models: dict[str, Model]) -> Iterator[_Meeting]:
    for name, model in models.items():
        if name:
            yield ("", name), (models[""], model)


def _across(first: dict[str, Model], second: dict[str, Model]) -> Iterator[_Meeting]:
    shared = [name for name in first if name in second]
    if shared != [""] or len(first) == len(second) == 1:
        yield from (((name, name), (first[name], second[name])) for name in shared)
        return
    yield ("", ""), (first[""], second[""])
    one, two = _trained(first), _trained(second)
    yield (one, two), (first[one], second[two])


def _trained(models: dict[str, Model]) -> str:
    """The model that a run is about: trained and no control, else its only one."""
    names = [name for name in models if name.startswith("+")]
    return min(names, key=lambda name: (":" in name, len(name)), default="")


def _unlike(two: _Two) -> Iterator[str]:
    """In what the two sides were not evaluated alike, in words."""
    for old, new in zip(two.old, two.new, strict=True):
        for one in (*unlike(old.conditions, new.conditions), *unlike_items(old.scores, new.scores)):
            yield f"{one}" if old.name == new.name else f"{old.name} | {new.name}: {one}"


def _one_sided(meetings: Sequence[_Two]) -> Iterator[str]:
    """Benchmarks that only one of two models has answered; nothing else would say that they are in no row."""
    for two in meetings:
        first, second = ({one.answer.benchmark for model in side for one in model.scores} for side in two)
        for benchmark in sorted(first ^ second):
            yield f"{benchmark}: only on the {'first' if benchmark in first else 'second'} side, not compared"


def _unrecorded(meetings: Sequence[_Two]) -> Iterator[str]:
    """Conditions that nobody wrote down, so that nobody can say whether they were alike."""
    listed = [one for two in meetings for side in two for model in side for one in model.conditions]
    missing: dict[str, list[str]] = {}
    for one in listed:
        fields = [name for name in ("prompts", "decoding", "dtype") if getattr(one, name) == UNKNOWN]
        missing.setdefault(", ".join(fields), []).append(one.benchmark)
    for fields, benchmarks in missing.items():
        if fields:
            yield f"{', '.join(dict.fromkeys(benchmarks))}: {fields} not recorded, taken to be alike"
