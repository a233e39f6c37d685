"""The HTTP client of an endpoint, and what to tell people whose endpoint cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vlfeedback.models._secrets import LOOPBACK, Secret, host_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI


def open_client(url: str, key: Secret, in_flight: int, timeout: float) -> AsyncOpenAI:
    """A client with as many connections as calls in flight; retries are ours, not the SDK's.

    Args:
        url: Base URL of the endpoint.
        timeout: Seconds between two bytes; the caller bounds the whole attempt.
    """
    import httpx2
    import openai

    # No redirects: they would show pictures to a host that nobody agreed to. No proxies to this very machine.
    settings: Any = {
        "limits": httpx2.Limits(max_connections=in_flight + 4, max_keepalive_connections=in_flight + 4),
        "timeout": httpx2.Timeout(timeout, connect=min(15.0, timeout)),
        "follow_redirects": False,
        "trust_env": host_of(url) not in LOOPBACK,
    }
    try:
        http = openai.DefaultAioHttpClient(**settings)
    except RuntimeError:  # aiohttp is not installed; it costs half the processor time per call where it is
        http = openai.DefaultAsyncHttpxClient(**settings)
    return openai.AsyncOpenAI(
        api_key=key.reveal(), base_url=url, max_retries=0, timeout=settings["timeout"], http_client=http
    )


def unusable(host: str, model: str, key: Secret, status: int, words: str, headers: Mapping[str, str]) -> str:
    """What is wrong with an endpoint that answers with a status which no retry mends, and what to do."""
    if status == 401:
        return f"{host} refuses the API key (401: {words}); the key comes from the variable {key.origin} (api_key_env)"
    if status == 403:
        return f"{host} forbids this (403: {words}); check what the key may do and whether {model!r} is open to it"
    if status == 404:
        return f"{host} has no such model or address (404: {words}); check model = {model!r} and base_url (…/v1)"
    if status == 429:
        return f"{host}: the account has nothing left to spend (429: {words}); top it up, then run again"
    if 300 <= status < 400:
        place = headers.get("location", "elsewhere")
        return f"{host} redirects to {place}; pictures are not sent on: write that address as base_url if you trust it"
    return f"{host} answers {status}: {words}; check base_url and model = {model!r}"
