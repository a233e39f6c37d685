"""Models of the pocket world: tiny checkpoints, trained on first use, asked like any other local model."""

from __future__ import annotations

from pathlib import Path

from vlfeedback import flow
from vlfeedback.images import Roots
from vlfeedback.models import transformers
from vlfeedback.models.transformers import TransformersModel
from vlfeedback.pocket import school


def load(*, model: str, roots: Roots, seed: int = 0, batch: int = 128, cache: str = "") -> TransformersModel:
    """Name a model of the pocket world; its checkpoint is trained now if it is not in the cache.

    Args:
        model: `strong`, `policy`, … (see `vlfeedback.pocket.pool`), with or without `pocket/` in front.
        roots: Where pictures lie (given by the pipeline).
        seed: Other seeds have models of their own, which take minutes to train.
        batch: Most questions in one pass, ≥ 1.
        cache: Where checkpoints are kept; default `$VLFEEDBACK_CACHE/pocket` or `~/.cache/vlfeedback/pocket`.
    Raises:
        ConfigError: there is no such model.
        ModelUnavailable: torch is not installed or the cache cannot be written.
    """
    with flow.leaving_at_once():
        folder = school.checkpoint(model, seed, cache=Path(cache) if cache else None)
    return transformers.load(
        model=str(folder), roots=roots, identity=identity_of(model=model, seed=seed), batch=batch, device="cpu"
    )


def identity_of(*, model: str, seed: int) -> str:
    """The identity that `load` gives, without training anything."""
    return school.identity(model, seed)
