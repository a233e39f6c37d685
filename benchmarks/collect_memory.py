"""Is memory bounded by `bytes_in_flight`, whatever the number of pictures? Peak resident set at N and at 10 N pictures.

    python benchmarks/collect_memory.py [--small 2000] [--large 20000] [--bytes 1000000] [--bytes-in-flight 268435456]

Every picture is a file of its own (20,000 × 1 MB need 20 GB of disk, in --folder). Each run is one command in a process
of its own, from the source to the annotations. Writes `benchmarks/results/collect_memory.json`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from collecting import world

RESULT = Path(__file__).parent / "results" / "collect_memory.json"
LIMIT = 1.2


def main() -> None:
    """Run both sizes and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", type=int, default=2000)
    parser.add_argument("--large", type=int, default=20_000)
    parser.add_argument("--bytes", type=int, default=1_000_000, help="of a picture")
    parser.add_argument("--bytes-in-flight", type=int, default=256 << 20)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--delay", type=float, default=0.1)
    parser.add_argument("--folder", type=Path, default=None, help="where the pictures are made")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    found: dict[int, world.Timed] = {}
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        folder = Path(place)
        with world.endpoint(folder, "pool", asked.delay) as pool, world.endpoint(folder, "judge", asked.delay) as judge:
            for count in (asked.small, asked.large):
                world.draw(folder, count, asked.bytes)
                toml = world.settings(
                    folder, pool, judge, in_flight=asked.in_flight, bytes_in_flight=asked.bytes_in_flight
                )
                found[count] = world.timed("run", toml, "--out", folder / f"run{count}", "--to", "annotate")
                shutil.rmtree(folder / f"run{count}")
    ratio = found[asked.large].peak / found[asked.small].peak
    code = world.keep(
        asked.out,
        {
            **{
                name: getattr(asked, name)
                for name in ("small", "large", "bytes", "bytes_in_flight", "in_flight", "delay")
            },
            "peak_small_mb": round(found[asked.small].peak / 1e6, 1),
            "peak_large_mb": round(found[asked.large].peak / 1e6, 1),
            "seconds_large": round(found[asked.large].seconds, 1),
            "ratio": round(ratio, 3),
            "limit": LIMIT,
            "pass": ratio <= LIMIT,
        },
        f"peak at {asked.large:,} pictures {ratio:.2f} times that at {asked.small:,}",
    )
    sys.exit(code)


if __name__ == "__main__":
    main()
