"""Models behind an OpenAI-compatible endpoint: OpenAI itself, vLLM, SGLang, gateways.

`_endpoint` has what a status means, `_crowd` how much an endpoint is sent at a time, `_replicas` which of several a
question is put to. Here is when it is put again, and when nobody is asked any more.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from vlfeedback.errors import ConfigError, DataError, ModelUnavailable
from vlfeedback.flow import interrupted, parked
from vlfeedback.images import Roots
from vlfeedback.models import _chat
from vlfeedback.models._base64 import Piece, whole
from vlfeedback.models._endpoint import Endpoint, Outcome, Policy, Traffic, unsent
from vlfeedback.models._identities import of_endpoint as identity_of
from vlfeedback.models._limits import NAP, backoff
from vlfeedback.models._pictures import Addresses, ImageAs, Picturing, Sent
from vlfeedback.models._replicas import Replicas
from vlfeedback.models._samples import Together
from vlfeedback.models._secrets import LOOPBACK, Secret, find_key, host_of
from vlfeedback.models._sends import before_sending, may_send_again
from vlfeedback.models._wire import Opening, open_client
from vlfeedback.records import Generation, Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = logging.getLogger(__name__)

LONGEST_REST = 900.0
"""Seconds a single call waits in all for an endpoint that answers 429, before it is handed back as `rate_limited`; and
seconds of rests in a row, of any calls and with nothing served between, after which the endpoint is given up."""

STOPPED = "stopped before it was sent"

NOBODY_THERE = 5.0
"""Seconds of nothing but failures after which an endpoint that never answered is given up."""


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
    tokens_per_minute: int | None = None,
    adaptive: bool = True,
    patience: float = 120.0,
    image_as: ImageAs = "data",
    image_url: dict[str, str] | None = None,
    recipe: str = "original",
    detail: Literal["", "low", "high", "auto"] = "",
    reasoning: bool = False,
    samples: int = 1,
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
        in_flight: Most calls outstanding at one time, over all replicas, ≥ 1.
        timeout: Seconds for one attempt, from sending to the last byte.
        attempts: How often a call is sent before it counts as failed, ≥ 1.
        requests_per_minute: Pace of each endpoint, or None for no limit but its own 429.
        tokens_per_minute: Likewise, input and output together as the endpoint counts them.
        adaptive: Send each endpoint fewer calls at a time where latency or errors say so.
        patience: Seconds without any answer after which an endpoint is given up and the run stops.
        image_as: Send the picture itself, a path on a disk that the server shares (vLLM), or a public address.
        image_url: For `image_as = "url"`: the public address of each image root.
        recipe: How this model wants pictures prepared, see `images.prepare`; part of each question.
        detail: Resolution hint on each picture, where the endpoint knows one.
        reasoning: The model thinks before it answers: `max_completion_tokens`, no temperature.
        samples: Most samples of one question that are asked for in one call (`n`), where several are wanted.
        extra: Further fields of the body, such as `{reasoning_effort = "low"}`; not those that have an option here.
        local: It runs on your own machines and costs nothing; default: it does if all addresses are this machine's.
            A price in the table still counts.
    Raises:
        ConfigError: a base_url is no address, an option is out of its range, or `extra` sets what has an option.
        ModelUnavailable: the endpoint wants a key and the variable is not set.
    """
    urls = [base_url] if isinstance(base_url, str) else list(base_url)
    rates = (1 if rate is None else rate for rate in (requests_per_minute, tokens_per_minute))
    if not urls or in_flight < 1 or attempts < 1 or not timeout > 0 or min(patience, samples, *rates) <= 0:
        raise ConfigError(
            f"model {model}: base_url must not be empty; in_flight, attempts, timeout, patience, samples, "
            "requests_per_minute and tokens_per_minute > 0"
        )
    key = find_key(api_key_env, [host_of(url) for url in urls])
    shape = _chat.Shape(model=model, reasoning=reasoning, detail=detail, extra=_chat.extra_members(extra))
    declared = identity_of(model, identity, revision, detail, reasoning, extra)
    policy = Policy(
        in_flight=in_flight,
        timeout=timeout,
        attempts=attempts,
        pace=60.0 / requests_per_minute if requests_per_minute else 0.0,
        token_pace=60.0 / tokens_per_minute if tokens_per_minute else 0.0,
        adaptive=adaptive,
        patience=patience,
    )
    opened = OpenAIModel(declared, shape, urls, key, Addresses(roots, image_as, image_url), recipe, policy, samples)
    opened.local = all(host in LOOPBACK for host in opened.hosts) if local is None else local
    return opened


