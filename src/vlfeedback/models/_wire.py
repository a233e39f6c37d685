"""The way to an endpoint and back: one POST, its status, headers and body, or the two ways in which there are none.

Chat calls go through aiohttp where it is installed, with bodies that are sent in pieces: a picture's base64 is made bit
by bit as it goes out, and never joined into a body. Where it is not, they go through the SDK's own client, which takes
several times the processor time per call. The SDK does what costs little: listing models.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false, reportUntypedBaseClass=false, reportUnknownParameterType=false

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import math
import ssl
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from vlfeedback.errors import DataError
from vlfeedback.models._base64 import Base64, Piece, whole
from vlfeedback.models._secrets import LOOPBACK, Secret, host_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MOST_REPLY = 64 * 2**20
"""Bytes of the longest body that is read: a reply of tens of thousands of tokens with log-probabilities has a few."""

PIECE = 1024 * 1024
"""Most bytes that are given to a socket at a time."""

SMALL = 32 * 1024
"""Pieces below that many bytes are joined: a further system call costs as much as copying them."""


class Reply(NamedTuple):
    """A complete HTTP reply of any status; `began`, by `time.perf_counter`, is when the question began to go out."""

    status: int
    headers: Mapping[str, str]
    text: str
    began: float | None = None


class NotSent(Exception):
    """Nothing reached the endpoint: refused, an unknown host, no TLS."""


class Lost(Exception):
    """The connection broke: the endpoint may have served (and charged) the call.

    Attributes:
        endpoint: Whether it may be the endpoint's fault; not so where a machine of ours that sent the call was lost.
    """

    endpoint = True


class _Stale(Exception):
    """On a connection that was kept lies a reply which nobody asked for: it is closed, and another one taken."""


class Wire(Protocol):
    """A way to one endpoint, for one event loop."""

    async def post(self, content: Sequence[Piece]) -> Reply:
        """Send a chat request, given in pieces, within the time for which the way was opened.

        Raises:
            NotSent, Lost, TimeoutError: there is no complete reply.
        """
        ...

    async def close(self) -> None: ...


Opening = Callable[[str, Secret, int, float], Wire]
"""Opens a way, like `open_wire`."""


def open_wire(url: str, key: Secret, in_flight: int, timeout: float) -> Wire:
    """The fastest way that is installed, with as many connections as calls in flight.

    Args:
        url: Base URL of the endpoint.
        timeout: Seconds for a whole request and its reply.
    """
    make = _SdkWire if importlib.util.find_spec("aiohttp") is None else _AioWire
    return make(url, key, in_flight, timeout)


@cache
def _trusted() -> ssl.SSLContext:
    """Certificates of the system, as the SDK's client takes them."""
    try:
        import truststore
    except ImportError:
        return ssl.create_default_context()
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _AioWire:
    """See `Wire`; aiohttp."""

    def __init__(self, url: str, key: Secret, in_flight: int, timeout: float) -> None:
        import aiohttp

        self._url = url.rstrip("/") + "/chat/completions"
        remote = host_of(url) not in LOOPBACK
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=in_flight + 4, ssl=_trusted() if url.startswith("https") else True),
            # One timer for all of a call, on whole seconds; `asyncio.timeout` beside it costs more.
            timeout=aiohttp.ClientTimeout(
                total=None if math.isinf(timeout) else timeout, sock_connect=min(15.0, timeout)
            ),
            trust_env=remote,  # no proxies to this very machine
            headers={"Authorization": f"Bearer {key.reveal()}", "Content-Type": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_careful(),
        )
        weakref.finalize(self, _drop, self._session)

    async def post(self, content: Sequence[Piece]) -> Reply:
        import aiohttp

        not_sent = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
        # No redirects: they would show pictures to a host that nobody agreed to.
        body = _pieces(content)
        sending = self._session.post(self._url, data=body, allow_redirects=False)
        try:
            async with sending as reply:
                return Reply(reply.status, reply.headers, await self._read(reply), body.began)
        except _Stale:
            return await self.post(content)
        except not_sent as problem:
            raise NotSent(_words(problem)) from None  # the original holds the request, and with it the key
        except TimeoutError:  # with it the original, which holds the request and the key
            raise TimeoutError from None
        except aiohttp.ClientConnectionError as problem:
            if isinstance(problem.__cause__, DataError):  # a picture has gone: the rest of the body never went out
                raise problem.__cause__ from None
            raise Lost(_words(problem)) from None
        except (aiohttp.ClientError, OSError) as problem:
            raise Lost(_words(problem)) from None

    @staticmethod
    async def _read(reply: Any) -> str:
        pieces: list[bytes] = []
        size = 0
        async for piece in reply.content.iter_any():
            pieces.append(piece)
            size += len(piece)
            if size > MOST_REPLY:
                raise Lost(f"the reply is longer than {MOST_REPLY >> 20} MiB")
        return b"".join(pieces).decode("utf-8", "replace")

    async def close(self) -> None:
        await self._session.close()


