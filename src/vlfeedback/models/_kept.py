"""Replies that are kept, looked up many at a time before anything is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from vlfeedback.models import Model
from vlfeedback.records import Generation, Request

MISSES = 1024
"""Questions in a row without a kept reply after which nothing more is looked up: a run that goes on is past them.

What is kept all the same is found when it is asked for.
"""


class Kept(NamedTuple):
    """A reply and the key of its call."""

    key: str
    generation: Generation


@runtime_checkable
class Keeping(Protocol):
    """A model that keeps its replies."""

    def kept(self, requests: Sequence[Request]) -> list[Kept | None]:
        """The kept reply to each request, or None."""
        ...


@runtime_checkable
class Recalling(Protocol):
    """A model that can give once more what it has answered."""

    def recall(self, request: Request) -> Kept:
        """A reply that this command has had before, which counts it no second time."""
        ...


class Shelf:
    """Looks up kept replies as long as there are some.

    Args:
        models: That may be asked for; `bare` from the start where none of them keeps its replies.
    """

    def __init__(self, models: Iterable[Model]) -> None:
        self._misses = 0 if any(isinstance(one, Keeping) for one in models) else MISSES

    @property
    def bare(self) -> bool:
        """Whether looking on is no use."""
        return self._misses >= MISSES

    def look(self, model: Model, requests: Sequence[Request]) -> Sequence[Kept | None]:
        """The kept reply to each request, or None."""
        kept: Callable[[Sequence[Request]], list[Kept | None]] | None
        kept = getattr(model, "kept", None)  # `isinstance` takes longer than the looking
        if kept is None:
            return [None] * len(requests)
        found = kept(requests)
        self._misses = 0 if any(found) else self._misses + len(requests)
        return found
