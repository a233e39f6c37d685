"""Do decode and annotate overlap? Wall clock of both together against the slower one alone.

    python benchmarks/collect_overlap.py [--instructions 2000] [--decode 0.5] [--judge 0.7] [--in-flight 64]

Two loopback endpoints in processes of their own answer after a fixed time. Three commands are timed as a user would
start them: `decode` alone, `annotate` alone on its responses, and `run --to annotate` in a fresh folder; all begin with
the instructions there. Writes `benchmarks/results/collect_overlap.json`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from collecting import world

RESULT = Path(__file__).parent / "results" / "collect_overlap.json"
LIMIT = 1.15


def main() -> None:
    """Run and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instructions", type=int, default=2000)
    parser.add_argument("--decode", type=float, default=0.5, help="seconds of a pool call")
    parser.add_argument("--judge", type=float, default=0.7, help="seconds of a judge call")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--bytes", type=int, default=20_000, help="of a picture")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        world.draw(folder, asked.instructions, asked.bytes)
        with (
            world.endpoint(folder, "pool", asked.decode) as pool,
            world.endpoint(folder, "judge", asked.judge) as judge,
        ):
            toml = world.settings(folder, pool, judge, in_flight=asked.in_flight, bytes_in_flight=256 << 20)
            world.timed("run", toml, "--out", folder / "apart", "--to", "source")
            shutil.copytree(folder / "apart", folder / "together")
            decode = world.timed("decode", folder / "apart")
            annotate = world.timed("annotate", folder / "apart")
            both = world.timed("run", folder / "together", "--to", "annotate")
    slower = max(decode.seconds, annotate.seconds)
    ratio = both.seconds / slower
    code = world.keep(
        asked.out,
        {
            **{name: getattr(asked, name) for name in ("instructions", "decode", "judge", "in_flight", "bytes")},
            "decode_alone_s": round(decode.seconds, 2),
            "judge_alone_s": round(annotate.seconds, 2),
            "together_s": round(both.seconds, 2),
            "together_cpu_s": round(both.cpu, 2),
            "ratio": round(ratio, 3),
            "limit": LIMIT,
            "pass": ratio <= LIMIT,
        },
        f"together {both.seconds:.1f} s, {ratio:.2f} times the slower room alone",
    )
    sys.exit(code)


if __name__ == "__main__":
    main()
