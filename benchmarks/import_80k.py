"""Time and memory of importing and pairing a file like the released one: 80,258 instructions, four rated answers each.

    python benchmarks/import_80k.py [--rows 80258] [--keep FOLDER]

The file is made on the spot in the released format: own filler text of realistic lengths (about 430 MB), ratings drawn
from the published shares of each aspect (VLFeedback, figure 2), ids of which many repeat, a few citation marks, "N/A"
ratings and short rows. Import and pairing run in one process each, through the command line, as a user would run them;
peak memory is the largest sum of resident sets of a command and the
process beside it that writes the ledger, looked at ten times a second. Writes `benchmarks/results/import_80k.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROWS = 80_258
RESULT = Path(__file__).parent / "results" / "import_80k.json"
SHARES = {
    "Helpfulness": (22.8, 14.2, 13.4, 23.4, 26.3),
    "Ethical Considerations": (2.3, 1.2, 1.5, 15.6, 79.4),
    "Visual Faithfulness": (23.1, 11.4, 11.3, 23.3, 30.9),
}
SOURCES = (
    ("svit-conversation", 0.284), ("llava-reasoning", 0.244), ("llavar", 0.172), ("lrv", 0.154), ("llavamed", 0.073),
    ("comvint", 0.030), ("pmc-vqa", 0.029), ("m3it", 0.009), ("pca-eval", 0.005),
)  # fmt: skip
MODELS = tuple(f"model-{index:02d}" for index in range(12))
WORDS = (
    "the", "a", "small", "large", "red", "blue", "wooden", "metal", "person", "street", "table", "window", "sign",
    "light", "behind", "above", "near", "holds", "shows", "stands", "next", "to", "left", "right", "picture",
    "scene", "visible", "several", "because", "therefore", "however", "clearly",
)  # fmt: skip
SECONDS_LIMIT, BYTES_LIMIT = 60.0, 3 * 10**9


class Timed(NamedTuple):
    """One command: seconds of wall clock and of processor, most resident bytes of its processes, what it printed."""

    seconds: float
    cpu: float
    peak: int
    output: str


def _text(rng: random.Random, letters: float) -> str:
    """Filler of roughly log-normal length around `letters` characters."""
    words = max(1, round(rng.lognormvariate(0, 0.6) * letters / 6.1))
    return " ".join(rng.choices(WORDS, k=words)).capitalize() + "."


def _row(rng: random.Random, number: int) -> dict[str, object]:
    source = rng.choices([name for name, _ in SOURCES], [share for _, share in SOURCES])[0]
    answers = 4 if rng.random() > 0.001 else rng.randint(1, 3)
    models = rng.sample(MODELS, answers)
    completions: list[dict[str, object]] = []
    for model in models:
        annotations: dict[str, dict[str, str]] = {}
        for aspect, shares in SHARES.items():
            rating = "N/A" if rng.random() < 0.0005 else rng.choices("12345", shares)[0]
            annotations[aspect] = {"Rating": rating, "Rationale": _text(rng, 168)}
        response = _text(rng, 370) + (" 【12†source】" if rng.random() < 0.001 else "")
        completions.append({"annotations": annotations, "model": model, "response": response})
    # A third of the ids stands at two rows or more, as in the release.
    name = f"{source}-{number if rng.random() > 0.5 else rng.randrange(ROWS)}"
    return {"id": name, "prompt": f"{_text(rng, 90)} ({number})", "models": models, "completions": completions}


def make(path: Path, rows: int, seed: int = 0) -> None:
    """Write the synthetic file."""
    rng = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            file.write(json.dumps(_row(rng, number)) + "\n")


def expected_pairs(path: Path) -> int:
    """Pairs by the paper's rule, counted on the file without any of the package's code."""
    pairs = 0
    with path.open(encoding="utf-8") as file:
        for line in file:
            means: list[float] = []
            for completion in json.loads(line)["completions"]:
                ratings = [one["Rating"] for one in completion["annotations"].values()]
                if all(rating.isdigit() for rating in ratings):
                    means.append(sum(map(int, ratings)) / 3)
            pairs += sum(means[i] != means[j] for i in range(len(means)) for j in range(i))
    return pairs


def resident(pid: int) -> int:
    """Bytes in memory of a process and its children (Linux)."""
    total = 0
    try:
        members = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        for member in members:
            total += int(Path(f"/proc/{member}/statm").read_text().split()[1])
    except OSError:  # one of them has just ended
        pass
    return total * os.sysconf("SC_PAGE_SIZE")


def timed(command: list[str]) -> Timed:
    """Run a command, and measure it alone."""
    start, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as output, subprocess.Popen(command, stdout=output) as process:
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            peak = max(peak, resident(process.pid))
            time.sleep(0.1)
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        output.seek(0)
        text = output.read().decode()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}\n{text}")
    alone = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Timed(seconds, usage.ru_utime + usage.ru_stime, max(alone, peak), text)


def main() -> None:
    """Make the file, import and pair it, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--keep", type=Path, help="make the file and the run folder here, and leave them")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder: Path = given.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        data, run = folder / f"synthetic_{given.rows}.jsonl", folder / "run"
        if not data.exists():
            make(data, given.rows)
        tool = [sys.executable, "-m", "vlfeedback"]
        load = os.getloadavg()[0]  # above 0.5 something else ran, and the seconds mean little
        brought = timed([*tool, "import", "vlfeedback", str(data), "--no-hash-images", "--out", str(run), "--json"])
        paired = timed([*tool, "pair", str(run), "--json"])
        result = {
            "what": "import and pair a synthetic file in the released format, pictures not hashed",
            "command": f"python benchmarks/import_80k.py --rows {given.rows}",
            "machine": {
                "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
                "ram_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
                "system": platform.platform(),
                "python": platform.python_version(),
            },
            "rows": given.rows,
            "file_bytes": data.stat().st_size,
            "import_seconds": round(brought.seconds, 2),
            "pair_seconds": round(paired.seconds, 2),
            "import_cpu_seconds": round(brought.cpu, 2),
            "pair_cpu_seconds": round(paired.cpu, 2),
            "load_before": round(load, 2),
            "seconds": round(brought.seconds + paired.seconds, 2),
            "peak_bytes": max(brought.peak, paired.peak),
            "ledger_bytes": (run / "ledger.sqlite").stat().st_size,
            "expected_pairs": expected_pairs(data),
            "import": json.loads(brought.output),
            "pair": json.loads(paired.output),
            "limits": {"seconds": SECONDS_LIMIT, "peak_bytes": BYTES_LIMIT},
        }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    made, expected = result["pair"]["rooms"][0]["kept"], result["expected_pairs"]
    print(
        f"import {brought.seconds:.1f} s + pair {paired.seconds:.1f} s = {result['seconds']:.1f} s, "
        f"peak {result['peak_bytes'] / 1e9:.2f} GB, {made:,} pairs, {expected:,} by an independent count"
    )
    within = result["seconds"] <= SECONDS_LIMIT and result["peak_bytes"] <= BYTES_LIMIT
    sys.exit(0 if within and made == expected else 1)


if __name__ == "__main__":
    main()
