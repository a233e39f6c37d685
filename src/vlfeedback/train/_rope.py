"""Models whose positions change for a whole batch when one row of it is long: up to where they do not."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def longest_row(model: Any) -> int | None:
    """The longest row whose log p does not depend on what lies beside it, tokens; None where there is no such bound.

    LongRoPE and dynamic NTK choose the frequencies of a forward by its largest position: one row beyond the length
    that the model was first trained on would change every other row of its batch.
    """
    return min((bound for module in model.get_decoder().modules() for bound in _bounds(module)), default=None)


def _bounds(module: Any) -> Iterator[int]:
    """Those of one module that makes positions, of each kind of layer that it makes them for."""
    kinds = getattr(module, "rope_type", None)
    if isinstance(kinds, str):
        kinds = {None: kinds}
    for layer, kind in (kinds or {}).items():
        if "dynamic" in kind:
            yield int(module.original_max_seq_len)
        elif kind == "longrope":
            settings = module.config.rope_parameters
            yield int((settings if layer is None else settings[layer])["original_max_position_embeddings"])
