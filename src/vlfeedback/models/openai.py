"""Models behind an OpenAI-compatible endpoint: OpenAI itself, vLLM, SGLang, gateways.

What a status means here, and who deals with it:

    401 403 404, quota spent     the endpoint cannot be used: `ModelUnavailable`
    400 413 422                  the question cannot be answered: kept as `bad_request`, or as `content_filter`
    429                          the endpoint rests for everybody, as long as it asks; not an attempt
    408, 5xx, time-out, reset    asked again after a growing wait, on another replica if there is one
    200 without a usable reply   like 5xx, the body is kept in `raw`
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from vlfeedback.errors import ConfigError, DataError, ModelUnavailable
from vlfeedback.flow import interrupted
from vlfeedback.images import Roots
from vlfeedback.models import _chat
from vlfeedback.models._limits import Gate, backoff, retry_after
from vlfeedback.models._pictures import Addresses, ImageAs
from vlfeedback.models._secrets import LOOPBACK, Secret, find_key, host_of
from vlfeedback.models._wire import open_client, unusable
from vlfeedback.records import Generation, Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = logging.getLogger(__name__)

LONGEST_REST = 900.0
"""Seconds a single call waits in all for an endpoint that answers 429, before it is handed back as `rate_limited`."""

LOOK_AGAIN = 0.5
"""Seconds between two looks at a resting endpoint: another may be free by then, or the user may have stopped us."""


def load(
    *,
    model: str,
    roots: Roots,
    base_url: str | list[str] = "https://api.openai.com/v1",
    api_key_env: str = "OPENAI_API_KEY",
    identity: str = "",
    revision: str = "",
    in_flight: int = 32,
    timeout: float = 120.0,
    attempts: int = 5,
    requests_per_minute: int | None = None,
    image_as: ImageAs = "data",
    image_url: dict[str, str] | None = None,
    recipe: str = "original",
    detail: Literal["", "low", "high", "auto"] = "",
    reasoning: bool = False,
    extra: dict[str, Any] | None = None,
    local: bool | None = None,
) -> OpenAIModel:
    """Open a model behind one or more OpenAI-compatible endpoints; nothing is sent before the first question.

    Args:
        model: Name that the endpoint knows.
        roots: Where pictures lie (given by the pipeline).
        base_url: Address up to and with `/v1`; several are replicas of one model.
        api_key_env: Environment variable that holds the key; endpoints that want none get a dummy.
        identity: Declared identity; default `openai:MODEL[@REVISION]` and the options that change the reply.
        revision: Revision or quantisation of the weights, part of the default identity.
        in_flight: Calls outstanding at one time, over all replicas, ≥ 1.
        timeout: Seconds for one attempt, from sending to the last byte.
        attempts: How often a call is sent before it counts as failed, ≥ 1.
        requests_per_minute: Pace of each endpoint, or None for no limit but its own 429.
        image_as: Send the picture itself, a path on a disk that the server shares (vLLM), or a public address.
        image_url: For `image_as = "url"`: the public address of each image root.
        recipe: How this model wants pictures prepared, see `images.prepare`; part of each question.
        detail: Resolution hint on each picture, where the endpoint knows one.
        reasoning: The model thinks before it answers: `max_completion_tokens`, no temperature.
        extra: Further fields of the body, such as `{reasoning_effort = "low"}`.
        local: It runs on your own machines and costs nothing; default: it does if all addresses are this machine's.
            A price in the table still counts.
    Raises:
        ConfigError: a base_url is no address, or an option is out of its range.
        ModelUnavailable: the endpoint wants a key and the variable is not set.
    """
    urls = [base_url] if isinstance(base_url, str) else list(base_url)
    if not urls or in_flight < 1 or attempts < 1 or timeout <= 0 or (requests_per_minute or 1) < 1:
        raise ConfigError(
            f"model {model}: base_url must not be empty; in_flight, attempts, timeout, requests_per_minute > 0"
        )
    key = find_key(api_key_env, [host_of(url) for url in urls])
    declared = identity or _default_identity(model, revision, detail=detail, reasoning=reasoning, extra=extra)
    shape = _chat.Shape(model=model, reasoning=reasoning, detail=detail, extra=_chat.extra_members(extra))
    pace = 60.0 / requests_per_minute if requests_per_minute else 0.0
    policy = Policy(in_flight=in_flight, timeout=timeout, attempts=attempts, pace=pace)
    opened = OpenAIModel(declared, shape, urls, key, Addresses(roots, image_as, image_url), recipe, policy)
    opened.local = all(host in LOOPBACK for host in opened.hosts) if local is None else local
    return opened


def _default_identity(model: str, revision: str, **options: Any) -> str:
    name = f"openai:{model}" + (f"@{revision}" if revision else "")
    changed = {key: value for key, value in options.items() if value}
    return name + "".join(f";{key}={_compact(changed[key])}" for key in sorted(changed))


def _compact(value: object) -> str:
    return (
        value
        if isinstance(value, str)
        else json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    )


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of one model; see `load`. `pace` is seconds between two sends to one endpoint."""

    in_flight: int
    timeout: float
    attempts: int
    pace: float = 0.0