def _drop(session: Any) -> None:
    """Let go of connections that nobody closed: their loop may be gone, and the process is about to."""
    connector = session.connector
    if connector is not None:
        session.detach()
        with contextlib.suppress(RuntimeError):
            connector._close()  # `close()` makes a coroutine that nobody is there to await


def _words(problem: BaseException) -> str:
    return f"{type(problem).__name__} {problem}".strip()


@cache
def _payload_class() -> Any:
    from aiohttp import payload

    class Pieces(payload.Payload):
        """A body in pieces; a large one goes to the socket bit by bit, so that nobody copies it whole."""

        _autoclose = True

        def __init__(self, value: Sequence[Piece]) -> None:
            super().__init__(value, content_type="application/json")
            self._size = sum(map(len, value))
            self.began: float | None = None

        def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
            return _joined(self._value).decode(encoding, errors)

        async def write(self, writer: Any) -> None:
            self.began = time.perf_counter()
            for chunk in chunks(self._value):
                await writer.write(chunk)

        async def write_with_length(self, writer: Any, content_length: int | None) -> None:
            await self.write(writer)

    return Pieces


@cache
def _careful() -> Any:
    """A request that looks whether a reply lies there before it goes out."""
    from aiohttp import ClientRequest

    class Careful(ClientRequest):
        """A gateway that sends a reply twice would answer the next question with it, and every further one wrongly."""

        async def send(self, conn: Any) -> Any:
            # aiohttp looks there itself, but only when it puts a connection away.
            if getattr(conn.protocol, "_buffer", None):
                raise _Stale
            return await super().send(conn)

    return Careful


def _pieces(content: Sequence[Piece]) -> Any:
    return _payload_class()(content)


def chunks(content: Sequence[Piece]) -> Iterator[bytes | memoryview]:
    """A body as it is given to the socket: what is small together, a picture in pieces."""
    small: list[bytes] = []
    for piece in _bits(content):
        if len(piece) < SMALL:
            small.append(piece)
            continue
        if small:
            yield b"".join(small)
            small = []
        view = memoryview(piece)
        for start in range(0, len(piece), PIECE):
            yield view[start : start + PIECE]
    if small:
        yield b"".join(small)


def _bits(content: Sequence[Piece]) -> Iterator[bytes]:
    """A body as it goes out: what is encoded is dropped before the next bit is."""
    for piece in content:
        if isinstance(piece, Base64):
            yield from piece.pieces()
        else:
            yield piece


def _joined(content: Sequence[Piece]) -> bytes:
    return b"".join(map(whole, content))


class _SdkWire:
    """See `Wire`; the SDK's own client."""

    def __init__(self, url: str, key: Secret, in_flight: int, timeout: float) -> None:
        self._client, self._timeout = open_client(url, key, in_flight, timeout), timeout

    async def post(self, content: Sequence[Piece]) -> Reply:
        import openai

        options: Any = {"headers": {"Content-Type": "application/json"}}
        try:
            async with asyncio.timeout(self._timeout):
                raw = await self._client.post(
                    "/chat/completions", cast_to=str, content=_joined(content), options=options
                )
        except openai.APIStatusError as problem:
            return Reply(problem.status_code, problem.response.headers, problem.response.text)
        except openai.APITimeoutError as problem:
            if type(problem.__cause__).__name__ == "ConnectTimeout":
                raise NotSent("ConnectTimeout") from None
            raise TimeoutError from None
        except openai.APIConnectionError as problem:
            cause = problem.__cause__
            kind = type(cause).__name__ if cause is not None else "connection lost"
            error = NotSent if kind in ("ConnectError", "ConnectTimeout") else Lost
            raise error(f"{kind} {cause or ''}".strip()) from None
        return Reply(200, {}, raw)

    async def close(self) -> None:
        await self._client.close()


def open_client(url: str, key: Secret, in_flight: int, timeout: float) -> AsyncOpenAI:
    """A client of the SDK with as many connections as calls in flight; retries are ours, not the SDK's.

    Args:
        url: Base URL of the endpoint.
        timeout: Seconds between two bytes; the caller bounds the whole attempt.
    """
    import httpx2
    import openai

    # No redirects and no proxies to this very machine: see above.
    settings: Any = {
        "limits": httpx2.Limits(max_connections=in_flight + 4, max_keepalive_connections=in_flight + 4),
        "timeout": httpx2.Timeout(timeout, connect=min(15.0, timeout)),
        "follow_redirects": False,
        "trust_env": host_of(url) not in LOOPBACK,
    }
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
    if status in (402, 429):
        return f"{host}: the account has nothing left to spend ({status}: {words}); top it up, then run again"
    if 300 <= status < 400:
        place = key.scrub(headers.get("location", "elsewhere"))
        return f"{host} redirects to {place}; pictures are not sent on: write that address as base_url if you trust it"
    return f"{host} answers {status}: {words}; check base_url and model = {model!r}"
