"""Replicas of one model: whether several addresses serve the same."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from vlfeedback.errors import ModelUnavailable
from vlfeedback.models._secrets import Secret, host_of
from vlfeedback.models._wire import open_client


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
