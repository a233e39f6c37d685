"""Which models answer which instruction, known before any call.

Every instruction draws its models by content hash and by nothing else, so that another instruction, another order or
another machine changes nothing, and a new model without a share takes at most one slot of an instruction (but see
`shape`). Draws are as even as chance: where chance was unkind to a whole set of instructions (`BOUNDS`, `UNKIND`), a
few slots are mended by `_mend`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple

from vlfeedback.errors import ConfigError

PLANNER = "4"
"""Version of the rule; a change of it makes every plan again."""

_CLOSE = 1e-6


@dataclass(frozen=True, slots=True)
class Plan:
    """A row of the plan.

    Attributes:
        models: Declared identities of the models that are asked, in the order of their hashes.
    """

    instruction_id: str
    models: tuple[str, ...]


Kind = Literal["apart", "together"]


class Shape(NamedTuple):
    """How a pool is drawn from.

    Attributes:
        kind: `apart`: models with a share are drawn each on its own. `together`: they are drawn at once, because on
            their own they could be more than the slots, or leave more than the others can fill. The others fill up by
            smallest hash.
        chances: Chance of each model to answer an instruction, 0 to 1; they sum to k.
        free: Indices of the models without a share.
    """

    kind: Kind
    chances: tuple[float, ...]
    free: tuple[int, ...]


def shape(shares: Sequence[float | None], k: int) -> Shape:
    """Work out how a pool with these shares is drawn from.

    A new model without a share leaves the kind as it is, and so changes at most one slot of an instruction, unless it
    is the one with which the models without a share could fill all slots but those of `always`: with it the others are
    drawn apart.

    Args:
        shares: One per model, 0 to 1; None for those that share the rest evenly.
        k: Slots of an instruction, ≥ 1.
    Raises:
        ConfigError: the shares ask for more or fewer than k models per instruction.
    """
    asked = sum(share for share in shares if share is not None)
    free = tuple(index for index, share in enumerate(shares) if share is None)
    rest = k - asked
    if rest < -_CLOSE:
        raise ConfigError(f"the shares of [[pool]] sum to {asked:g}, but decode.k = {k}: lower a share or raise k.")
    if rest > len(free) + _CLOSE:
        raise ConfigError(
            f"the shares of [[pool]] sum to {asked:g} and {len(free)} models have none, which fills fewer than "
            f"decode.k = {k} slots: raise a share, leave it out, add models or lower k."
        )
    even = min(1.0, max(0.0, rest / len(free))) if free else 0.0
    chances = tuple(even if share is None else share for share in shares)
    always = sum(share is not None and share >= 1 for share in shares)
    sometimes = sum(share is not None and 0 < share < 1 for share in shares)
    apart = always + sometimes <= k and k - always <= len(free)
    return Shape("apart" if apart or not sometimes else "together", chances, free)


def _draw(instruction: str, model: str, what: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{what}\n{instruction}\n{model}".encode()).digest()
    return (int.from_bytes(digest[:7], "big") >> 4) / 16**13


def plan(instruction_id: str, identities: Sequence[str], shares: Sequence[float | None], k: int) -> tuple[int, ...]:
    """The draw of one instruction by itself, without mending.

    Models with a share are drawn first, each on its own; the others fill the remaining slots by smallest hash, so that
    adding one of these changes at most one slot of an instruction. Where the shares could not be kept so (see `Shape`),
    the models with a share lie end to end in the order of their hashes, each as long as its share, and points in steps
    of 1 choose: their number varies by one.

    Args:
        identities: Declared identities of the pool.
        shares: One per model, None for those that share the rest.
        k: Slots, ≤ number of models.
    Returns:
        k different indices, in the order of their hashes.
    Raises:
        ConfigError: the shares do not fit k.
    """
    return _drawn(instruction_id, identities, shares, k, shape(shares, k)).chosen


class _Draw(NamedTuple):
    """The models of an instruction in the order of their hashes, and the one without a share that would be next."""

    chosen: tuple[int, ...]
    spare: int | None


def _drawn(instruction: str, identities: Sequence[str], shares: Sequence[float | None], k: int, form: Shape) -> _Draw:
    ranks = [_draw(instruction, identity, "rank") for identity in identities]
    order = sorted(range(len(identities)), key=ranks.__getitem__)
    if form.kind == "together":
        sharing = [index for index in order if shares[index] is not None]
        chosen = _spaced(sharing, form.chances, k, _draw(instruction, "", "start"))
    else:
        sure = [
            index
            for index in order
            if (share := shares[index]) is not None
            and (share >= 1 or (share > 0 and _draw(instruction, identities[index], "share") < share))
        ]
        chosen = {*sure[:k]}
    chosen |= {*[index for index in order if shares[index] is None][: k - len(chosen)]}
    spare = (index for index in order if index not in chosen)
    chosen |= {next(spare) for _ in range(k - len(chosen))}  # rounding of shares can leave a slot open
    left = (index for index in order if shares[index] is None and index not in chosen)
    return _Draw(tuple(index for index in order if index in chosen), next(left, None))


def _spaced(order: Sequence[int], chances: Sequence[float], k: int, start: float) -> set[int]:
    """Systematic sampling: chances laid end to end, at most k in all, one point in every unit of length."""
    ends = list(accumulate(chances[index] for index in order))
    length = k if ends[-1] > k - _CLOSE else ends[-1]
    scale = length / ends[-1]
    found: set[int] = set()
    position = 0
    for step in range(k):
        if start + step >= length:
            break
        while position < len(order) - 1 and ends[position] * scale <= start + step:
            position += 1
        found.add(order[position])
    return found


def plans(
    instruction_ids: Iterable[str], identities: Sequence[str], shares: Sequence[float | None], k: int
) -> Iterator[Plan]:
    """The plan of a set of instructions: their own draws, mended where chance was unkind to the whole set.

    Args:
        instruction_ids: In any order; which slots are mended does not depend on it.
        identities: Declared identities of the pool.
        shares: One per model, None for those that share the rest.
        k: Slots, ≤ number of models.
    Returns:
        One row per instruction, in their order.
    Raises:
        ConfigError: the shares do not fit k.
    """
    from vlfeedback.decode._mend import mended

    form = shape(shares, k)
    ids = list(instruction_ids)
    draws = [_drawn(one, identities, shares, k, form) for one in ids]
    drawn = [one.chosen for one in draws]
    if len(form.free) > 1 and form.chances[form.free[0]] < 1 - _CLOSE:
        free = sorted(form.free, key=lambda index: identities[index])  # the order of the pool shall not matter
        spares = [one.spare for one in draws]
        drawn = mended(ids, drawn, spares, free, salt="\n".join(sorted(identities)), pool=len(identities))
    for one, chosen in zip(ids, drawn, strict=True):
        yield Plan(one, tuple(identities[index] for index in chosen))
