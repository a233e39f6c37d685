"""One limit of time holds for all of a call: the body that nobody reads, the reply that drips, both ways to send."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from servers import serve

from vlfeedback.errors import ConfigError
from vlfeedback.images import Roots
from vlfeedback.models import openai as backend
from vlfeedback.records import Part, Request, Sampling

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n"


@contextlib.contextmanager
def dripping(drips: bool) -> Generator[str]:
    """An endpoint that takes connections and reads nothing; it may send a letter every twentieth of a second."""
    taken: list[socket.socket] = []
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip(one: socket.socket) -> None:
            with contextlib.suppress(OSError):
                one.sendall(HEAD)
                while not over.wait(0.05):
                    one.sendall(b" ")

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(listening.accept()[0])
                    if drips:
                        threading.Thread(target=drip, args=(taken[-1],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        finally:
            over.set()
            for one in taken:
                one.close()


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("drips", [True, False])
def test_an_endpoint_that_reads_nothing_or_drips_ends_in_a_time_out(tmp_path: Path, roots: Roots, drips: bool) -> None:
    place = tmp_path / "pics" / "large.png"
    place.write_bytes((tmp_path / "pics" / "0.png").read_bytes() + os.urandom(8 << 20))
    picture = roots.find("pics", "large.png")
    request = Request("", (Part(image=picture), Part(text="What is this?")), Sampling())

    async def run() -> None:
        reply = await asyncio.wait_for(model.answer(request), 20.0)
        assert (reply.error, reply.unsure) == ("timeout", 1)
        assert "no reply within 0.4 s" in reply.detail
        await model.aclose()

    with dripping(drips) as url:
        model = backend.load(model="m", roots=roots, base_url=url, timeout=0.4, attempts=1)
        asyncio.run(run())


@pytest.mark.usefixtures("either_way")
def test_no_limit_is_a_limit_too_and_no_number_is_none(
    tmp_path: Path, roots: Roots, ask: Callable[..., Request]
) -> None:
    async def run() -> None:
        assert (await model.answer(ask())).finish == "stop"
        await model.aclose()

    with serve(tmp_path / "log") as server:
        model = backend.load(model="m", roots=roots, base_url=server.url, timeout=math.inf)
        asyncio.run(run())
        with pytest.raises(ConfigError, match="timeout"):
            backend.load(model="m", roots=roots, base_url=server.url, timeout=math.nan)
