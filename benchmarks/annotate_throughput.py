"""How fast judging goes beside the bare HTTP client and beside distilabel and bespokelabs-curator, on this machine.

    python benchmarks/annotate_throughput.py [--calls 8000] [--only WORD] [--peers none] [--out FILE]

A loopback endpoint in a process of its own answers after half a second; pictures are JPEGs of 200 kB (and 1 MB). Every
client has a process and an endpoint of its own:

- the table of clients, with bodies made beforehand: what the choice of the client in `models/_wire.py` rests on;
- ours: the whole annotate room (pictures opened, checked and encoded, each call in a ledger before and after it,
  replies read), at 64 and 512 in flight, beside the bare loop over the same client in the same run;
- the peers, in environments of their own under `build/peers/`, at the best of a sweep over their settings. One that
  cannot be installed is a miss, and said.

Rates are of whole runs; the steady rate is that between the 25th and the 75th percentile of completions, by the
endpoint's clock. Start-up costs any client 20 to 40 % of a short run: use at least 8,000 calls for figures. The clocks
start when libraries are loaded and bodies (or the room's records) are there. Without peers it takes about seven
minutes. Writes
`benchmarks/results/annotate_throughput.json` and `.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import urllib.request
import venv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = HERE / "throughput"
BUILD = HERE.parent / "build"
sys.path.insert(0, str(PARTS))
from clients import NAMES  # noqa: E402
from world import draw  # noqa: E402

LATENCY = 0.5
SMALL, LARGE = 200_000, 1_000_000
PICTURES = 300
BARE = "aiohttp, ready body"
WAVES = {64: 40, 512: 12}
"""Calls in flight, and rounds of them for what is no figure of ours at 512: twenty seconds, or six and more."""
ROOM = 512 << 20
"""`bytes_in_flight` of our runs."""

PEERS: dict[str, tuple[tuple[str, ...], str, tuple[tuple[int, ...], ...]]] = {
    "distilabel 1.5.3": (
        ("distilabel[openai]==1.5.3", "requests"),
        "distilabel_peer.py",
        ((50, 1), (128, 2), (256, 2), (256, 4), (512, 2)),
    ),
    "bespokelabs-curator 0.1.31": (("bespokelabs-curator==0.1.31",), "curator_peer.py", ((64,), (256,), (512,))),
}
"""Packages, script, and settings to sweep over."""


@dataclass(frozen=True, slots=True)
class Run:
    """One client at one setting.

    Attributes:
        rate: Calls per second of the whole run.
        steady: Between the 25th and 75th percentile of completions.
        cpu: Milliseconds of processor time per call.
        peak: Most resident bytes.
        most: Most calls at once, as the endpoint saw it.
    """

    name: str
    in_flight: int
    size: int
    calls: int
    rate: float
    steady: float
    cpu: float
    peak: int
    most: int
    settings: tuple[int, ...] = ()


@dataclass
class Results:
    """Everything measured, and what was aimed at."""

    command: str
    machine: str
    runs: list[Run] = field(default_factory=list)
    lines: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def check(self, item: str, number: float, target: float, *, least: bool = True, unit: str = "") -> None:
        """One line: passed if the number is at least (or at most) the target."""
        good = number >= target if least else number <= target
        sign = "≥" if least else "≤"
        self.lines.append((item, f"{number:,.2f}{unit}", f"{sign} {target:,.2f}{unit}", good))
        print(
            f"{'pass' if good else 'MISS'}  {item}: {number:,.2f}{unit} (target {sign} {target:,.2f}{unit})", flush=True
        )

    def miss(self, item: str, why: str) -> None:
        """One line that could not be measured."""
        self.lines.append((item, why, "", False))
        print(f"MISS  {item}: {why}", flush=True)


def timed(
    name: str, command: Sequence[str], in_flight: int, size: int, calls: int, settings: tuple[int, ...] = ()
) -> Run:
    """Run a client against an endpoint of its own.

    Raises:
        RuntimeError: it failed, or did not get all replies.
    """
    server = subprocess.Popen(
        [sys.executable, str(PARTS / "server.py"), "--latency", str(LATENCY)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        done = subprocess.run(
            [part.replace("PORT", port) if part == "PORT" else part for part in command],
            capture_output=True, text=True, check=False, timeout=3600,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
        said = json.loads(done.stdout.strip().splitlines()[-1])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/count", timeout=60) as reply:
            count = json.load(reply)
    finally:
        server.kill()
        server.wait()
    if said.get("whole", calls) != calls:
        raise RuntimeError(f"{name}: only {said['whole']} of {calls} replies are whole")
    times = sorted(count["times"])
    early, late = times[len(times) // 4], times[len(times) * 3 // 4]
    cpu = (said["cpu"] + said.get("children_cpu", 0.0)) / calls * 1000
    steady = (len(times) * 3 // 4 - len(times) // 4) / max(1e-9, late - early)
    run = Run(name, in_flight, size, calls, calls / said["seconds"], steady, cpu, said["peak"], count["most"], settings)
    print(
        f"{name:<38} {in_flight:>4} in flight, {size // 1000:>5} kB: {run.rate:7.1f}/s, {run.steady:7.1f}/s steady, "
        f"{run.cpu:5.2f} ms CPU/call, {run.peak / 2**20:6.0f} MiB, {run.most} at once",
        flush=True,
    )
    return run


def client(name: str, folder: Path, in_flight: int, size: int, calls: int) -> Run:
    """A bare client."""
    command = [sys.executable, str(PARTS / "clients.py"), name, "PORT", str(folder), str(calls), str(in_flight)]
    return timed(name, command, in_flight, size, calls)


def ours(folder: Path, in_flight: int, size: int, calls: int) -> Run:
    """The annotate room."""
    command = [sys.executable, str(PARTS / "ours.py"), "PORT", str(folder), str(calls), str(in_flight), str(ROOM)]
    return timed("vlfeedback", command, in_flight, size, calls)


def middle(runs: Sequence[Run]) -> Run:
    """The run of middle rate."""
    return sorted(runs, key=lambda run: run.rate)[len(runs) // 2]


def beside(results: Results, folder: Path, in_flight: int, size: int, calls: int, repeat: int) -> tuple[Run, Run]:
    """Ours and the bare client by turns; the middle one of each.

    What is compared is compared within each turn, and of the turns the middle one counts: another load on the machine
    is then on both.
    """
    pairs = [
        (client(BARE, folder, in_flight, size, calls), ours(folder, in_flight, size, calls)) for _ in range(repeat)
    ]
    results.runs += [run for pair in pairs for run in pair]
    extra = statistics.median(mine.cpu - bare.cpu for bare, mine in pairs)
    bare, mine = middle([pair[0] for pair in pairs]), middle([pair[1] for pair in pairs])
    where = f"{in_flight} in flight, {size // 1000} kB"
    results.check(
        f"{where}: rate over that of the bare client", statistics.median(m.rate / b.rate for b, m in pairs), 0.85
    )
    results.check(f"{where}: own processor time per call", extra, 0.5, least=False, unit=" ms")
    most = (200 * 10**6 + 3 * ROOM) / 2**20
    peak = max(each.peak for _, each in pairs)
    results.check(f"{where}: peak memory", peak / 2**20, most, least=False, unit=" MiB")
    return bare, mine


def peer(name: str, folder: Path, calls: int) -> list[Run] | str:
    """A peer over its settings; the reason if it could not be measured."""
    packages, script, settings = PEERS[name]
    place = BUILD / "peers" / name.split()[0]
    python = place / "bin" / "python"
    if not (place / ".ready").exists():
        print(f"installing {name} into {place}", flush=True)
        venv.create(place, with_pip=True, clear=True)
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "-q", *packages, "pillow"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return (
                f"cannot be installed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'pip failed'}"
            )
        (place / ".ready").touch()
    found: list[Run] = []
    problem = ""
    for setting in settings:
        command = [str(python), str(PARTS / script), "PORT", str(folder), str(calls), *map(str, setting)]
        try:
            found.append(timed(name, command, setting[0], SMALL, calls, setting))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            problem = str(error)
            print(f"{name} {setting}: {problem}", flush=True)
    return found or f"does not run: {problem}"


def write(results: Results, path: Path) -> None:
    """Raw numbers as JSON, and tables for people."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(results), indent=1) + "\n")
    rows = [
        f"# Judging beside bare clients and peers\n\n`{results.command}`, {results.machine}\n",
        "| item | measured | target | |",
        "|---|---|---|---|",
    ]
    rows += [
        f"| {item} | {number} | {target} | {'pass' if good else 'miss'} |"
        for item, number, target, good in results.lines
    ]
    rows += ["", "| client | in flight | picture | calls | calls/s | steady | CPU ms/call | peak MiB | most at once |",
             "|---|---:|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    rows += [
        f"| {run.name}{' ' + str(run.settings) if run.settings else ''} | {run.in_flight} | {run.size // 1000} kB | "
        f"{run.calls:,} | {run.rate:.0f} | {run.steady:.0f} | {run.cpu:.2f} | {run.peak / 2**20:.0f} | {run.most} |"
        for run in results.runs
    ]
    path.with_suffix(".md").write_text("\n".join(rows) + "\n")


