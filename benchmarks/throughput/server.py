"""A loopback endpoint that costs little: reads a chat request, waits, replies with a judge's words, and counts.

    python benchmarks/throughput/server.py --latency 0.5 --reply 800

Prints its port. `GET /count` gives the most calls at once and the times of all completions. Lists the model `m`, for
clients that look first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

RATING = "Rating: 4\nRationale: "


def reply_of(letters: int) -> bytes:
    """A whole judgement of four texts with about that many letters, in the grammar that the rubric asks for."""
    aspects = ("Helpfulness", "Ethical Considerations", "Visual Faithfulness")
    filler = "it says what can be seen, and little else. "
    blocks: list[str] = []
    for aspect in aspects:
        blocks.append(f"#### {aspect} Assessment")
        blocks += [f"##### Output for Text {text}\n{RATING}" for text in range(1, 5)]
    room = max(0, letters - len("\n".join(blocks))) // 12
    text = "\n".join(block + filler[: max(1, room)] if block.endswith(RATING) else block for block in blocks)
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}, "logprobs": None}
    usage = {"prompt_tokens": 1475, "completion_tokens": 200, "total_tokens": 1675}
    body = {"id": "chatcmpl-0", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return json.dumps({**body, "usage": usage}).encode()


class Counts:
    """What was served."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.now = self.most = 0
        self.times: list[float] = []


class Connection(asyncio.Protocol):
    """One connection; bodies are counted and dropped as they come."""

    def __init__(self, counts: Counts, latency: float, reply: bytes) -> None:
        self.counts, self.latency = counts, latency
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.reply = head % len(reply) + reply
        self.head = bytearray()
        self.left = 0
        self.get = ""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.left:
            self.left -= len(data)
        else:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            lines = bytes(self.head[:end]).decode("latin-1").split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            self.get = lines[0].split(" ")[1] if lines[0].startswith("GET") else ""
            self.left = int(fields.get("content-length", 0)) - (len(self.head) - end - 4)
            self.head.clear()
            if fields.get("expect", "").lower() == "100-continue":
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.left <= 0:
            self.left = 0
            if self.get:
                self.tell()
                return
            self.counts.now += 1
            self.counts.most = max(self.counts.most, self.counts.now)
            asyncio.get_running_loop().call_later(self.latency, self.answer)

    def answer(self) -> None:
        self.counts.now -= 1
        self.counts.times.append(time.time())
        self.transport.write(self.reply)

    def tell(self) -> None:
        if self.get.endswith("/models"):
            body = json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode()
        else:
            body = json.dumps({"most": self.counts.most, "times": self.counts.times}).encode()
            if self.get.endswith("/count?clear"):
                self.counts.clear()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % len(body) + body)


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.5)
    parser.add_argument("--reply", type=int, default=800)
    options = parser.parse_args()
    counts, reply = Counts(), reply_of(options.reply)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(counts, options.latency, reply), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
