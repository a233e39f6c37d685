"""The truth that layouts are compared with: every response in a forward of its own, as nobody could get it wrong."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from vlfeedback.train._collate import collate
from vlfeedback.train._plan import pack

if TYPE_CHECKING:
    from vlfeedback.train._collate import Batch, Encoded, Encoder
    from vlfeedback.train._layout import Layout, UnsharedRows

Tokens = Callable[["Batch"], Sequence[float]]
"""Log p of every token of a batch under the frozen model, responses one after the other."""

# Columns of padding by which a response is computed again, to see what other shapes of products do to it.
_PADDED = (1, 17)


def shown_groups(groups: Sequence[Encoded], budget: int) -> list[Encoded]:
    """A few groups in which a wrong mask, position or feature shows, each once.

    Args:
        groups: At least one.
        budget: Most tokens of a prompt with all its responses.
    Returns:
        One with a picture and several responses, the longest within the budget, the one with most pictures, and one
        without any.
    """
    fitting = [group for group in groups if _tokens(group) <= budget] or [min(groups, key=_tokens)]
    wanted = (
        max(fitting, key=lambda group: (bool(group.images), len(group.responses) > 1)),
        max(fitting, key=_tokens),
        max(fitting, key=lambda group: len(group.images)),
        min(fitting, key=lambda group: len(group.images)),
    )
    return list({id(group): group for group in wanted}.values())


def _tokens(group: Encoded) -> int:
    return len(group.prompt) + sum(map(len, group.responses))


def alone(groups: Sequence[Encoded], plain: UnsharedRows, encoder: Encoder, tokens: Tokens) -> list[list[float]]:
    """Log p of every token of every group, each response in a forward of its own.

    Returns:
        One list per group, its responses one after the other, nats.
    """
    return [
        [value for one in _single(group) for value in tokens(collate([one], layout=plain, pictures=encoder.pictures))]
        for group in groups
    ]


def _single(group: Encoded) -> list[Encoded]:
    """The group as one group per response."""
    return [
        replace(group.without_pairs(), responses=(response,), response_ids=(name,))
        for response, name in zip(group.responses, group.response_ids, strict=True)
    ]


def rounding(
    groups: Sequence[Encoded], truth: Sequence[Sequence[float]], plain: UnsharedRows, encoder: Encoder, tokens: Tokens
) -> list[float]:
    """What rounding alone does to a token: the same forwards with some columns of padding more.

    Returns:
        Difference of every token to the truth, nats, once for each number of columns.
    """
    padded = [alone(groups, replace(plain, spare=columns), encoder, tokens) for columns in _PADDED]
    return [difference for found in padded for difference in off(found, truth)]


def together(
    groups: Sequence[Encoded], layout: Layout, encoder: Encoder, tokens: Tokens, budget: int
) -> list[list[float]]:
    """The same as `alone`, in batches as they are trained on.

    Args:
        budget: Padded tokens per batch.
    """
    widths, rows = [layout.cost(group) for group in groups], [layout.rows(group) for group in groups]
    order = sorted(range(len(groups)), key=lambda i: widths[i])
    found: dict[int, list[float]] = {}
    for batch in pack(order, rows, widths, budget):
        values = list(tokens(collate([groups[i] for i in batch], layout=layout, pictures=encoder.pictures)))
        for i in batch:
            said = sum(map(len, groups[i].responses))
            found[i], values = values[:said], values[said:]
    return [found[i] for i in range(len(groups))]


def off(found: Sequence[Sequence[float]], truth: Sequence[Sequence[float]]) -> list[float]:
    """Difference of every token, nats."""
    pairs = [pair for one, other in zip(found, truth, strict=True) for pair in zip(one, other, strict=True)]
    return [abs(one - other) for one, other in pairs]
