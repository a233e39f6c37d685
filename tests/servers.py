"""A loopback endpoint that speaks chat completions, fails on demand, and logs on disk what it served.

In a test:

    with serve(tmp_path / "served.jsonl", faults=["429", "reset"]) as server:
        model = load(model="m", base_url=server.url, roots=roots)
    assert len(server.served()) == 3

From a shell, for tests that kill a client in another process:

    python tests/servers.py --log served.jsonl --address address.txt [--delay 0.05] [--every 7=500 --every 11=reset]

Replies are a pure function of the request's body, so that two runs can be compared. A line of the log is written before
the reply goes out: what stands there would have been charged. `body` is a hash, so that questions served twice show up.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

Body = dict[str, Any]
ASPECTS = ("Helpfulness", "Ethical Considerations", "Visual Faithfulness")
FAULTS = (
    "202", "400", "401", "403", "404", "408", "422", "424", "429", "498", "500", "503", "307", "quota", "echo_key",
    "filter_400", "reset", "truncated", "cut_json", "no_choices", "refusal", "content_filter", "length", "nonsense",
    "error_in_200", "429_in_200", "slow", "429_hours", "429_date", "429_absurd", "503_rest", "empty", "error_in_choice",
    "abort", "hang_up", "twice",
)  # fmt: skip
DISTURBED = frozenset(
    {"no_choices", "refusal", "content_filter", "length", "error_in_200", "429_in_200", "error_in_choice", "abort"}
)
UNSURE = frozenset(
    {"202", "reset", "truncated", "cut_json", "no_choices", "nonsense", "error_in_200", "slow", "empty",
     "error_in_choice", "abort", "hang_up"}
)  # fmt: skip
"""Faults after which a client cannot know whether it was charged."""


def texts_of(body: Body) -> str:
    """All text of the user message, in order."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)


