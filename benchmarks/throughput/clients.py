"""One HTTP client and nothing else: a fixed number of loops, bodies made beforehand.

python benchmarks/throughput/clients.py NAME PORT PICTURES CALLS IN_FLIGHT
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from world import Meter, texts

KEPT = 64
"""Bodies in memory; a client that is given text gets as many."""


def _message(folder: Path, number: int) -> dict[str, Any]:
    paths = sorted(folder.glob("*.jpg"))
    prompt, answers = texts(number)
    url = "data:image/jpeg;base64," + base64.b64encode(paths[number % len(paths)].read_bytes()).decode()
    system = "Rate each text from 1 to 5 and say why. " * 125  # as long as the rubric
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": prompt + "\n".join(answers)}]
    messages = [{"role": "system", "content": system}, {"role": "user", "content": content}]
    return {"model": "m", "messages": messages, "temperature": 0.0, "max_tokens": 2048}


async def _aiohttp(port: str, in_flight: int, ready: bool) -> Callable[[Any], Awaitable[None]]:
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight), timeout=aiohttp.ClientTimeout(300))
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    headers = {"Content-Type": "application/json"}

    async def send(body: Any) -> None:
        given = {"data": body, "headers": headers} if ready else {"json": body}
        async with session.post(url, **given) as reply:
            json.loads(await reply.read())

    return send


async def _openai(port: str, in_flight: int, ready: bool, aio: bool) -> Callable[[Any], Awaitable[None]]:
    import httpx2
    import openai
    from openai.types.chat import ChatCompletion

    limits = httpx2.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    make = openai.DefaultAioHttpClient if aio else openai.DefaultAsyncHttpxClient
    http = make(limits=limits, timeout=300)
    client = openai.AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{port}/v1", http_client=http, timeout=300)
    options: Any = {"headers": {"Content-Type": "application/json"}}

    async def send(body: Any) -> None:
        if ready:
            await client.post("/chat/completions", cast_to=ChatCompletion, content=body, options=options)
        else:
            await client.chat.completions.create(**body)

    return send


NAMES = {
    "aiohttp, ready body": True,
    "aiohttp, json=": False,
    "openai SDK on aiohttp, ready body": True,
    "openai SDK on aiohttp, create()": False,
    "openai SDK on httpx2, ready body": True,
    "openai SDK on httpx2, create()": False,
}
"""Client, and whether it is given bytes."""


async def main() -> None:
    """Send that many calls and print what it took."""
    import warnings

    warnings.simplefilter("ignore")  # aiohttp warns of bodies over 1 MB
    name, port, folder, calls, in_flight = sys.argv[1], sys.argv[2], Path(sys.argv[3]), *map(int, sys.argv[4:6])
    ready = NAMES[name]
    messages = [_message(folder, number) for number in range(min(KEPT, calls))]
    bodies: list[Any] = [json.dumps(one).encode() for one in messages] if ready else messages
    del messages
    if name.startswith("aiohttp"):
        send = await _aiohttp(port, in_flight, ready)
    else:
        send = await _openai(port, in_flight, ready, "aiohttp" in name)
    numbers = iter(range(calls))

    async def loop() -> None:
        for number in numbers:
            await send(bodies[number % len(bodies)])

    meter = Meter()
    await asyncio.gather(*(loop() for _ in range(in_flight)))
    meter.say(calls)


if __name__ == "__main__":
    asyncio.run(main())
