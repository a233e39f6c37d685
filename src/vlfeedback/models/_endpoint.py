"""One address of a model: how it is sent a call, what its answer means, and how hard it may be pressed.

What a status means here, and who deals with it:

    401 402 3xx, quota spent     the endpoint cannot be used
    400 413 422                  the question cannot be answered: kept as `bad_request`, or as `content_filter`; or, by
                                 its words or because nothing else is served, the endpoint (`_refusals`)
    429                          the endpoint rests for everybody, as long as it asks; not an attempt
    other 4xx                    where something is served: an attempt that may be made again, and at last a
                                 `bad_request`; else, or for several questions in a row, the endpoint cannot be used
    408 409 424 425 498 5xx,
    time-out, reset              an attempt that may be made again; a Retry-After is kept to here too
    200 without a usable reply   like 5xx, the body is kept in `raw`; with a 401, 402 or 429 inside it is one
    other 2xx                    like 200 without a usable reply
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vlfeedback.errors import DataError
from vlfeedback.models import _chat
from vlfeedback.models._base64 import Piece
from vlfeedback.models._crowd import Crowd
from vlfeedback.models._limits import Gate, retry_after
from vlfeedback.models._refusals import Doubts, of_account
from vlfeedback.models._secrets import Secret, host_of
from vlfeedback.models._wire import Lost, NotSent, Opening, Reply, Wire, open_wire, unusable
from vlfeedback.records import Generation, Request, Usage

log = logging.getLogger(__name__)

_AGAIN = frozenset({408, 409, 424, 425, 498})
"""Not of 5xx, and yet the server's own trouble: 424 is TGI's failed generation, 498 Groq's lack of room."""

AT_FIRST = 32
"""Places of a new endpoint, or half of what is allowed if that is more: the first round shows what it bears."""


LEAST_NEXT = 4
"""Calls at least that may be next in line for an endpoint: a commit takes some of them together."""

FAR = 20
"""A call that is said to have taken more than so many times the tokens expected is taken to have taken that many:
a count that is nonsense must not stop the pace for months."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of one model, see `openai.load`; `pace` and `token_pace` are seconds per call and token at an endpoint."""

    in_flight: int
    timeout: float
    attempts: int
    pace: float = 0.0
    token_pace: float = 0.0
    adaptive: bool = True
    patience: float = 120.0


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """End of one attempt.

    Attributes:
        resting: A 429: the endpoint's affair, not an attempt.
        unsure: No usable reply came, and yet the endpoint may have served and charged the call.
        sent: Whether it reached the endpoint at all.
        unusable: What is wrong with the endpoint, if it cannot be used at all.
        accused: What is wrong with the endpoint if this refusal is not the question's fault, see `Endpoint.weigh`.
        at_last: What it is when no attempt is left, where that is something else.
        took: Seconds of the endpoint and the way there: from the first byte of the body, not from when this process
            came to the call. With pictures of 1 MB its own queue is as long as the answer takes.
    """

    generation: Generation
    resting: bool = False
    unsure: bool = False
    sent: bool = True
    unusable: str = ""
    accused: str = ""
    at_last: Generation | None = None
    took: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether it may be the crowd's fault: everything but an answer."""
        return not self.generation.answered


def unsent(words: str) -> Outcome:
    """End of an attempt that was not made."""
    return Outcome(_chat.failure("connection", words), sent=False)


