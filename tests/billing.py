"""What a provider charges for: tokens by rules of its own, written down beside every request that it served.

The rules are written here a second time, from the providers' descriptions and without the package's code, so that a
plan and a budget can be held against a bill that they did not make themselves.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

UNBILLED = frozenset(
    {"400", "401", "403", "404", "408", "422", "429", "500", "503", "307", "quota", "echo_key", "filter_400"}
)
"""Faults of the test server before any work was done; all others come after it, and are charged."""


def tile_tokens(width: int, height: int) -> int:
    """Fit into 2048 × 2048, shorter side to 768, 170 tokens per 512-pixel tile and 85 for the picture."""
    if max(width, height) > 2048:
        width, height = (side * 2048 / max(width, height) for side in (width, height))
    if min(width, height) > 768:
        width, height = (side * 768 / min(width, height) for side in (width, height))
    return 85 + 170 * math.ceil(width / 512 - 1e-9) * math.ceil(height / 512 - 1e-9)


def text_tokens(text: str) -> int:
    """About four bytes a token."""
    return math.ceil(len(text.encode()) / 4)


def draw(body: dict[str, Any], what: str) -> float:
    """A number in (0, 1) that depends on nothing but the question."""
    text = json.dumps([body["model"], body["messages"], what], sort_keys=True)
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") + 0.5) / 2**48


def heavy(body: dict[str, Any], median: float, spread: float) -> int:
    """A log-normal length, cut off where the request says."""
    first, second = draw(body, "one"), draw(body, "two")
    normal = math.sqrt(-2 * math.log(first)) * math.cos(2 * math.pi * second)
    most = int(body.get("max_tokens") or body.get("max_completion_tokens") or 10**9)
    return max(1, min(most, round(median * math.exp(spread * normal))))


@dataclass
class Biller:
    """Usage of a request; see `servers.Server.usage`.

    Attributes:
        median: Of the output of each model; `""` for the others.
        spread: Standard deviation of the logarithm of output lengths; 1 is a heavy tail.
    """

    median: dict[str, float]
    spread: float = 1.0

    def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        pictures = text = 0
        for message in body["messages"]:
            content = message["content"]
            for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
                if part["type"] == "text":
                    text += text_tokens(part["text"])
                else:
                    data = base64.b64decode(part["image_url"]["url"].partition("base64,")[2])
                    pictures += tile_tokens(*Image.open(io.BytesIO(data)).size)
            text += 4
        output = heavy(body, self.median.get(body["model"], self.median.get("", 20.0)), self.spread)
        return {
            "prompt_tokens": 3 + text + pictures,
            "completion_tokens": output,
            "prompt_tokens_details": {"cached_tokens": 0, "image_tokens": pictures},
        }


def bill(log: Path, rates: dict[str, tuple[float, float]]) -> float:
    """What the server would charge for all that its log holds.

    Args:
        rates: Input and output price per million tokens by model.
    """
    total = 0.0
    for line in map(json.loads, log.read_text().splitlines()):
        if line["fault"] not in UNBILLED and line["model"] in rates:
            given, made = rates[line["model"]]
            usage = line["usage"]
            total += (usage["prompt_tokens"] * given + usage["completion_tokens"] * made) / 1e6
    return total
