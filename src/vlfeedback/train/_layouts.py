"""Which layout a run uses: the fastest whose log-probabilities are those of the plainest."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vlfeedback.errors import ConfigError
from vlfeedback.train._collate import collate
from vlfeedback.train._layout import Layout, UnsharedRows
from vlfeedback.train._logps import takes_features, unwrapped
from vlfeedback.train._shared import said_of, shared_rows, why_not

if TYPE_CHECKING:
    from vlfeedback.train._collate import Batch, Encoded, Encoder


_REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError, ConfigError)
"""How models say that they cannot take a mask, positions or features."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A layout with a name for messages."""

    name: str
    layout: Layout


@dataclass(frozen=True, slots=True)
class CheckedLayout:
    """What a run uses, and why.

    Attributes:
        name: `shared`, `features once` or `plain`.
        differences: Largest difference to the plain layout by name, nats per token; empty where there was nothing to
            compare.
        refused: Why prompts are not shared where the model says that they cannot be, else empty.
        warnings: What a faster layout got wrong.
    """

    name: str
    layout: Layout
    differences: dict[str, float]
    refused: str
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For `selfcheck.json`."""
        return {"layout": self.name, "layout_differences": self.differences, "not_shared_because": self.refused}


def layouts(model: Any, processor: Any) -> tuple[Candidate, ...]:
    """Layouts that a model may take, the fastest first; the last is right for every model."""
    from vlfeedback.train._attention import register

    inner = unwrapped(model)
    tokenizer = getattr(processor, "tokenizer", processor)
    image = getattr(inner.config, "image_token_id", None)
    pads = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    pad = int(next(token for token in pads if token is not None and token != image))
    exact = hasattr(sys.modules[type(inner).__module__], "slice_logits_to_keep")
    plain = UnsharedRows(pad=pad, mask_logits=exact, said=said_of(inner))
    direct = _direct(inner, getattr(tokenizer, "eos_token_id", None))
    found = [Candidate("plain", plain)]
    if takes_features(inner):
        found.insert(0, Candidate("features once", replace(plain, features_once=True, direct=direct)))
    shared = shared_rows(inner, pad)
    if shared is not None:
        register()
        found.insert(0, Candidate("shared", replace(shared, direct=direct)))
    return tuple(found)


def _direct(model: Any, token: int | None) -> bool:
    from vlfeedback.train._head import ends_with_head

    try:
        return token is not None and ends_with_head(model, token)
    except _REFUSALS:
        return False


def checked_layout(
    candidates: Sequence[Candidate],
    groups: Sequence[Encoded],
    encoder: Encoder,
    score: Callable[[Batch], list[float]],
    limit: float,
    *,
    refused: str = "",
) -> CheckedLayout:
    """Compute one group in every layout, and take the first that agrees with the last.

    A model can take a mask, positions or features and quietly do something else with them: what is not measured is not
    used.

    Args:
        candidates: As `layouts` gives them.
        groups: Some of the run's; one with pictures and several responses is taken where there is one.
        encoder: Has the pictures.
        score: Log p of a batch under the frozen model.
        limit: Largest difference, nats per token.
        refused: Why the model cannot share prompts, for the record.
    """
    *faster, plain = candidates
    shown = max(groups, key=lambda group: (bool(group.images), len(group.responses) > 1))
    truth = score(collate([shown], layout=plain.layout, pictures=encoder.pictures))
    differences: dict[str, float] = {}
    warnings: list[str] = []
    for one in faster:
        try:
            found = score(collate([shown], layout=one.layout, pictures=encoder.pictures))
        except _REFUSALS as error:
            warnings.append(f"layout {one.name!r} cannot be computed ({error}): a slower one is used")
            print(warnings[-1], file=sys.stderr, flush=True)
            continue
        tokens = [len(response) for response in shown.responses]
        largest = _largest([abs(a - b) / n for a, b, n in zip(found, truth, tokens, strict=True)])
        differences[one.name] = largest
        if largest <= limit:
            return CheckedLayout(one.name, one.layout, differences, refused, tuple(warnings))
        warnings.append(f"layout {one.name!r} changes log p by {largest:.3g} nats per token: a slower one is used")
        print(warnings[-1], file=sys.stderr, flush=True)
    return CheckedLayout(plain.name, plain.layout, differences, refused, tuple(warnings))


def _largest(differences: Sequence[float]) -> float:
    """The largest, or not a number where one of them is none: `max` would pass over it."""
    return math.nan if any(map(math.isnan, differences)) else max(differences, default=0.0)


def refuse_foresight(
    layout: Layout,
    groups: Sequence[Encoded],
    encoder: Encoder,
    tokens: Callable[[Batch], Sequence[float]],
    limit: float,
) -> None:
    """Change a late token of a response and see that nothing before it moves.

    Some models read everything both ways unless they are told where a prompt ends; trained so, a response is predicted
    from itself, and every number looks good.

    Args:
        layout: The one a run uses.
        groups: Some of the run's; the one with the longest response is taken.
        encoder: Has the pictures.
        tokens: Log p of every token of a batch under the frozen model, responses one after the other.
        limit: Largest change, nats.
    Raises:
        ConfigError: a token knows what comes after it.
    """
    group, place = max(
        ((group, k) for group in groups for k in range(len(group.responses))),
        key=lambda found: len(found[0].responses[found[1]]),
    )
    said = group.responses[place]
    others = [token for token in said if token != said[-2]] if len(said) > 2 else []
    if not others:
        return
    changed = said.copy()
    changed[-2] = others[0]
    ways = [group, replace(group, responses=(*group.responses[:place], changed, *group.responses[place + 1 :]))]
    found = [tokens(collate([way], layout=layout, pictures=encoder.pictures)) for way in ways]
    start = sum(len(response) for response in group.responses[:place])
    before = range(start, start + len(said) - 2)
    largest = _largest([abs(found[0][i] - found[1][i]) for i in before])
    if not largest <= limit:
        raise ConfigError(
            f"this model's responses see their own future: another late word changes log p of earlier ones by "
            f"{largest:.3g} nats. It cannot be trained with this version; please report its name"
        )


__all__ = ["Candidate", "CheckedLayout", "checked_layout", "layouts", "refuse_foresight", "why_not"]