def main() -> int:
    """Measure, compare, write; 1 if something was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=8000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", choices=("clients", "ours", "peers"), help="one part alone")
    parser.add_argument("--peers", default=",".join(PEERS), help="names, comma between them; none leaves them out")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "annotate_throughput.json")
    options = parser.parse_args()
    small, large = BUILD / "pictures-200k", BUILD / "pictures-1m"
    draw(small, PICTURES, SMALL)
    draw(large, PICTURES, LARGE)
    command = " ".join(["python benchmarks/annotate_throughput.py", *sys.argv[1:]])
    machine = f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    results = Results(command, machine)
    calls: int = options.calls
    best: Run | None = None
    if options.only in (None, "clients"):
        for name in NAMES:
            results.runs += [
                client(name, small, in_flight, SMALL, min(calls, WAVES[in_flight] * in_flight)) for in_flight in WAVES
            ]
    if options.only in (None, "ours"):
        few = max(640, min(calls, WAVES[64] * 64))
        slow = [ours(small, 64, SMALL, few) for _ in range(options.repeat)]
        results.runs += slow
        results.check("64 in flight: rate over concurrency / latency", middle(slow).rate / (64 / LATENCY), 0.9)
        best = beside(results, small, 512, SMALL, calls, options.repeat)[1]
        beside(results, large, 512, LARGE, calls, options.repeat)
    if options.only in (None, "peers") and options.peers != "none":
        best = best or ours(small, 512, SMALL, calls)
        rates: dict[str, float] = {}
        for name in PEERS:
            if name not in options.peers:
                continue
            found = peer(name, small, calls)
            if isinstance(found, str):
                results.miss(f"beside {name}", found)
                continue
            results.runs += found
            rates[name] = max(run.rate for run in found)
        if rates:
            first = max(rates, key=lambda name: rates[name])
            results.check(f"rate over that of {first}, the better peer", best.rate / rates[first], 3.0)
    write(results, options.out)
    return 0 if all(good for *_, good in results.lines) else 1


if __name__ == "__main__":
    sys.exit(main())
