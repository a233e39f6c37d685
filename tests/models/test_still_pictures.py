"""A picture whose file becomes another one while it is sent: the endpoint gets no whole question, and none is kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import serve

from vlfeedback import images
from vlfeedback.images import Roots
from vlfeedback.models import openai as backend
from vlfeedback.models._base64 import AT_ONCE
from vlfeedback.records import Image, Part, Request, Sampling

Ask = Callable[..., Request]


@pytest.mark.usefixtures("either_way")
def test_half_a_picture_is_never_a_question(
    tmp_path: Path, roots: Roots, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "pics" / "large.png"
    place.write_bytes((tmp_path / "pics" / "0.png").read_bytes() + os.urandom(2 * AT_ONCE))
    picture = roots.find("pics", "large.png")
    request = Request("", (Part(image=picture), Part(text="What is this?")), Sampling())
    read = images.Still.read

    def and_then_touched(self: images.Still, start: int, size: int) -> memoryview:
        if start:
            os.utime(place, ns=(1, 1))
        return read(self, start, size)

    with serve(tmp_path / "log") as server:
        model = backend.load(model="m", roots=roots, base_url=server.url, timeout=20.0)

        async def run() -> None:
            with monkeypatch.context() as patch:
                patch.setattr(images.Still, "read", and_then_touched)
                reply = await model.answer(request)
            assert (reply.error, reply.answered, reply.unsure) == ("connection", False, 0)
            assert "cannot be read" in reply.detail and "large.png" in reply.detail
            assert server.served() == []
            again = await model.answer(request)  # it is hashed once more, and is what it was
            assert again.finish == "stop"
            assert model.traffic.sent == 1
            await model.aclose()

        asyncio.run(run())
    assert isinstance(picture, Image) and len(server.served()) == 1
