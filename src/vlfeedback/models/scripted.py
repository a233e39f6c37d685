"""A model that says what it is told to: for tests, examples and dry runs of a pipeline.

Its replies are a function of the request alone, so that a run with it can be repeated and resumed like any other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vlfeedback.errors import ConfigError
from vlfeedback.ids import call_key
from vlfeedback.records import Finish, Generation, Part, Request, Sampling, Usage

REMEMBERED = 1000
"""Requests that a model remembers: a dry run of a million calls must not hold all of them."""

Script = Callable[[Request], str | Generation]


@dataclass(frozen=True, slots=True)
class Example:
    """A request and the text that `load()` without options replies."""

    request: Request
    text: str


EXAMPLES = (
    Example(Request("", (Part(text="What is this?"),), Sampling()), "A scripted reply to: What is this?"),
    Example(Request("Be kind.", (Part(text="Hello"),), Sampling(0.0)), "A scripted reply to: Hello"),
)


def load(
    *,
    model: str = "scripted",
    replies: Sequence[str] | Mapping[str, str] | Script = (),
    identity: str = "",
    finish: Finish = "stop",
    delay: float = 0.0,
) -> ScriptedModel:
    """A model with a script.

    Args:
        model: Its name.
        replies: A list, of which each request gets one, chosen by its hash; or a table of replies by a word that
            occurs in the prompt (the first that does); or, in Python, a function of the request. Empty: one sentence.
        identity: Declared identity; default `scripted:MODEL`.
        finish: How replies of a list or a table end.
        delay: Seconds that each call takes.
    Raises:
        ConfigError: `finish` is `error`, which only a function can give, or the delay is negative.
    """
    if finish == "error" or delay < 0:
        raise ConfigError(f"scripted model {model}: finish must not be 'error' and delay must be at least 0")
    return ScriptedModel(identity_of(model=model, identity=identity), replies, finish, delay)


def identity_of(*, model: str, identity: str) -> str:
    """The identity that `load` gives."""
    return identity or f"scripted:{model}"


class ScriptedModel:
    """See `load`.

    Attributes:
        identity: Declared identity.
        requests: The last `REMEMBERED` requests asked, in order: what a test looks at.
        calls: How many were asked in all.
        at_once: Most calls that were outstanding at one time.
        hosts: Hosts that see prompts and pictures: none.
    """

    hosts: tuple[str, ...] = ()

    def __init__(
        self, identity: str, replies: Sequence[str] | Mapping[str, str] | Script, finish: Finish, delay: float
    ) -> None:
        self.identity = identity
        self.requests: deque[Request] = deque(maxlen=REMEMBERED)
        self.calls = 0
        self.at_once = 0
        self._replies = replies
        self._finish: Finish = finish
        self._delay = delay
        self._outstanding = 0

    async def answer(self, request: Request) -> Generation:
        """Say what the script says; a `Generation` of a function, and what it raises, are passed on as they are."""
        self.requests.append(request)
        self.calls += 1
        self._outstanding += 1
        self.at_once = max(self.at_once, self._outstanding)
        try:
            if self._delay:
                await asyncio.sleep(self._delay)
            reply = self._reply(request)
        finally:
            self._outstanding -= 1
        if isinstance(reply, Generation):
            return reply
        asked = len(_prompt(request).split()) + len(request.system.split())
        return Generation(reply, self._finish, usage=Usage(input=asked, output=len(reply.split())))

    def _reply(self, request: Request) -> str | Generation:
        script = self._replies
        if callable(script):
            return script(request)
        prompt = _prompt(request)
        if isinstance(script, Mapping):
            return next((reply for word, reply in script.items() if word in prompt), "")
        if script:
            return script[int(call_key(self.identity, request)[:8], 16) % len(script)]
        return f"A scripted reply to: {prompt}"


def _prompt(request: Request) -> str:
    return "\n".join(part.text for part in request.parts if part.text is not None)