@dataclass(slots=True)
class Traffic:
    """What went over the wire, for accounts and tests.

    Attributes:
        sent: Requests that were sent.
        answered: Of these, with a complete HTTP reply of any status.
        lost: Of these, timed out or cut off: the endpoint may have served (and charged) them.
        rested: 429 replies.
    """

    sent: int = 0
    answered: int = 0
    lost: int = 0
    rested: int = 0


class _Replica:
    """One endpoint with its clock; the client belongs to the event loop that first uses it."""

    def __init__(self, url: str, pace: float) -> None:
        self.url = url
        self.host = host_of(url)
        self.gate = Gate(pace)
        self.failing_until = 0.0
        self.client: AsyncOpenAI | None = None


@dataclass(frozen=True, slots=True)
class _Outcome:
    """End of one attempt.

    Attributes:
        resting: A 429: the endpoint's affair, not an attempt.
        unsure: No usable reply came, and yet the endpoint may have served and charged the call.
    """

    generation: Generation
    resting: bool = False
    unsure: bool = False
    sent: bool = True


class OpenAIModel:
    """A model behind replicas of one endpoint; safe for many calls at a time on one event loop.

    Attributes:
        identity: Declared identity; address, limits and prices are no part of it.
        recipe: How pictures are prepared for it; acts on requests that do not name a recipe themselves.
        name: Name that the endpoint knows.
        hosts: Host names that see prompts and pictures.
        local: Whether it costs nothing where no price is known.
        traffic: Counts of what was sent.
    """

    def __init__(
        self,
        identity: str,
        shape: _chat.Shape,
        urls: list[str],
        key: Secret,
        pictures: Addresses,
        recipe: str,
        policy: Policy,
    ) -> None:
        self.identity = identity
        self.traffic = Traffic()
        self._shape = shape
        self._key = key
        self._pictures = pictures
        self.recipe = recipe
        self.name = shape.model
        self.local = False
        self._policy = policy
        self._replicas = [_Replica(url, policy.pace) for url in urls]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._places = asyncio.Semaphore(policy.in_flight)
        self._same: asyncio.Task[None] | None = None
        self._ever_reached = False
        self._unreached_calls = 0

    @property
    def hosts(self) -> tuple[str, ...]:
        """Host names of all replicas, in order."""
        return tuple(replica.host for replica in self._replicas)

    def __repr__(self) -> str:
        return f"OpenAIModel({self.identity!r}, hosts={self.hosts})"

    async def answer(self, request: Request) -> Generation:
        """Ask, and ask again what deserves it.

        Returns:
            The reply, or a generation with `finish="error"` and the class of the last failure.
        Raises:
            ModelUnavailable: the endpoint cannot be used at all (key, model name, address, quota, nobody there).
        """
        self._enter_loop()
        if len(self._replicas) > 1:
            await self._agree()
        recipe = request.recipe if request.recipe != "original" else self.recipe
        start = self._first_replica(request)
        attempt, rested, sent, unsure = 0, 0.0, 0, 0
        while True:
            replica = self._pick(start, attempt)
            closed = replica.gate.closed_for()
            if closed > 0:
                if closed + rested > LONGEST_REST or interrupted():
                    words = f"{replica.host} asks to wait {closed:.0f} s"
                    return replace(_chat.failure("rate_limited", words, wait=closed), sent=sent, unsure=unsure)
                nap = min(closed, LOOK_AGAIN) * random.uniform(1.0, 1.1) + 0.001
                rested += nap
                await asyncio.sleep(nap)
                continue
            await replica.gate.keep_pace()
            async with self._places:
                if replica.gate.closed_for() > 0:
                    continue  # somebody was refused while this call waited for its place
                try:
                    content = _chat.body(request, self._shape, lambda image: self._pictures.address(image, recipe))
                except DataError as problem:
                    # no answer of the endpoint, so nothing to keep: the call is made once the picture is back
                    return replace(_chat.failure("connection", f"a picture cannot be read: {problem}"), sent=0)
                outcome = await self._send(replica, content)
            sent += outcome.sent
            unsure += outcome.unsure
            if outcome.resting:
                continue
            attempt += 1
            if outcome.generation.answered or attempt >= self._policy.attempts or interrupted():
                self._note_reached(replica, sent > 0, outcome.generation.detail)
                return replace(outcome.generation, sent=sent, unsure=unsure)
            replica.failing_until = time.monotonic() + backoff(attempt)
            log.info("%s: attempt %d failed (%s)", self.identity, attempt, outcome.generation.error)
            if self._pick(start, attempt) is replica:
                await asyncio.sleep(max(0.0, replica.failing_until - time.monotonic()))

    async def aclose(self) -> None:
        """Close the connections; a later question opens them again."""
        for replica in self._replicas:
            if replica.client is not None:
                await replica.client.close()
                replica.client = None

    def _note_reached(self, replica: _Replica, reached: bool, detail: str) -> None:
        self._unreached_calls = 0 if reached else self._unreached_calls + 1
        self._ever_reached |= reached
        if not reached and (not self._ever_reached or self._unreached_calls > self._policy.in_flight):
            raise ModelUnavailable(f"nothing answers at {replica.url} ({detail}); start the server or mend base_url")

    def _enter_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # connections of another loop cannot be used, nor closed, from this one
            self._loop = loop
            self._places = asyncio.Semaphore(self._policy.in_flight)
            self._same = None
            for replica in self._replicas:
                replica.client = None

    def _first_replica(self, request: Request) -> int:
        # all questions on a picture go to one replica, where its encoding and the prefix are cached
        pictures = request.images
        seed = pictures[0].sha256 if pictures else request.system + (request.parts[-1].text or "")
        digest = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % len(self._replicas)

    def _pick(self, start: int, attempt: int) -> _Replica:
        count = len(self._replicas)
        order = [self._replicas[(start + attempt + step) % count] for step in range(count)]
        now = time.monotonic()
        well = [replica for replica in order if replica.failing_until <= now and not replica.gate.closed_for()]
        return well[0] if well else min(order, key=lambda one: max(one.failing_until - now, one.gate.closed_for()))

    async def _send(self, replica: _Replica, content: bytes) -> _Outcome:
        import openai

        client = self._client(replica)
        options: Any = {"headers": {"Content-Type": "application/json"}}
        self.traffic.sent += 1
        began = time.perf_counter()
        refused: openai.APIStatusError | None = None
        raw = ""
        try:
            async with asyncio.timeout(self._policy.timeout):
                raw = await client.post("/chat/completions", cast_to=str, content=content, options=options)
        except openai.APIStatusError as problem:
            refused = problem
        except (TimeoutError, openai.APITimeoutError):
            self.traffic.lost += 1
            words = f"{replica.host}: no reply within {self._policy.timeout:g} s"
            return _Outcome(_chat.failure("timeout", words), unsure=True)
        except openai.APIConnectionError as problem:
            return self._broken(replica, problem)
        self.traffic.answered += 1
        if refused is not None:  # handled out here, so that no error of ours drags the foreign text (or the key) along
            text = self._key.scrub(refused.response.text)
            return self._status(replica, refused.status_code, text, refused.response.headers)
        reply = _chat.generation(self._key.scrub(raw))
        if reply.error == "rate_limited":
            return self._rest(replica, None, reply)
        replica.gate.answered()
        return _Outcome(replace(reply, latency=time.perf_counter() - began), unsure=not reply.answered)

    def _broken(self, replica: _Replica, problem: Exception) -> _Outcome:
        cause = problem.__cause__
        kind = type(cause).__name__ if cause is not None else "connection lost"
        failure = _chat.failure("connection", self._key.scrub(f"{replica.host}: {kind} {cause or ''}".strip()))
        if kind in ("ConnectError", "ConnectTimeout"):  # refused, or an unknown host: certainly never sent
            self.traffic.sent -= 1
            return _Outcome(failure, sent=False)
        self.traffic.lost += 1
        return _Outcome(failure, unsure=True)

    def _status(self, replica: _Replica, status: int, raw: str, headers: Mapping[str, str]) -> _Outcome:
        words, code = _chat.error_words(raw)
        if status == 429 and code not in _chat.NO_MONEY_CODES:
            wait = retry_after(headers)
            return self._rest(replica, wait, _chat.failure("rate_limited", words, raw, wait))
        if code in _chat.FILTER_CODES:
            return _Outcome(Generation(text="", finish="content_filter", detail=words, raw=raw))
        if status in (400, 413, 422):
            return _Outcome(_chat.failure("bad_request", f"status {status}: {words}", raw))
        if status in (408, 409, 425):
            return _Outcome(_chat.failure("timeout" if status == 408 else "server", f"status {status}: {words}", raw))
        if status >= 500:
            return _Outcome(_chat.failure("server", f"status {status}: {words}", raw, retry_after(headers)))
        raise ModelUnavailable(unusable(replica.host, self._shape.model, self._key, status, words, headers))

    def _rest(self, replica: _Replica, wait: float | None, generation: Generation) -> _Outcome:
        self.traffic.rested += 1
        seconds = replica.gate.pause(wait)
        log.info("%s: %s asks for a rest of %.1f s", self.identity, replica.host, seconds)
        return _Outcome(generation, resting=True)

    def _client(self, replica: _Replica) -> AsyncOpenAI:
        if replica.client is None:
            replica.client = open_client(replica.url, self._key, self._policy.in_flight, self._policy.timeout)
        return replica.client

    async def _agree(self) -> None:
        """Replicas must be one model: ask each once which models it lists."""
        if self._same is None:
            self._same = asyncio.get_running_loop().create_task(self._compare())
        await asyncio.shield(self._same)

    async def _compare(self) -> None:
        import openai

        listed: dict[str, bool] = {}
        for replica in self._replicas:
            try:
                async with asyncio.timeout(min(10.0, self._policy.timeout)):
                    page = await self._client(replica).models.list()
                listed[replica.url] = any(entry.id == self._shape.model for entry in page.data or [])
            except (openai.OpenAIError, TimeoutError, AttributeError, TypeError):
                continue  # a server without that page, or one that is down now: its calls will tell
        if len(set(listed.values())) > 1:
            lacking = ", ".join(host_of(url) for url, has in listed.items() if not has)
            raise ModelUnavailable(
                f"the replicas of {self.identity} do not serve one model: {lacking} does not list "
                f"{self._shape.model!r}; give each model its own pool entry"
            )