def number_of(body: Body, most: int) -> int:
    """A number in [0, most) that depends on nothing but the body."""
    text = json.dumps(body, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % most


def say(body: Body) -> str:
    """The default reply: a judge's for a judge's prompt, a short sentence otherwise."""
    system = body["messages"][0]["content"] if body["messages"][0]["role"] == "system" else ""
    prompt = f"{system}\n{texts_of(body)}"
    if "Assessment" not in prompt:
        return f"I see {number_of(body, 997)} things, says {body['model']}."
    numbers = [int(found) for found in re.findall(r"(?i)\btext[ _]?(\d)\b", texts_of(body))]
    blocks: list[str] = []
    for place, aspect in enumerate(ASPECTS):
        blocks.append(f"#### {aspect} Assessment")
        for text in range(1, max(numbers, default=4) + 1):
            rating = 1 + (number_of(body, 10**9) // 7 ** (4 * place + text)) % 5
            blocks += [
                f"##### Output for Text {text}",
                f"Rating: {rating}",
                f"Rationale: Text {text} is a {rating}.",
                "",
            ]
    return "\n".join(blocks)


@dataclass
class Server:
    """A running endpoint; see `serve`."""

    log: Path
    reply: Callable[[Body], str] = say
    faults: list[str | None] = field(default_factory=list)
    every: dict[int, str] = field(default_factory=dict)
    share: float = 0.0
    mix: tuple[str, ...] = ()
    most: int = 0
    most_samples: int = 8
    refuses_n: bool = False
    delay: float = 0.0
    slow: float = 5.0
    refuse: str = ""
    retry_after: str | None = "0.2"
    key: str | None = None
    models: tuple[str, ...] | None = None
    listing: str = ""
    port: int = 0
    bodies: list[Body] = field(default_factory=list)
    keep_bodies: bool = True
    usage: Callable[[Body], Body] | None = None
    alter: Callable[[Body], Body | str] | None = None
    refusal: Body | None = None
    most_at_once: int = 0
    _count: int = 0
    _at_once: int = 0
    _seen: Counter[str] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def served(self) -> list[Body]:
        """Lines of the log: number, body hash, model, fault (None for a good reply)."""
        if not self.log.exists():
            return []
        whole, _, _ = self.log.read_text().rpartition("\n")  # the last line may be half written
        return [json.loads(line) for line in whole.splitlines()]

    def good(self) -> Counter[str]:
        """How often each body was served a good reply."""
        return Counter(line["body"] for line in self.served() if line["fault"] is None)

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve requests on one connection until it closes."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
                }
                data = await reader.readexactly(int(headers.get("content-length", 0)))
                path = lines[0].split(" ")[1]
                if not path.endswith("/chat/completions"):
                    _send(writer, 200 if self.models or self.listing else 404, self.listing or self._listing())
                    continue
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
                try:
                    await self._answer(headers, data, writer)
                finally:
                    self._at_once -= 1
        writer.close()

    def _by_chance(self, digest: str) -> str | None:
        """A fault of the mix for a share of all requests: by body and how often it came, so that order is no matter."""
        if not self.mix:
            return None
        self._seen[digest] += 1
        draw = int(hashlib.sha256(f"{digest} {self._seen[digest]}".encode()).hexdigest()[:12], 16) / 16**12
        return self.mix[int(draw / self.share * len(self.mix))] if draw < self.share else None

    def _listing(self) -> Body:
        return {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models or ()]}

    async def _answer(self, headers: dict[str, str], data: bytes, writer: asyncio.StreamWriter) -> None:
        body = json.loads(data)
        number = self._count
        self._count += 1
        digest = hashlib.sha256(data).hexdigest()[:32]
        due = [name for step, name in self.every.items() if (number + 1) % step == 0]
        fault = self.faults.pop(0) if self.faults else next(iter(due), None) or self._by_chance(digest)
        if self.most and self._at_once > self.most:
            fault = "429"
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            fault = "401"
        if self.refuse and self.refuse in texts_of(body):
            fault = "403"
        if self.keep_bodies:
            self.bodies.append(body)
        if self.delay and not (self.most and fault == "429"):
            await asyncio.sleep(self.delay)
        line = {"n": number, "time": time.time(), "body": digest, "model": body["model"]}
        billed = {} if self.usage is None else {"usage": self.usage(body)}
        with self.log.open("a") as file:
            file.write(json.dumps({**line, **billed, "fault": fault}) + "\n")
        await self._reply(fault, body, headers, writer)
        await writer.drain()

    async def _reply(
        self, fault: str | None, body: Body, headers: dict[str, str], writer: asyncio.StreamWriter
    ) -> None:
        good = self._completion(body)
        if fault == "slow":
            await asyncio.sleep(self.slow)
        if fault == "twice":
            asyncio.get_running_loop().call_later(0.05, _send, writer, 200, good)
        if fault in (None, "slow", "twice"):
            _send(writer, 200, good if self.alter is None else self.alter(good))
        elif fault == "reset":
            writer.transport.abort()
        elif fault == "hang_up":
            writer.close()
        elif fault == "empty":
            _send(writer, 200, "")
        elif fault == "truncated":
            text = json.dumps(good).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n" % len(text) + text[: len(text) // 2])
            await writer.drain()
            writer.close()
        elif fault == "cut_json":
            _send(writer, 200, json.dumps(good)[:-20])
        elif fault == "nonsense":
            _send(writer, 200, "<html><body>Bad gateway, probably</body></html>")
        elif fault in DISTURBED:
            _send(writer, 200, _disturbed(good, fault))
        else:
            self._refuse(fault, headers, writer)

    def _refuse(self, fault: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        words, code, status = f"made to fail with {fault}", "fault", fault
        extra: dict[str, str] = {}
        if fault == "429" and self.retry_after is not None:
            extra["Retry-After"] = self.retry_after
        elif fault.startswith("429_"):
            status = "429"
            soon = formatdate(time.time() - 86_400 + 1, usegmt=True)
            extra = {
                "429_hours": {"Retry-After": "7200"},
                "429_date": {"Retry-After": soon, "Date": formatdate(time.time() - 86_400, usegmt=True)},
                "429_absurd": {"Retry-After": "-1e400"},
            }[fault]
        elif fault == "503_rest":
            status, extra["Retry-After"] = "503", self.retry_after or "1"
        elif fault == "307":
            extra["Location"] = (
                f"http://elsewhere.example/v1/chat/completions?key={headers.get('authorization', '')[7:]}"
            )
        elif fault == "quota":
            status, code = "429", "insufficient_quota"
        elif fault == "filter_400":
            status, code = "400", "content_filter"
        elif fault == "echo_key":
            status, words = "401", f"Incorrect API key provided: {headers.get('authorization', '')}"
        error = self.refusal or {"error": {"message": words, "type": "test", "code": code}}
        _send(writer, int(status), error, extra)

    def _completion(self, body: Body) -> Body:
        text = self.reply(body)
        pictures = json.dumps(body["messages"]).count('"image_url": {')
        usage: Body = {
            "prompt_tokens": 11 + 85 * pictures,
            "completion_tokens": len(text.split()),
            "prompt_tokens_details": {"cached_tokens": 3, "image_tokens": 85 * pictures},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }
        if self.usage is not None:
            usage = self.usage(body)
        if self.refuses_n and body.get("n", 1) > 1:
            return {"error": {"message": "n must be 1", "code": 400}}
        choice: Body = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        if body.get("logprobs"):
            top = [{"token": str(score), "logprob": -float(score)} for score in range(1, body["top_logprobs"] + 1)]
            choice["logprobs"] = {"content": [{"token": "1", "logprob": -1.0, "top_logprobs": top}]}
        name = f"chatcmpl-{number_of(body, 10**12)}"
        choices = [choice]
        for number in range(1, min(body.get("n", 1), self.most_samples)):
            message = {"role": "assistant", "content": f"{text} ({number})"}
            choices.append({"index": number, "finish_reason": "stop", "message": message})
            usage["completion_tokens"] += len(message["content"].split())
        return {"id": name, "object": "chat.completion", "model": body["model"], "choices": choices, "usage": usage}


def _disturbed(good: Body, fault: str) -> Body:
    if fault == "no_choices":
        return {**good, "choices": []}
    if fault in ("error_in_200", "429_in_200"):
        return {"error": {"message": "upstream failed", "code": 429 if fault == "429_in_200" else 502}}
    choice = good["choices"][0]
    if fault == "error_in_choice":
        return {**good, "choices": [{**choice, "error": {"code": 502, "message": "upstream failed"}}]}
    if fault == "refusal":
        message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
        return {**good, "choices": [{**choice, "message": message}]}
    return {**good, "choices": [{**choice, "finish_reason": fault}]}


def _send(writer: asyncio.StreamWriter, status: int, body: Body | str, headers: dict[str, str] | None = None) -> None:
    text = (body if isinstance(body, str) else json.dumps(body)).encode()
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(text)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + text)


