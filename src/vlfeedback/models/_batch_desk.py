"""The provider's pages for files and batches, asked again through its bad minutes.

A batch that was refused is asked for again. One whose fate is unknown (a 5xx, a broken connection) is first looked for
by its name: made twice, it would be billed twice.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vlfeedback.models._chat import NO_MONEY_CODES
from vlfeedback.models._limits import retry_after

if TYPE_CHECKING:
    from openai import AsyncOpenAI

T = TypeVar("T")

UNREADABLE = (ValueError, AttributeError, TypeError)
"""What comes of a page that is no JSON, or of other things than were asked for."""

TRIES = 8
"""How often a page is asked, with waits of some three minutes in all."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
LONGEST_ASKED = 3600.0
"""Seconds of a `Retry-After` that are kept to: what waits here takes hours anyway."""

UPLOADS = 2
"""Files on their way at a time."""

_FULL = ("token_limit_exceeded", "enqueued token limit")
"""Code, and words where there is none, with which a provider refuses a batch until others have ended."""


def queue_full(batch: Any) -> bool:
    """Whether a batch failed for no other reason than that others are in the queue."""
    errors = getattr(batch.errors, "data", None) or []
    told = " ".join(f"{one.code} {one.message}" for one in errors).lower()
    return batch.status == "failed" and any(words in told for words in _FULL)


class Desk:
    """Files and batches of one provider.

    Args:
        client: Its client, opened when first asked for.
    """

    def __init__(self, client: Callable[[], AsyncOpenAI]) -> None:
        self._client = client
        self._uploads = asyncio.Semaphore(UPLOADS)

    async def send(self, lines: Path, name: str) -> str:
        """Make a batch of a file of questions; by its name it is found again.

        Returns:
            The batch's id.
        """
        async with self._uploads:
            file = await _patiently(lambda: self._upload(lines, name))

            async def find(problem: Exception) -> str:
                return await self.named(name) if _unsure(problem) else ""

            return await _patiently(lambda: self._make(file, name), find)

    async def _upload(self, lines: Path, name: str) -> str:
        with lines.open("rb") as data:  # given as a file, it goes out bit by bit
            made = await self._client().files.create(file=(f"{name}.jsonl", data), purpose="batch")
        return made.id

    async def _make(self, file: str, name: str) -> str:
        batch = await self._client().batches.create(
            input_file_id=file,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"vlfeedback": name},
        )
        return batch.id

    async def named(self, name: str) -> str:
        """Id of the batch of that name; empty where there is none, or one that failed and was never begun."""

        async def look() -> str:
            async for batch in self._client().batches.list(limit=100):
                if (batch.metadata or {}).get("vlfeedback") == name and batch.status != "failed":
                    return batch.id
            return ""

        return await _patiently(look)

    async def look(self, batch: str) -> Any:
        """A batch as it stands."""
        return await self._client().batches.retrieve(batch)

    async def text(self, file: str) -> str:
        """What is in a file."""

        async def fetch() -> str:
            return (await self._client().files.content(file)).text

        return await _patiently(fetch)


async def _patiently(ask: Callable[[], Awaitable[T]], find: Callable[[Exception], Awaitable[T]] | None = None) -> T:
    """Ask again after a failure that may pass; before that, `find` may have what was asked for."""
    for attempt in range(1, TRIES + 1):
        try:
            return await ask()
        except Exception as problem:
            wait = _wait(problem, attempt)
            if wait is None or attempt == TRIES:
                raise
            lost = problem
        await asyncio.sleep(wait)
        if find is not None and (found := await find(lost)):
            return found
    raise AssertionError("unreachable")


def _wait(problem: Exception, attempt: int) -> float | None:
    """Seconds until one may ask again; None where that is no use."""
    import openai

    own = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)
    # A page of something else, such as the words of a proxy, is the provider's bad minute too.
    if isinstance(problem, (openai.APIConnectionError, openai.APIResponseValidationError, *UNREADABLE)):
        return own
    if not isinstance(problem, openai.APIStatusError) or problem.code in NO_MONEY_CODES:
        return None
    if problem.status_code < 500 and problem.status_code not in (408, 409, 425, 429):
        return None
    asked = retry_after(problem.response.headers)
    return own if asked is None else max(min(asked, LONGEST_ASKED), 0.1 * own)


def passing(problem: Exception) -> bool:
    """Whether a look at a batch that failed so may go well the next time; also of one that is not found just now."""
    import openai

    return isinstance(problem, openai.NotFoundError) or _wait(problem, 1) is not None


def _unsure(problem: Exception) -> bool:
    """Whether what was asked for may have been done all the same."""
    import openai

    return not isinstance(problem, openai.RateLimitError)
