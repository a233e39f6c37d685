"""A run of any size against loopback endpoints in processes of their own, for the benchmarks of collecting."""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve()
SERVER = HERE.parents[2] / "tests" / "servers.py"


class Timed(NamedTuple):
    """One command: seconds, seconds of processor, most resident bytes."""

    seconds: float
    cpu: float
    peak: int


@contextlib.contextmanager
def endpoint(folder: Path, name: str, delay: float) -> Iterator[str]:
    """A server that answers after `delay` seconds, as many calls at a time as come; gives its address."""
    address = folder / f"{name}.address"
    address.unlink(missing_ok=True)
    command = [sys.executable, str(SERVER), "--log", str(folder / f"{name}.jsonl"), "--address", str(address)]
    process = subprocess.Popen([*command, "--delay", str(delay)])
    try:
        while not address.exists():
            if process.poll() is not None:
                raise RuntimeError(f"the endpoint {name} did not start")
            time.sleep(0.02)
        yield address.read_text(encoding="utf-8")
    finally:
        process.terminate()
        process.wait()


def draw(folder: Path, count: int, bytes_each: int) -> None:
    """Different JPEGs of about that size, with an instruction on each."""
    from PIL import Image

    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    side = max(16, round((bytes_each / 1.2) ** 0.5))  # noise at quality 90 has about 1.2 bytes a pixel
    buffer = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(buffer, "JPEG", quality=90)
    picture = buffer.getvalue()
    with (folder / "instructions.jsonl").open("w", encoding="utf-8") as rows:
        for number in range(count):
            path = pictures / f"{number}.jpg"
            if not path.exists():
                comment = b"picture %012d" % number  # another comment makes another file of the same pixels
                path.write_bytes(
                    picture[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + picture[2:]
                )
            rows.write(
                json.dumps({"id": str(number), "prompt": f"What is in picture {number}?", "image": path.name}) + "\n"
            )


def settings(folder: Path, pool: str, judge: str, *, in_flight: int, bytes_in_flight: int, more: str = "") -> Path:
    """A run.toml with a pool of four behind one endpoint and a judge behind another."""
    models = "".join(
        f'[[pool]]\nuse = "openai"\nmodel = "model-{n}"\nbase_url = "{pool}"\nin_flight = {in_flight}\n\n'
        for n in range(4)
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

{models}
[decode]
in_flight = {in_flight}
bytes_in_flight = {bytes_in_flight}

[[judge]]
use = "openai"
model = "judge"
base_url = "{judge}"
in_flight = {in_flight}

[annotate]
in_flight = {in_flight}
bytes_in_flight = {bytes_in_flight}
""",
        encoding="utf-8",
    )
    return path


def timed(*arguments: str | Path) -> Timed:
    """Run the command line in a process of its own, as a user would."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "vlfeedback", *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{arguments}: {errors.read().decode(errors='replace')[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Timed(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def keep(path: Path, found: dict[str, Any], says: str = "") -> int:
    """Write raw results with the command and the machine, and print them.

    Args:
        path: The JSON file.
        found: What was measured; a member `pass` says whether a limit was kept.
        says: The last line; a list of what passed and missed if empty.
    Returns:
        The exit code: 1 where a limit was missed.
    """
    found = {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "machine": {
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "system": platform.system(),
            "python": platform.python_version(),
        },
        **found,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))
    kept = {name: part["pass"] for name, part in {"all": found, **found}.items()
            if isinstance(part, dict) and "pass" in part}  # fmt: skip
    print(says or "; ".join(f"{name}: {'pass' if one else 'miss'}" for name, one in kept.items()))
    return 0 if all(kept.values()) else 1