class Endpoint:
    """One address with its clock and its crowd.

    Attributes:
        host: Who sees what is sent.
        gate: When it may be sent something.
        said: Words about its last failure, or about the last rest that it asked for.
        ailing: Whether it has ever said that it cannot serve just now: somebody is there, and perhaps loading a model.
        crowd: How much at a time.
        porch: For those that are next in line, whose sendings are being written down.
        opens: Opens the way there.
    """

    opens: Opening = staticmethod(open_wire)

    def __init__(self, url: str, model: str, key: Secret, policy: Policy, traffic: Traffic, replicas: int) -> None:
        self.url, self.host = url, host_of(url)
        self.gate = Gate(policy.pace, policy.token_pace)
        self._model, self._key, self._policy, self._traffic = model, key, policy, traffic
        self._share = max(1, -(-policy.in_flight // replicas))
        self._mean_tokens = 0.0
        self._doubts = Doubts()
        self.said = ""
        self.ailing = False
        self.enter_loop()

    def enter_loop(self) -> None:
        """Forget connections and waiting calls of another event loop: they can be neither used nor closed here."""
        policy = self._policy
        start = min(self._share, max(AT_FIRST, self._share // 2))
        self.crowd = Crowd(policy.in_flight, start=start, adaptive=policy.adaptive)
        self.porch = asyncio.Semaphore(max(LEAST_NEXT, self._share // 4))
        self._wire: Wire | None = None

    async def send(self, request: Request, content: Sequence[Piece], tokens: float) -> Outcome:
        """Make one attempt.

        Args:
            request: The question.
            content: Its body, in pieces.
            tokens: What it was expected to take, for the pace.
        """
        began = time.perf_counter()
        number = self._doubts.begin()
        try:
            outcome = await self._attempt(content, began)
        finally:
            self._doubts.end(number)
        if self._policy.token_pace:
            self._pace(request, outcome.generation.usage, tokens)
        if outcome.generation.finish == "error" or outcome.generation.latency:
            return outcome
        return replace(outcome, generation=replace(outcome.generation, latency=time.perf_counter() - began))

    def _pace(self, request: Request, usage: Usage, expected: float) -> None:
        took = min(usage.input + usage.output, int(FAR * self.expected_tokens(request)))
        if took:
            self.gate.took(expected, took)
            self._mean_tokens += (took - self._mean_tokens) * (0.1 if self._mean_tokens else 1.0)

    def expected_tokens(self, request: Request) -> float:
        """Tokens of a call: the running mean of those that were answered, before that a guess.

        The guess is four bytes of text per token, a thousand tokens per picture, and the longest reply.
        """
        if self._mean_tokens:
            return self._mean_tokens
        texts = len(request.system) + sum(len(part.text) for part in request.parts if part.text is not None)
        return texts / 4 + 1000.0 * len(request.images) + request.sampling.max_tokens

    @property
    def served(self) -> bool:
        """Whether any question was answered here."""
        return self._doubts.served

    async def weigh(self, request: Request, outcome: Outcome) -> Outcome:
        """What a refusal means, once it is known whether the endpoint serves anybody."""
        verdict = await self._doubts.weigh(request, hard=outcome.at_last is not None)
        words, raw = outcome.generation.detail, outcome.generation.raw
        if verdict == "endpoint":
            return Outcome(_chat.failure("connection", outcome.accused, raw), unusable=outcome.accused)
        if verdict == "unknown":  # stopped meanwhile
            return Outcome(_chat.failure("server", words, raw))
        return outcome

    async def close(self) -> None:
        """Close the connections; a later call opens them again."""
        if self._wire is not None:
            await self._wire.close()
            self._wire = None

    async def _attempt(self, content: Sequence[Piece], began: float) -> Outcome:
        if self._wire is None:
            self._wire = self.opens(self.url, self._key, self._policy.in_flight, self._policy.timeout)
        self._traffic.sent += 1
        try:
            reply = await self._wire.post(content)
        except TimeoutError:
            self._traffic.lost += 1
            words = f"{self.host}: no reply within {self._policy.timeout:g} s"
            return self._failure(Outcome(_chat.failure("timeout", words), unsure=True))
        except NotSent as problem:
            self._traffic.sent -= 1
            words = self._key.scrub(f"{self.host}: {problem}")
            return self._failure(Outcome(_chat.failure("connection", words), sent=False))
        except Lost as problem:
            self._traffic.lost += 1
            if not problem.endpoint:
                return Outcome(_chat.failure("connection", str(problem)), unsure=True)
            words = self._key.scrub(f"{self.host}: {problem}")
            return self._failure(Outcome(_chat.failure("connection", words), unsure=True))
        except DataError:
            self._traffic.sent -= 1
            raise
        self._traffic.answered += 1
        now = time.perf_counter()
        return self._read(reply, now - began, now - (began if reply.began is None else reply.began))

    def _read(self, reply: Reply, latency: float, took: float) -> Outcome:
        text = self._key.scrub_body(reply.text)
        if reply.status != 200:
            return self._status(reply.status, text, reply.headers)
        generation = _chat.generation(text, latency)
        if generation.error == "bad_request":
            return self._refused(text, generation.detail)
        if generation.error == "rate_limited":
            return self._rest(retry_after(reply.headers) or _chat.asked_wait(text), generation)
        if not generation.answered:
            status = _chat.real_status(text)
            if status is not None:
                return self._status(status, text, reply.headers)
            return self._failure(Outcome(generation, unsure=True))
        self._served()
        return Outcome(generation, took=took)

    def _status(self, status: int, raw: str, headers: Mapping[str, str]) -> Outcome:
        words, code = _chat.error_words(raw)
        words, wait = self._key.scrub(words), retry_after(headers)
        if 200 < status < 300:
            return self._failure(Outcome(_chat.failure("server", f"status {status} and no reply", raw), unsure=True))
        if status == 429 and code not in _chat.NO_MONEY_CODES:
            wait = wait or _chat.asked_wait(raw)
            return self._rest(wait, _chat.failure("rate_limited", words, raw, wait))
        if code in _chat.FILTER_CODES:
            self._served()
            return Outcome(Generation(text="", finish="content_filter", detail=words, raw=raw))
        if status in (400, 413, 422):
            return self._refused(raw, f"status {status}: {words}")
        if status in _AGAIN or status >= 500:
            self.ailing = True
            if wait:
                self.gate.pause(wait)
            kind = "timeout" if status == 408 else "server"
            return self._failure(Outcome(_chat.failure(kind, f"status {status}: {words}", raw, wait)))
        why = unusable(self.host, self._model, self._key, status, words, headers)
        if 400 <= status < 500 and status not in (401, 402, 429):
            self._answered()
            told = f"status {status}: {words}"
            at_last = _chat.failure("bad_request", told, raw)
            return Outcome(_chat.failure("server", told, raw), accused=why, at_last=at_last)
        return Outcome(_chat.failure("connection", why, raw), unusable=why)

    def _refused(self, raw: str, words: str) -> Outcome:
        if of_account(raw, words):
            why = f"{self.host} serves nobody with this key or account ({words}); mend it, then run again"
            return Outcome(_chat.failure("connection", why, raw), unusable=why)
        self._answered()
        accused = (
            f"{self.host} has refused all questions so far and served none ({words}). If it is the questions, "
            f"leave them or this model out; else mend what it says and run again"
        )
        return Outcome(_chat.failure("bad_request", words, raw), accused=accused)

    def _served(self) -> None:
        self._doubts.serve()
        self._answered()

    def _answered(self) -> None:
        self.gate.answered()
        self.crowd.answered()

    def _failure(self, outcome: Outcome) -> Outcome:
        self._doubts.disturb()
        self.said = outcome.generation.detail
        if self.gate.failed():
            self.crowd.outage()
        return outcome

    def _rest(self, wait: float | None, generation: Generation) -> Outcome:
        self._traffic.rested += 1
        self._doubts.disturb()
        self.said = generation.detail
        seconds = self.gate.rest(wait)
        log.info("%s: %s asks for a rest of %.1f s", self._model, self.host, seconds)
        return Outcome(generation, resting=True)
