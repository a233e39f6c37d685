"""What a call costs on the head when a worker carries it, beside the same call made by one process.

    python benchmarks/ray_overhead.py [--calls 2000] [--in-flight 64] [--workers 2] [--bytes 200000]

Needs Ray (`pip install 'vlfeedback[scale]'`). An endpoint of this machine answers at once; every call has a picture of
its own and goes through a ledger of its own, as in a run. Measured are, for `local` and `ray`: calls a second, and
processor milliseconds of this process per call. The second is what bounds a cluster: the head serves at most
1000 / milliseconds calls a second, however many workers there are (see docs/scale.md). On a machine whose endpoint and
workers share the head's cores the calls a second say little; the processor time does.

Writes `benchmarks/results/ray_overhead.json`.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from collecting import world
from PIL import Image

from vlfeedback import flow
from vlfeedback.config import PoolTable, Settings
from vlfeedback.ledger import Ledger
from vlfeedback.models import openai
from vlfeedback.models._ledgered import LedgerBook, Ledgered
from vlfeedback.records import Part, Request, Sampling
from vlfeedback.run_folder import RunFolder

SERVER = Path(__file__).parent.parent / "tests" / "servers.py"
RESULT = Path(__file__).parent / "results" / "ray_overhead.json"


def questions(run: RunFolder, calls: int, size: int) -> list[Request]:
    """One question on each picture; noise, so that a file has about the size that is wanted."""
    folder = Path(run.settings.images["own"])
    folder.mkdir()
    side = max(8, round((size / 3) ** 0.5))
    draw = random.Random(0)
    asked: list[Request] = []
    for number in range(calls):
        picture = io.BytesIO()
        Image.frombytes("RGB", (side, side), draw.randbytes(3 * side * side)).save(picture, "PNG")
        (folder / f"{number}.png").write_bytes(picture.getvalue())
        parts = (Part(image=run.roots.find("own", f"{number}.png")), Part(text="What is there?"))
        asked.append(Request("", parts, Sampling(max_tokens=64), purpose="decode"))
    return asked


def measure(model: Any, asked: list[Request], ledger: Path, in_flight: int) -> dict[str, float]:
    """Ask everything once, through a ledger."""
    with Ledger.open(ledger) as opened:
        kept = Ledgered(model, LedgerBook(opened), price=lambda _: 0.0, reserve=lambda _: 0.0)
        began, busy = time.perf_counter(), time.process_time()
        answered = sum(one.finish == "stop" for one in flow.each(asked, kept.answer, in_flight=in_flight))
        took, busy = time.perf_counter() - began, time.process_time() - busy
    assert answered == len(asked), f"{len(asked) - answered} calls failed"
    return {"calls_per_second": len(asked) / took, "head_ms_per_call": 1000 * busy / len(asked)}


def main() -> None:
    """Measure both ways and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bytes", type=int, default=200_000, help="of a picture's file")
    asked = parser.parse_args()
    import ray

    from vlfeedback.scale import _cluster as cluster

    with tempfile.TemporaryDirectory(prefix="ray-overhead-") as name:
        folder = Path(name)
        run = RunFolder(folder, Settings(images={"own": str(folder / "pictures")}))
        wanted = questions(run, asked.calls, asked.bytes)
        # The endpoint is a process of its own: its processor time is not the head's.
        log, place = folder / "served.jsonl", folder / "address.txt"
        server = subprocess.Popen([sys.executable, str(SERVER), "--log", str(log), "--address", str(place)])
        try:
            while not place.exists() or not place.read_text().strip():
                time.sleep(0.05)
            url = place.read_text().strip()
            table = PoolTable.model_validate({"use": "openai", "model": "m"})
            options: dict[str, Any] = {"model": "m", "base_url": url, "in_flight": asked.in_flight, "roots": run.roots}
            found = {"local": measure(openai.load(**options), wanted, folder / "a.sqlite", asked.in_flight)}
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(num_cpus=max(1, asked.workers), log_to_driver=False, logging_level=logging.ERROR)
            with cluster.engine(run) as engine:
                for _ in range(asked.workers - 1):  # all on this node
                    engine.crew.add(engine.hire(()))
                model = engine.spread(openai.load(**options), table, "[[pool]] 1")
                found["ray"] = measure(model, wanted, folder / "b.sqlite", asked.in_flight)
            ray.shutdown()
        finally:
            server.terminate()
            server.wait()
    says = ", ".join(f"{name} {one['head_ms_per_call']:.2f} ms of the head per call" for name, one in found.items())
    world.keep(RESULT, {"settings": vars(asked), **found}, says)


if __name__ == "__main__":
    main()
