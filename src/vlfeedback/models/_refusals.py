"""Refusals (4xx): is it this question, or everything that this key, account or address would ask?

Most providers say so by the status, some do not: a wrong key, an account without credit and a wrong setting of the
model come as 400 too. Kept as answers they would stand for the questions for ever. What names the account is never
one. For the rest, an endpoint that has served nothing yet is doubted: its refusals wait until something is served, or
until there are enough of them and nothing else is under way.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import re
import time
from typing import Any, Literal, cast

from vlfeedback.compact import read_json
from vlfeedback.flow import interrupted, parked
from vlfeedback.models._chat import NO_MONEY_CODES
from vlfeedback.records import Request

SEVERAL = 8
"""Questions refused, and none served, from which on it is not the questions."""

GRACE = 2.0
"""Seconds without anything sent or received after which fewer refusals than that are taken for what they say."""

LOOK = 0.02
"""Seconds between two looks of a refusal that waits; there are a few of them, and only until something is served."""

_ACCOUNT = NO_MONEY_CODES | {
    "API_KEY_INVALID", "API_KEY_EXPIRED", "FAILED_PRECONDITION", "Arrearage", "account_deactivated",
    "billing_not_active", "invalid_api_key",
}  # fmt: skip
_ACCOUNT_WORDS = re.compile(
    r"credit balance is too low|billing hard limit|insufficient (?:credit|balance|funds)|"
    r"(?:invalid|incorrect|expired) api[ _-]?key|api[ _-]?key (?:is )?(?:not valid|invalid|expired)",
    re.IGNORECASE,
)
"""Said by Anthropic and gateways, whose code is that of any wrong request."""

Verdict = Literal["question", "endpoint", "unknown"]


def of_account(raw: str, words: str) -> bool:
    """Whether an error body says that nobody with this key or account is served.

    Args:
        raw: The body.
        words: Its message; a question that is repeated in it comes late.
    """
    return bool(_codes(raw) & _ACCOUNT or _ACCOUNT_WORDS.search(words[:300]))


def _codes(raw: str) -> set[str]:
    """Whatever an error body gives as a code: OpenAI's `code` and `type`, Google's `status` and `reason`."""
    try:
        value: Any = read_json(raw)
    except ValueError:
        return set()
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    error: Any = value.get("error", value) if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return set()
    details = error.get("details")
    inner = [one for one in cast("list[Any]", details) if isinstance(one, dict)] if isinstance(details, list) else []
    found = [error.get("code"), error.get("type"), error.get("status"), *(one.get("reason") for one in inner)]
    return {one for one in found if isinstance(one, str)}


class Doubts:
    """What an endpoint has refused since it last served anything, and what is under way there."""

    def __init__(self) -> None:
        self._serves = 0
        self._refused: set[int] = set()
        self._proven: set[int] = set()
        self._under_way: set[int] = set()
        self._sent = 0
        self._moved = time.monotonic()
        self._disturbed = False

    @property
    def served(self) -> bool:
        """Whether anything was ever served."""
        return self._serves > 0

    def begin(self) -> int:
        """A call is sent; what comes back is for `end`."""
        self._sent += 1
        self._under_way.add(self._sent)
        self._moved = time.monotonic()
        return self._sent

    def end(self, number: int) -> None:
        """Its attempt is over, however."""
        self._under_way.discard(number)
        self._moved = time.monotonic()

    def serve(self) -> None:
        """A question was answered, or at least read; refusals in a row begin again."""
        self._serves += 1
        if self._refused:
            self._proven |= self._refused  # another question came through: it was not the endpoint
            self._refused.clear()
        self._disturbed = False

    def disturb(self) -> None:
        """Something failed that says nothing of either, and will be sent again."""
        self._disturbed = True

    async def weigh(self, request: Request, *, hard: bool) -> Verdict:
        """Whose fault a refusal is, as soon as it can be told.

        Args:
            request: The question that was refused.
            hard: By a status that is rarely about a question: one suffices where nothing was served, and several in a
                row also where something was.
        """
        name = hash(request)
        if (self.served and not hard) or name in self._proven:
            return "question"
        self._refused.add(name)
        began, serves, first = time.monotonic(), self._serves, not self.served
        if first and not hard:
            async with parked():  # the questions that show it must not wait for this one
                while self._serves == serves and len(self._refused) < SEVERAL:
                    if interrupted():
                        return "unknown"
                    if not self._under_way and time.monotonic() - max(began, self._moved) > GRACE:
                        return "question"
                    await asyncio.sleep(LOOK)
        elif not first and len(self._refused) < SEVERAL:
            return "question"
        before = self._sent
        while self._serves == serves and not self._alone(before):
            if interrupted():
                return "unknown"
            await asyncio.sleep(LOOK)
        return "endpoint" if self._serves == serves else "question"

    def _alone(self, before: int) -> bool:
        """Whether none of the calls up to that number can still be served."""
        if self._under_way and min(self._under_way) <= before:
            return False
        return not self._disturbed or time.monotonic() - self._moved > GRACE
