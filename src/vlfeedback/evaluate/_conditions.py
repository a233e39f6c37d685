"""Under which conditions a model answered a benchmark, and in which of them two results must agree to be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, cast

from vlfeedback.records import ItemScore

UNKNOWN = "not recorded"


@dataclass(frozen=True, slots=True)
class Conditions:
    """What besides the model decides a result; `not recorded` where it is not known.

    Attributes:
        model: As in `Answer.model`.
        items: Digest of the item ids.
        prompts: Digest of what was asked, item by item: system message, texts, pictures.
        decoding: Temperature, top-p, token limits and seed.
        dtype: Number format of the weights; empty for an endpoint, which does not say.
        judge: Who judged, empty where nobody did.
        judge_prompt: Digest or name of the judge's prompt, likewise.
        recipe: How pictures were prepared; told, and no reason to refuse.
    """

    benchmark: str
    protocol: str
    model: str
    items: str = UNKNOWN
    prompts: str = UNKNOWN
    decoding: str = UNKNOWN
    dtype: str = UNKNOWN
    judge: str = ""
    judge_prompt: str = ""
    recipe: str = UNKNOWN

    def to_json(self) -> dict[str, str]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Any) -> Conditions:
        """Read what `to_json` gave; what is missing is not recorded.

        Raises:
            TypeError: it is no object.
        """
        if not isinstance(row, dict):
            raise TypeError(f"conditions are an object, not {type(row).__name__}")
        given = cast("dict[str, Any]", row)
        return cls(**{one.name: str(given.get(one.name, UNKNOWN)) for one in fields(cls)})


class Question(NamedTuple):
    """One item as it was asked: its id, and the canonical JSON of the request."""

    item_id: str
    request: str


def digest(parts: Iterable[object]) -> str:
    """16 hexadecimal digits over JSON values in sorted order."""
    lines = sorted(json.dumps(part, ensure_ascii=True, sort_keys=True) for part in parts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


class Asked(NamedTuple):
    """What the requests of a benchmark have in common."""

    prompts: str
    decoding: str
    recipe: str


def asked(questions: Iterable[Question]) -> Asked:
    """Prompts, decoding and picture recipe of requests; sampling keys are listed, prompts are digested.

    Args:
        questions: `ids.request_json` of every item.
    """
    prompts: list[object] = []
    decodings: set[str] = set()
    recipes: set[str] = set()
    for question in questions:
        request = cast("dict[str, Any]", json.loads(question.request))
        prompts.append([question.item_id, request.get("system"), request.get("parts"), request.get("schema")])
        temperature, top_p, most, seed, index = request.get("sampling") or [None] * 5
        seeded = f", seed {seed}" if seed is not None else ""
        repeated = f", sample {index}" if index else ""
        decodings.add(f"temperature {temperature}, top-p {top_p}, at most {most} tokens{seeded}{repeated}")
        recipes.add(str(request.get("recipe")))
    return Asked(digest(prompts), "; ".join(sorted(decodings)), "; ".join(sorted(recipes)))


class Unlike(NamedTuple):
    """A condition in which two results differ."""

    what: str
    benchmark: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.benchmark}: other {self.what} ({self.old} | {self.new})"


REASONS = {
    "protocol": "protocol", "judge": "judge", "judge_prompt": "judge prompt", "prompts": "prompt",
    "decoding": "decoding", "dtype": "dtype",
}  # fmt: skip
"""Conditions that two results must share, and what they are called."""


def unlike(old: Iterable[Conditions], new: Iterable[Conditions]) -> list[Unlike]:
    """Conditions in which two models' results differ, benchmark by benchmark; what is not recorded never differs.

    Args:
        old: Conditions of one model, one per benchmark and protocol.
        new: Conditions of the other.
    """
    found: list[Unlike] = []
    before, after = _by_benchmark(old), _by_benchmark(new)
    for benchmark, ones in before.items():
        others = after.get(benchmark, [])
        for field, what in REASONS.items():
            first, second = _all(ones, field), _all(others, field)
            # Prompts of other items differ for the items' sake, which is said on its own.
            items = _all(ones, "items") != _all(others, "items")
            if others and first != second and UNKNOWN not in (*first, *second) and not (field == "prompts" and items):
                if field == "dtype" and not (any(first) and any(second)):
                    continue  # an endpoint does not say
                found.append(Unlike(what, benchmark, _words(first), _words(second)))
    return found


def unlike_items(old: Iterable[ItemScore], new: Iterable[ItemScore]) -> list[Unlike]:
    """Benchmarks of which two models have other items, by their item scores."""
    before, after = _items(old), _items(new)
    return [
        Unlike("item set", benchmark, f"{len(items - after[benchmark]):,} items only here",
               f"{len(after[benchmark] - items):,} only here")
        for benchmark, items in before.items()
        if benchmark in after and items != after[benchmark]
    ]  # fmt: skip


def _items(scores: Iterable[ItemScore]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for score in scores:
        found.setdefault(score.answer.benchmark, set()).add(score.answer.item_id)
    return found


def _by_benchmark(listed: Iterable[Conditions]) -> dict[str, list[Conditions]]:
    found: dict[str, list[Conditions]] = {}
    for one in listed:
        found.setdefault(one.benchmark, []).append(one)
    return found


def _all(ones: Iterable[Conditions], field: str) -> tuple[str, ...]:
    return tuple(sorted({str(getattr(one, field)) for one in ones}))


def _words(values: tuple[str, ...]) -> str:
    return ", ".join(value or "none" for value in values)
