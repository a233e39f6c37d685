"""Pictures of a given size with a question and four answers each, and what a run of a client prints."""

from __future__ import annotations

import io
import json
import os
import resource
import time
from pathlib import Path
from typing import Any


def jpeg_of(size: int) -> bytes:
    """A JPEG of about that many bytes: noise, which does not compress."""
    from PIL import Image

    side = 64
    while True:
        noise = Image.frombytes("RGB", (side, side), os.urandom(side * side * 3))
        buffer = io.BytesIO()
        noise.save(buffer, "JPEG", quality=90)
        if buffer.tell() >= size:
            return buffer.getvalue()
        side = max(side + 8, int(side * min(2.0, (size / buffer.tell()) ** 0.5)))


def draw(folder: Path, pictures: int, size: int) -> None:
    """Pictures `0.jpg` … that differ by a comment, so that each has a hash of its own; kept from an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / f"{pictures}x{size}"
    if done.exists():
        return
    one = jpeg_of(size)
    for number in range(pictures):
        comment = str(number).encode()
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (folder / f"{number}.jpg").write_bytes(one[:2] + segment + one[2:])
    done.touch()


def texts(number: int) -> tuple[str, list[str]]:
    """A prompt and four answers."""
    prompt = f"What can be seen in picture {number}, and what follows from it?"
    answers = [
        f"Answer {place} to {number}: " + "the table stands by the window and holds a cup. " * 6 for place in range(4)
    ]
    return prompt, answers


class Meter:
    """Wall clock and processor time from its making, and memory at its most."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.time(), time.process_time()

    def say(self, calls: int, **more: Any) -> None:
        """One JSON object as the last line of stdout."""
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({
            "calls": calls, "began": self.wall, "seconds": time.time() - self.wall,
            "cpu": time.process_time() - self.cpu, "peak": most, **more,
        }))  # fmt: skip
