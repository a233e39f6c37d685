"""Questions put to the `openai` backend all at once, on an event loop of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vlfeedback.models.openai import OpenAIModel
from vlfeedback.records import Generation, Request


def answers(model: OpenAIModel, *requests: Request, seconds: float = 60.0) -> list[Generation]:
    """Answers in the order of the questions; what takes longer than `seconds` is an error and no test that hangs."""

    async def run() -> list[Generation]:
        try:
            async with asyncio.timeout(seconds):
                return list(await asyncio.gather(*(model.answer(request) for request in requests)))
        finally:
            await model.aclose()

    return asyncio.run(run())


class Purser:
    """Pays for a question: counts what it is asked, and says whether the question may be sent again."""

    def __init__(self, told: Callable[[], object] = lambda: None, *, again: bool = True) -> None:
        self._told, self._again = told, again

    async def open(self) -> None:
        """Nothing is in the way of a first sending."""

    async def again(self) -> bool:
        self._told()
        return self._again
