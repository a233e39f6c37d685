"""How numbers are written for people: grouped thousands, true minus signs, digits that the interval can carry."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import takewhile

MINUS = "−"
DASH = "–"


def count(number: int) -> str:
    """A whole number with grouped thousands: `80,258`."""
    return f"{number:,}".replace("-", MINUS)


def plain(value: float | None, digits: int = 2) -> str:
    """A number with that many decimals, `–` for none; what rounds to zero has no sign."""
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", MINUS)


def signed(value: float | None, digits: int = 2) -> str:
    """A difference with its sign: `+1.20`, `−0.35`; `0.00` has none."""
    text = plain(value, digits)
    return f"+{text}" if text[0].isdigit() and text.strip("0.,") else text


def bracket(low: float | None, high: float | None, digits: int = 2) -> str:
    """The 95 % interval in brackets; words where too few units exist or changed to give one."""
    if low is None or high is None:
        return "[too few]"
    return f"[{plain(low, digits)}, {plain(high, digits)}]"


def percent(share: float | None, digits: int = 1) -> str:
    """A share between 0 and 1 as per cent: `79.3 %`."""
    return DASH if share is None else f"{plain(100 * share, digits)} %"


def money(amount: float | None) -> str:
    """An amount in the currency of the price table: two decimals, more where it is small."""
    if amount is None:
        return DASH
    return plain(amount, 2 if amount == 0 or abs(amount) >= 1 else 4)


def p_value(p: float | None) -> str:
    """A p-value with three decimals, `< 0.001` below."""
    if p is None:
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def digits_for(*values: float | None) -> int:
    """Decimals that fit numbers of this size: about three significant digits."""
    known = [abs(value) for value in values if value is not None and math.isfinite(value)]
    largest = max(known, default=0.0)
    return 1 if largest >= 10 else 2 if largest >= 0.1 or largest == 0 else 3


def shortened(text: str, most: int) -> str:
    """A name on one line with its middle left out where it is longer than `most` characters."""
    flat = " ".join(text.split())
    if len(flat) <= most:
        return flat
    head = (most - 1) // 2
    return f"{flat[:head]}…{flat[-(most - 1 - head) :]}"


def axis_names(models: Sequence[str], most: int) -> list[str]:
    """Names of models on an axis: without the revision after `@` while they stay different, shortened to `most`."""
    bare = [re.sub(r"@[0-9a-f]{7,64}(?=\+|$)", "", model) for model in models]
    chosen = bare if len(set(bare)) == len(set(models)) else models
    short = {name: shortened(name, most) for name in chosen}
    alike = {name: [one for one in short if one != name and short[one] == short[name]] for name in short}
    return [_around(name, alike[name], most) if alike[name] else short[name] for name in chosen]


def _around(name: str, others: Sequence[str], most: int) -> str:
    """The part of a name in which it differs from others that would look the same when shortened."""
    differs = max(sum(1 for _ in takewhile(_same, zip(name, other, strict=False))) for other in others)
    start = max(0, min(differs - most // 2, len(name) - most + 1))
    head = name[start : start + most - 2]
    return f"{'…' if start else ''}{head}{'…' if start + len(head) < len(name) else ''}"


def _same(letters: tuple[str, str]) -> bool:
    return letters[0] == letters[1]