@contextlib.contextmanager
def serve(log: Path, *, faults: Sequence[str | None] = (), **options: Any) -> Iterator[Server]:
    """Run an endpoint in a thread of this process.

    Args:
        log: JSON lines of what was served.
        faults: Names out of `FAULTS` (or None) for the first requests, in order of arrival; the rest go well.
        options: Fields of `Server`: reply, every (`{7: "500"}` fails each seventh), delay, key, models, …
    """
    unknown = {
        fault for fault in (*faults, *options.get("every", {}).values(), *options.get("mix", ())) if fault
    } - set(FAULTS)
    if unknown:
        raise ValueError(f"no such fault: {unknown}")
    server = Server(log, faults=list(faults), **options)
    loop = asyncio.new_event_loop()
    started = threading.Event()

    def run() -> None:
        async def main() -> None:
            listening = await asyncio.start_server(server.serve_connection, "127.0.0.1", server.port, limit=2**26)
            server.port = listening.sockets[0].getsockname()[1]
            started.set()
            with contextlib.suppress(asyncio.CancelledError):
                await listening.serve_forever()

        with contextlib.suppress(RuntimeError):
            loop.run_until_complete(main())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    if not started.wait(10):
        raise RuntimeError("the test server did not start")
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join(10)
        loop.close()


def main() -> None:
    """Serve until killed; the address is written once the port is open."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--address", type=Path, required=True, help="file that gets the base URL")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--every", action="append", default=[], metavar="N=FAULT")
    parser.add_argument("--share", type=float, default=0.0)
    parser.add_argument("--mix", action="append", default=[], metavar="FAULT")
    options = parser.parse_args()
    every = {int(step): fault for step, _, fault in (item.partition("=") for item in options.every)}
    chance = {"share": options.share, "mix": tuple(options.mix)}
    with serve(options.log, delay=options.delay, every=every, keep_bodies=False, **chance) as server:
        part = options.address.with_suffix(".part")
        part.write_text(server.url)
        part.rename(options.address)
        threading.Event().wait()


if __name__ == "__main__":
    main()
