"""Replicas of one model: which of several addresses a question is put to, and whether all serve the same."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence

from vlfeedback.errors import ModelUnavailable
from vlfeedback.models._endpoint import Endpoint, Policy, Traffic
from vlfeedback.models._secrets import Secret, host_of
from vlfeedback.models._wire import open_client
from vlfeedback.records import Request


class Replicas:
    """The endpoints of one model, in the order of their addresses.

    Args:
        model: Name that each of them knows.
        identity: Of the model, for messages.
        traffic: Counts of what was sent to any of them.
    """

    def __init__(
        self, urls: Sequence[str], model: str, key: Secret, policy: Policy, traffic: Traffic, identity: str
    ) -> None:
        self._all = [Endpoint(url, model, key, policy, traffic, len(urls)) for url in urls]
        self._model, self._key, self._policy, self._identity = model, key, policy, identity
        self._same: asyncio.Task[None] | None = None

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, place: int) -> Endpoint:
        return self._all[place]

    def enter_loop(self) -> None:
        """Forget what belongs to another event loop."""
        self._same = None
        for endpoint in self._all:
            endpoint.enter_loop()

    def first(self, request: Request) -> int:
        """Place of the one to ask first: all questions on a picture go to one, which keeps its encoding and prefix."""
        if len(self._all) == 1:
            return 0
        pictures = request.images
        seed = pictures[0].sha256 if pictures else request.system + (request.parts[-1].text or "")
        digest = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % len(self._all)

    def pick(self, place: int) -> Endpoint:
        """The first that is open from a place on, or else the one that opens first."""
        count = len(self._all)
        if count == 1:
            return self._all[0]
        order = (self._all[(place + step) % count] for step in range(count))
        return min(order, key=lambda one: one.gate.closed_for())

    async def agree(self) -> None:
        """Make sure, once, that they are one model.

        Raises:
            ModelUnavailable: see `compare`.
        """
        if len(self._all) == 1:
            return
        if self._same is None:
            urls = [endpoint.url for endpoint in self._all]
            asked = compare(urls, self._model, self._key, self._policy.timeout, self._identity)
            self._same = asyncio.get_running_loop().create_task(asked)
        await asyncio.shield(self._same)


async def compare(urls: Sequence[str], model: str, key: Secret, timeout: float, identity: str) -> None:
    """Ask each address once which models it lists.

    Args:
        model: Name that all or none of them must list.
        timeout: Seconds for each, at most; one that does not tell is taken as it is.
        identity: Of the model, for the message.
    Raises:
        ModelUnavailable: some list the model, others do not.
    """
    import openai

    listed: dict[str, bool] = {}
    for url in urls:
        client = open_client(url, key, 1, timeout)
        try:
            async with asyncio.timeout(min(10.0, timeout)), client:
                page = await client.models.list()
            listed[url] = any(entry.id == model for entry in page.data or [])
        except (openai.OpenAIError, TimeoutError, AttributeError, TypeError, ValueError):
            continue  # a server without that page or with another one, or one that is down now: its calls will tell
    if len(set(listed.values())) > 1:
        lacking = ", ".join(host_of(url) for url, has in listed.items() if not has)
        told = f"{lacking} does not list {model!r}; give each model its own pool entry"
        raise ModelUnavailable(f"the replicas of {identity} do not serve one model: {told}")