@dataclass(slots=True)
class _Call:
    """A question on its way.

    Attributes:
        start: Which replica is asked first.
        n: Samples asked for at once.
        attempts: Attempts made.
        unreached: How many of these came to nobody.
        sent: How often it was sent, refusals for lack of time included.
        unsure: How many of these may have been served and billed although no usable reply came.
        rested: Seconds waited for endpoints that asked for a rest.
        paid: Whether its money is set aside, and its sending written down.
    """

    request: Request
    start: int
    n: int = 1
    attempts: int = 0
    unreached: int = 0
    sent: int = 0
    unsure: int = 0
    rested: float = 0.0
    paid: bool = False

    @property
    def place(self) -> int:
        """Replica that is asked next, counted on from the first."""
        return self.start + self.attempts

    def end(self, generation: Generation) -> Generation:
        same = (generation.sent, generation.unsure) == (self.sent, self.unsure)  # nearly always: it was sent once
        return generation if same else replace(generation, sent=self.sent, unsure=self.unsure)


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
        samples: int = 1,
    ) -> None:
        self.identity = identity
        self.traffic = Traffic()
        self._shape = shape
        self._key = key
        self._pictures = pictures
        self._sent: Sent = pictures.sent
        self.recipe = recipe
        self.name = shape.model
        self.local = False
        self._policy = policy
        self._endpoints = Replicas(urls, shape.model, key, policy, self.traffic, identity)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._places = asyncio.Semaphore(policy.in_flight)
        self._ever_reached, self._unreached_calls = False, 0
        self._given_up = ""
        self._samples = samples
        self._together = Together(self._ask, samples)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Host names of all replicas, in order."""
        return tuple(endpoint.host for endpoint in self._endpoints)

    @property
    def at_once(self) -> tuple[int, ...]:
        """Calls that each replica is sent at a time as things stand."""
        return tuple(endpoint.crowd.places for endpoint in self._endpoints)

    @property
    def pays_late(self) -> bool:
        """Whether it asks whoever pays just before it sends: a call of several samples has one sending for all."""
        return self._samples == 1

    @property
    def doubted(self) -> bool:
        """Whether nothing has been served yet: what is refused then may be no fault of the question."""
        return not any(endpoint.served for endpoint in self._endpoints)

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
        return await self._together.answer(request)

    async def _ask(self, request: Request, n: int) -> Generation:
        await self._endpoints.agree()
        call = _Call(request, self._endpoints.first(request), n)
        while True:
            if self._given_up:
                return self._give_up(call, self._given_up)
            endpoint = self._endpoints.pick(call.place)
            if endpoint.gate.closed_for() > 0:
                failure = await self._wait(call)
                if failure is not None:
                    return call.end(failure)
                continue
            outcome = await self._attempt(endpoint, call)
            if outcome is None or outcome.resting:
                continue
            if outcome.accused and (n == 1 or outcome.at_last):  # several samples may be what it refuses
                outcome = await endpoint.weigh(request, outcome)
            if outcome.unusable:
                return self._give_up(call, outcome.unusable)
            if not outcome.sent and call.attempts == 0:
                return call.end(outcome.generation)  # never got as far as the endpoint
            if call.attempts >= self._most_attempts(call) and not interrupted():
                return self._settle(call, endpoint, outcome.at_last or outcome.generation)
            if outcome.generation.answered or interrupted():
                return self._settle(call, endpoint, outcome.generation)
            if outcome.unsure and not await may_send_again():
                return call.end(outcome.generation)
            log.info("%s: attempt %d failed (%s)", self.identity, call.attempts, outcome.generation.error)
            await asyncio.sleep(self._pause_before_next(call))

    def body(self, request: Request) -> list[bytes]:
        """The JSON body of a request in pieces."""
        return [whole(piece) for piece in self._content(request, 1, self._pictures.sent)]

    def _content(self, request: Request, n: int, picture: Sent) -> list[Piece]:
        recipe = request.recipe if request.recipe != "original" else self.recipe
        return _chat.body(request, self._shape, lambda one: picture(one, recipe), n)

    def send_through(self, opens: Callable[[Addresses], Opening], later: Picturing) -> None:
        """Send calls another way, with `later` in a body for each picture; how many and when stays decided here."""
        for endpoint in self._endpoints:
            endpoint.opens = opens(self._pictures)
        self._sent = later if self._pictures.embeds else self._pictures.address

    def connect(self) -> AsyncOpenAI:
        """A client of the first endpoint, for its other pages."""
        return open_client(self._endpoints[0].url, self._key, 8, max(600.0, self._policy.timeout))

    @property
    def secret(self) -> Secret:
        """Its key, to be blotted out of what the endpoint says."""
        return self._key

    async def aclose(self) -> None:
        """Close the connections; a later question opens them again."""
        self._given_up = ""
        for endpoint in self._endpoints:
            await endpoint.close()

    def _most_attempts(self, call: _Call) -> int:
        # a replica that is down has been sent nothing: there is another one to ask
        return self._policy.attempts + min(call.unreached, len(self._endpoints) - 1)

    def _pause_before_next(self, call: _Call) -> float:
        # another replica is asked at once; only when all have been is there something to wait for
        tried_all = call.attempts - len(self._endpoints) + 1
        return backoff(tried_all) if tried_all >= 1 else 0.0

    async def _attempt(self, endpoint: Endpoint, call: _Call) -> Outcome | None:
        """Send a call when its turn has come; None if the endpoint had closed by then."""
        request, latency, failed = call.request, 0.0, False
        queued = endpoint.crowd.full or endpoint.porch.locked()
        round_ = await self._enter(endpoint, call, queued)
        if round_ is None:
            return unsent(STOPPED) if interrupted() else None
        try:
            if endpoint.gate.closed_for() > 0:
                return None  # somebody was refused while this call waited for its place
            async with self._places:
                tokens = endpoint.expected_tokens(request) if self._policy.token_pace else 0.0
                if (queued and interrupted()) or not await endpoint.gate.keep_pace(tokens, interrupted):
                    return unsent(STOPPED)
                if endpoint.gate.closed_for() > 0:
                    return None
                try:
                    content = self._content(request, call.n, self._sent)
                    outcome = await endpoint.send(request, content, tokens)
                except DataError as problem:
                    # no answer of the endpoint, so nothing to keep: the call is made once the picture is back
                    return unsent(f"a picture cannot be read: {problem}")
            latency, failed = outcome.took or outcome.generation.latency, outcome.failed
        finally:
            endpoint.crowd.leave(round_, latency, failed=failed)
        call.sent += outcome.sent
        call.unsure += outcome.unsure
        call.attempts += not outcome.resting
        call.unreached += not (outcome.sent or outcome.resting)
        return outcome

    async def _enter(self, endpoint: Endpoint, call: _Call, queued: bool) -> int | None:
        """Wait for a place, and pay on the way: only those who are next in line have their sending written down.

        Whoever has paid never waits behind somebody who waits for money: it may be theirs.

        Returns:
            What the crowd gives, or None where the call is not to be sent now.
        """
        if call.paid:
            return await endpoint.crowd.enter()
        async with endpoint.porch:
            if endpoint.gate.closed_for() > 0 or (queued and interrupted()):
                return None
            await before_sending()
            call.paid = True
            return await endpoint.crowd.enter()

    async def _wait(self, call: _Call) -> Generation | None:
        """Wait until some replica may be asked; a failure if that takes too long."""
        async with parked():  # whoever else is in the queue of the room is not held up by this
            while (closed := (endpoint := self._endpoints.pick(call.place)).gate.closed_for()) > 0:
                out = min(each.gate.out_for() for each in self._endpoints)
                if out > self._bears():
                    words = f"nothing has been answered at {endpoint.url} for {out:.0f} s"
                    last = endpoint.said[:300] or "no reply"
                    self._given_up = f"{words} (the last time: {last}); see what the server says, and run again"
                    return None
                if min(each.gate.in_vain for each in self._endpoints) >= LONGEST_REST:
                    words = f"{endpoint.host} has answered nothing but 429 through {LONGEST_REST:.0f} s of rests"
                    self._given_up = f"{words} ({endpoint.said}); see what its limits are, and run again later"
                    return None
                if closed + call.rested > LONGEST_REST or interrupted():
                    until = time.strftime("%d %b %H:%M", time.localtime(time.time() + closed))
                    words = f"{endpoint.host} asks to wait {closed:.0f} s, until {until}; run again then"
                    return _chat.failure("rate_limited", words, wait=closed)
                nap = min(closed, NAP) * random.uniform(1.0, 1.1) + 0.001
                call.rested += nap
                await asyncio.sleep(nap)
        return None

    def _bears(self) -> float:
        """Seconds without an answer until nobody is taken to be there."""
        there = self._ever_reached or any(each.ailing for each in self._endpoints)
        return self._policy.patience if there else min(NOBODY_THERE, self._policy.patience)

    def _settle(self, call: _Call, endpoint: Endpoint, generation: Generation) -> Generation:
        reached = call.sent > 0
        self._unreached_calls = 0 if reached else self._unreached_calls + 1
        self._ever_reached |= reached
        if not reached and (not self._ever_reached or self._unreached_calls > self._policy.in_flight):
            words = f"nothing answers at {endpoint.url} ({generation.detail}); start the server or mend base_url"
            return self._give_up(call, words)
        return call.end(generation)

    def _give_up(self, call: _Call, words: str) -> Generation:
        """Raise, or for a call that may have been charged already: report that, and raise for the next."""
        self._given_up = words
        if not call.unsure:
            raise ModelUnavailable(words)
        return call.end(_chat.failure("connection", words))

    def _enter_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._places = asyncio.Semaphore(self._policy.in_flight)
            self._given_up = ""
            self._together = Together(self._ask, self._samples)
            self._endpoints.enter_loop()
