"""What a provider's batch gave back: lines of its files, and which calls it has answered, refused, or lost sight of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, cast

from vlfeedback.compact import read_json
from vlfeedback.models import _chat
from vlfeedback.models._refusals import of_account
from vlfeedback.records import Generation


class Lines:
    """The lines of one batch.

    Attributes:
        found: Answer by key; None where the batch has none.

    Args:
        keys: Of the calls that were sent.
        scrub: Takes the API key out of a body.
    """

    def __init__(self, keys: Iterable[str], scrub: Callable[[str], str]) -> None:
        self.found: dict[str, Generation | None] = dict.fromkeys(keys)
        self._scrub = scrub
        self._told: set[str] = set()
        self._useless: set[str] = set()
        self._unreadable = False
        self._lacking = False

    def take(self, text: str) -> None:
        """Read a file; by line ends alone: `splitlines` would also cut at those that stand within replies."""
        for line in text.split("\n"):
            if line.strip():
                self._unreadable |= not self._take(line)

    def whole(self, least: int) -> bool:
        """Whether all that was read is lines, and of at least so many calls; remembered for `doubtful`."""
        self._lacking = len(self._told & self.found.keys()) < least
        return not (self._unreadable or self._lacking)

    @property
    def doubtful(self) -> set[str]:
        """Calls that may have been served although nothing of it can be read.

        A line that cannot be read, or that is not there, may be of any call that no other line names; what the provider
        itself says was not served is not among them.
        """
        untold = set(self.found) - self._told if self._unreadable or self._lacking else set[str]()
        return {key for key in untold | self._useless if self.found[key] is None}

    def _take(self, line: str) -> bool:
        try:
            row: Any = read_json(line)
            key, response = str(row["custom_id"]), cast("dict[str, Any]", row.get("response") or {})
            body = response.get("body")
            status = _status(response.get("status_code"), body)
            raw = self._scrub(json.dumps(body, ensure_ascii=False))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return False
        self._told.add(key)
        if key in self.found and self.found[key] is None:
            self.found[key] = _answer(status, raw)
            if status == 200 and self.found[key] is None:
                self._useless.add(key)
        return True


def _status(said: Any, body: Any) -> int:
    """The status of a line; one that does not say it and has an answer went well."""
    answered = said is None and isinstance(body, dict) and "choices" in body
    return 200 if answered else int(said or 0)


def _answer(status: int, raw: str) -> Generation | None:
    """What a line says; None where that is no answer."""
    if status == 200:
        reply = _chat.generation(raw)
        return reply if reply.answered else None
    if status not in (400, 413, 422):
        return None
    words, code = _chat.error_words(raw)
    if of_account(raw, words):
        return None
    if code in _chat.FILTER_CODES:
        return Generation("", "content_filter", detail=words, raw=raw)
    return _chat.failure("bad_request", f"status {status}: {words}", raw)
