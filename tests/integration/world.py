"""A small real run: drawn pictures, a pool of twelve and a judge behind a loopback endpoint, the installed command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

POOL = tuple(f"model-{number:02d}" for number in range(12))


def draw(folder: Path, count: int) -> None:
    """Pictures that differ, with an instruction on each, as JSON lines."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    rows: list[str] = []
    for number in range(count):
        picture = Image.new("RGB", (40, 30), (number * 7 % 256, 200, 90))
        ImageDraw.Draw(picture).text((2, 2), str(number), fill=(0, 0, 0))
        picture.save(pictures / f"{number}.png")
        rows.append(json.dumps({"id": str(number), "prompt": f"What is number {number}?", "image": f"{number}.png"}))
    (folder / "instructions.jsonl").write_text("\n".join(rows), encoding="utf-8")


def settings(
    folder: Path,
    url: str,
    *,
    temperature: float = 1.0,
    more: str = "",
    in_flight: int = 6,
    each: str = "attempts = 2",
    elsewhere: dict[str, str] | None = None,
) -> Path:
    """A run.toml in the folder; `each` are options of every model, `elsewhere` other addresses by model."""
    where = dict.fromkeys(POOL, url) | (elsewhere or {})
    pool = "".join(
        f'[[pool]]\nuse = "openai"\nmodel = "{name}"\nbase_url = "{where[name]}"\n{each}\n\n' for name in POOL
    )
    path = folder / "run.toml"
    path.write_text(
        f"""{more}
[images]
own = "pictures"

[[source]]
use = "jsonl"
path = "instructions.jsonl"
images = "own"

{pool}
[decode]
k = 4
temperature = {temperature}
max_tokens = 64
in_flight = {in_flight}

[[judge]]
use = "openai"
model = "judge"
base_url = "{url}"
{each}

[annotate]
in_flight = {in_flight}
""",
        encoding="utf-8",
    )
    return path


def start(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "vlfeedback", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def call(*arguments: str | Path, code: int = 0, **environment: str) -> str:
    """Run a command to its end; its stdout, or its stderr where it has to fail."""
    process = start(*arguments, **environment)
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, f"exit {process.returncode}, not {code}\n{out}\n{err}"
    return out if code == 0 else err


def collect(target: Path, *arguments: str | Path, **environment: str) -> dict[str, Any]:
    """`vlfeedback run … --to pair --json`."""
    return json.loads(call("run", target, "--to", "pair", "--json", *arguments, **environment))


def attempt(target: Path, *arguments: str | Path) -> dict[str, Any]:
    """The same where calls may stay without an answer: then, and only then, the exit code is 1."""
    process = start("run", target, "--to", "pair", "--json", *arguments)
    out, err = process.communicate(timeout=240)
    assert process.returncode in (0, 1), f"exit {process.returncode}\n{out}\n{err}"
    done = json.loads(out)
    assert process.returncode == (1 if done["unanswered"] else 0)
    return {**done, "last_line": err.strip().splitlines()[-1] if err.strip() else ""}


def digest(run: Path) -> dict[str, str]:
    """`vlfeedback digest --json`."""
    return json.loads(call("digest", run, "--json"))
