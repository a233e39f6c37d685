"""Questions put to the `openai` backend all at once, on an event loop of their own."""

from __future__ import annotations

import asyncio

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
