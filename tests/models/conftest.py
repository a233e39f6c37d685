"""Pictures on disk and questions about them, for the tests of models."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

from vlfeedback.images import Roots
from vlfeedback.models import _wire
from vlfeedback.models._endpoint import Endpoint
from vlfeedback.records import Image, Part, Request, Sampling


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    """A root `pics` with eight small pictures `0.png` … `7.png` of different colours."""
    folder = tmp_path / "pics"
    folder.mkdir()
    for number in range(8):
        picture = PIL.Image.new("RGB", (32, 32), (number * 30, 255 - number * 30, 90))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        (folder / f"{number}.png").write_bytes(buffer.getvalue())
    return Roots({"pics": folder})


@pytest.fixture
def pictures(roots: Roots) -> list[Image]:
    return [roots.find("pics", f"{number}.png") for number in range(8)]


@pytest.fixture
def ask(pictures: list[Image]) -> Callable[..., Request]:
    """Make a request: `ask("What is it?", 3, temperature=0.7)` asks about picture 3; None for no picture."""

    def make(
        prompt: str = "What is this?", picture: int | None = 0, *, system: str = "", **sampling: object
    ) -> Request:
        parts = (Part(text=prompt),)
        if picture is not None:
            parts = (Part(image=pictures[picture]), *parts)
        fields = {"schema", "top_logprobs", "recipe"}
        rest = {name: sampling.pop(name) for name in fields & sampling.keys()}
        return Request(system, parts, Sampling(**sampling), **rest)

    return make


@pytest.fixture(params=["aiohttp", "SDK"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs once with each way to an endpoint."""
    if request.param == "SDK":
        monkeypatch.setattr(Endpoint, "opens", staticmethod(_wire._SdkWire))  # pyright: ignore[reportPrivateUsage]
