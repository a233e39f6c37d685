"""One interface for pool, judge, policy and grader."""

from __future__ import annotations

from typing import Protocol

from vlfeedback.records import Generation, Request


class Model(Protocol):
    """Anything that answers a request.

    Attributes:
        identity: Full and declared: name, revision, weights, quantisation; two models never share one.
    """

    @property
    def identity(self) -> str: ...

    async def answer(self, request: Request) -> Generation:
        """Answer one request.

        Returns:
            The generation; a bad request gives `finish="error"` with a class and never raises.
        Raises:
            ModelUnavailable: no request at all can be answered (wrong key, no such model, checkpoint missing).
        """
        ...
