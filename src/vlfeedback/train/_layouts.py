"""Which layout a run uses: the fastest whose log-probabilities are those of one response at a time."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vlfeedback.errors import ConfigError
from vlfeedback.train._alone import Tokens, alone, off, rounding, shown_groups, together
from vlfeedback.train._collate import collate
from vlfeedback.train._layout import Layout, UnsharedRows
from vlfeedback.train._logps import takes_features, unwrapped
from vlfeedback.train._shared import said_of, shared_rows, why_not

if TYPE_CHECKING:
    from vlfeedback.train._collate import Encoded, Encoder


_REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError, ConfigError)
"""How models say that they cannot take a mask, positions or features."""


def cannot_compute(error: Exception) -> ConfigError:
    """What is said of a model that does not even compute one response after its prompt."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ConfigError(
        f"this model cannot compute one response after its prompt ({lines[0]}): it takes something else than token "
        "ids, a mask and pictures. It cannot be trained with this version; please report its name"
    )


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
        differences: Largest difference of a token's log p to one response in a forward of its own, by layout, nats;
            of every layout up to the one that is used.
        limit: What was allowed, nats.
        precision: In which arithmetic: `fp32`, or the run's own where memory did not suffice.
        refused: Why prompts are not shared where the model says that they cannot be, else empty.
        warnings: What a faster layout got wrong.
        rounded: Mean difference of a token of the first group in the run's own precision, nats; None where that is
            fp32 or where nothing but it was compared.
    """

    name: str
    layout: Layout
    differences: dict[str, float]
    limit: float
    precision: str
    refused: str
    warnings: tuple[str, ...]
    rounded: float | None = None

    def to_json(self) -> dict[str, Any]:
        """For `selfcheck.json`."""
        return {
            "layout": self.name,
            "layout_differences": self.differences,
            "layout_tolerance": self.limit,
            "layout_precision": self.precision,
            "layout_difference_as_run": self.rounded,
            "not_shared_because": self.refused,
        }


def layouts(model: Any, processor: Any) -> tuple[Candidate, ...]:
    """Layouts that a model may take, the fastest first; the last asks least of it."""
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


LIMITS = {"fp32": 1e-4, "bf16": 1e-2}
"""Nats by which a token may differ from one response at a time where rounding does next to nothing to it."""

# The largest of some hundred roundings is not the largest of all; beyond the second factor fp32 would say nothing.
_ROUNDINGS, _MOST = 4.0, 10.0


def checked_layout(
    candidates: Sequence[Candidate],
    groups: Sequence[Encoded],
    encoder: Encoder,
    tokens: Tokens,
    precision: str,
    *,
    budget: int = 8192,
    refused: str = "",
) -> CheckedLayout:
    """Compute some groups in every layout, and take the first that agrees with one response at a time.

    A model can take a mask, positions, features or several rows and quietly do something else with them: what is not
    measured is not used. Each token is compared for itself, since differences of several can cancel each other, with
    what other shapes of products do to it.

    Args:
        candidates: As `layouts` gives them.
        groups: The run's; a few of them are taken.
        encoder: Has the pictures.
        tokens: Log p of every token of a batch under the frozen model.
        precision: In which arithmetic `tokens` computes, a name of `LIMITS`.
        budget: Padded tokens per batch.
        refused: Why the model cannot share prompts, for the record.
    Raises:
        ConfigError: no layout gives the numbers of one response at a time, and rounding cannot be why; or the model
            computes not even those.
    """
    plain: Any = candidates[-1].layout
    shown = shown_groups(groups, budget)
    try:
        truth = alone(shown, plain, encoder, tokens)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise cannot_compute(error) from error
    limit = _allowed(rounding(shown, truth, plain, encoder, tokens), precision)
    differences: dict[str, float] = {}
    warnings: list[str] = []
    for one in candidates:
        try:
            found = together(shown, one.layout, encoder, tokens, budget)
        except _REFUSALS as error:
            if precision == "fp32" and lacks_memory(error):
                raise
            warnings.append(_told(f"layout {one.name!r} cannot be computed ({error})", one is candidates[-1]))
            continue
        differences[one.name] = largest = _largest(off(found, truth))
        if largest <= limit:
            return CheckedLayout(one.name, one.layout, differences, limit, precision, refused, tuple(warnings))
        wrong = f"layout {one.name!r} changes log p of a token by {largest:.3g} nats, {limit:.0e} are allowed"
        warnings.append(_told(wrong, one is candidates[-1]))
    if precision == "fp32":
        raise ConfigError(
            f"this model gives other numbers for several responses than for one alone: {'; '.join(warnings)}. It "
            "cannot be trained with this version; please report its name"
        )
    return CheckedLayout("plain", plain, differences, limit, precision, refused, tuple(warnings))


def _allowed(roundings: Sequence[float], precision: str) -> float:
    """The limit for a token, from what rounding was seen to do; in 16 bits it can be anything with large scores."""
    seen = max((one for one in roundings if not math.isnan(one)), default=0.0)
    least = LIMITS[precision]
    return min(max(least, _ROUNDINGS * seen), _MOST * least if precision == "fp32" else math.inf)


def lacks_memory(error: Exception) -> bool:
    """Whether memory has run out."""
    import torch

    return isinstance(error, torch.OutOfMemoryError)


def _told(wrong: str, last: bool) -> str:
    """A warning, said on stderr as well."""
    warning = f"{wrong}: {'there is no slower one' if last else 'a slower one is used'}"
    print(warning, file=sys.stderr, flush=True)
    return warning


def _largest(differences: Sequence[float]) -> float:
    """The largest, or not a number where one of them is none: `max` would pass over it."""
    return math.nan if any(map(math.isnan, differences)) else max(differences, default=0.0)


def refuse_foresight(
    layout: Layout,
    groups: Sequence[Encoded],
    encoder: Encoder,
    tokens: Tokens,
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


__all__ = [
    "Candidate",
    "CheckedLayout",
    "cannot_compute",
    "checked_layout",
    "lacks_memory",
    "layouts",
    "refuse_foresight",
    "why_not",
]
