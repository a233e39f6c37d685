"""`status`, resume and rebuild of a large ledger: seconds and peak memory; durable calls a second while it is made.

    python benchmarks/ledger_scale.py [--instructions 80000] [--local] [--keep FOLDER]

A run of that many instructions, four responses and one judgement each (80,000 give 400,000 calls; 1,000,000 give 5
million), is made by the real rooms with scripted models, every call committed like any other, and killed when 99.5 % of
its calls are in the ledger. The models pass for endpoints, and with `--local` for weights on this machine, which are
asked one after the other. Then, each in a process of its own:

- `resume`: the killed run goes on to its end; what it has still to make is given beside it;
- `status`: of the finished run;
- `open`: opening the ledger for writing and summing up what was spent, which is what a resumed run waits for before its
  first call;
- `look up`: every key of the ledger asked for once, in any order;
- `rebuild`: both tables deleted and `run --to annotate` again: every reply is read from the ledger, parsed and written,
  and nothing is sent. This is what an edited parser costs, for the judgements alone.

Writes `benchmarks/results/ledger_scale.json` (name another with --out for another size).

    python benchmarks/ledger_scale.py --bulk 5000000 [--keep FOLDER]

A ledger of that many calls is written straight into its two tables, with rows and bodies like those of a run, and a run
of a thousand instructions shares it. Then, each in a process of its own: `status` of the run, `open`, `look up` of
200,000 keys, and `join`: that run makes its 5,000 calls with all of the others in its ledger. It is not the resume of a
run of a million instructions, whose finished parts would be taken over too. Writes `ledger_bulk.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from collecting import world

from vlfeedback._ledger_rows import bodies_of, squeeze
from vlfeedback.ids import hash_id
from vlfeedback.ledger import Ledger
from vlfeedback.records import Generation, Usage

RESULT = Path(__file__).parent / "results" / "ledger_scale.json"
BULK = RESULT.with_name("ledger_bulk.json")
SHARING = 1000
"""Instructions of the run that shares a bulk ledger."""
LOOKED_UP = 200_000
SECONDS, BYTES = 10.0, 500e6
LIMITED = ("resume", "status", "open", "join")
"""What users wait for; the others are told."""
KILLED_AT = 0.995
"""Share of the calls after which the run is killed."""
REPLY = "\\n".join(
    f"#### {aspect} Assessment\\n" + "\\n".join(
        f"##### Output for Text {text}\\nRating: {1 + text % 5}\\nRationale: Text {text} names what is in the picture."
        for text in (1, 2, 3, 4)
    )
    for aspect in ("Helpfulness", "Ethical Considerations", "Visual Faithfulness")
)  # fmt: skip
OPEN = """
import sys
from pathlib import Path
from vlfeedback.ledger import Ledger
with Ledger.open(Path(sys.argv[1])) as ledger:
    print(ledger.spent())
"""
LOOK = """
import random, sqlite3, sys
from pathlib import Path
from vlfeedback.ledger import Ledger
keys = [row[0] for row in sqlite3.connect(sys.argv[1]).execute("SELECT key FROM calls")]
random.Random(0).shuffle(keys)
del keys[int(sys.argv[2]) :]
with Ledger.open(Path(sys.argv[1])) as ledger:
    for start in range(0, len(keys), 500):
        assert len(ledger.replies(keys[start : start + 500])) == len(keys[start : start + 500])
"""


def settings(folder: Path, count: int, use: str = "scripted") -> Path:
    """Scripted models, prompts of usual length, no pictures."""
    with (folder / "instructions.jsonl").open("w", encoding="utf-8") as rows:
        for number in range(count):
            prompt = f"What does sign {number} say? " + "Look well. " * 12
            rows.write(json.dumps({"id": str(number), "prompt": prompt}) + "\n")
    pool = "".join(
        f'[[pool]]\nuse = "{use}"\nmodel = "model-{n}"\nreplies = ["A sign, says model {n}. {"Words. " * 90}"]\n\n'
        for n in range(4)
    )
    path = folder / "run.toml"
    path.write_text(
        f'[[source]]\nuse = "jsonl"\npath = "instructions.jsonl"\n\n{pool}[decode]\nin_flight = 256\n\n'
        f'[[judge]]\nuse = "{use}"\nmodel = "judge"\nreplies = ["{REPLY}"]\n\n[annotate]\nin_flight = 256\n',
        encoding="utf-8",
    )
    return path


def python(code: str, path: Path, *more: str) -> world.Timed:
    """Run a few lines in a process of its own."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, str(path), *more], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"a measurement failed:\n{code}")
    unit = 1 if sys.platform == "darwin" else 1024
    return world.Timed(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def counted(ledger: Path) -> int:
    """Calls of a ledger so far, whatever their state; cheap enough to be asked all the time."""
    if not ledger.exists():
        return 0
    try:
        with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT MAX(id) FROM calls").fetchone()[0] or 0)
    except sqlite3.OperationalError:  # it is just being made
        return 0


def done(ledger: Path) -> int:
    """Calls with a reply."""
    with Ledger.open(ledger, write=False) as opened:
        return sum(total.calls for total in opened.totals() if total.state == "done")


def killed(run: Path, calls: int) -> world.Timed:
    """Let a run make that many calls and kill it."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "vlfeedback", *annotated(run)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    while counted(run / "ledger.sqlite") < calls:
        if process.poll() is not None:
            raise RuntimeError("the run ended before it could be killed: give more --instructions")
        time.sleep(0.05)
    process.kill()
    _, _, usage = os.wait4(process.pid, 0)
    unit = 1 if sys.platform == "darwin" else 1024
    return world.Timed(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def annotated(run: Path) -> list[str]:
    """The command that makes, resumes or makes again."""
    return ["run", str(run), "--to", "annotate", "--allow-plugins"]


def bulk(path: Path, calls: int) -> float:
    """Write a ledger with that many answered calls, four of a pool to one of a judge; its seconds."""
    began = time.perf_counter()
    with Ledger.open(path):
        pass  # the tables
    words = f"A sign, says the model. {'Words. ' * 90}"
    generation = Generation(
        words, "stop", usage=Usage(900, 150, 0, 700, 0), raw=json.dumps({"choices": [{"text": words}]})
    )
    question = squeeze(json.dumps({"prompt": "What does the sign say? " + "Look well. " * 12}))
    reply, raw = bodies_of(generation)
    bodies = {"request": question, "reply": reply, "raw": raw}
    names = ("key", "model", "purpose", "state", "finish", "cost", "attempts", "input", "output", "image", "created")

    def rows() -> Iterator[tuple[object, ...]]:
        for number in range(calls):
            key, model = hash_id("bulk", number), number % 5
            yield (
                key,
                f"model-{model}",
                "annotate" if model == 4 else "decode",
                "done",
                "stop",
                0.001,
                1,
                900,
                150,
                700,
                began,
            )

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
        for setting in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1000000"):
            writer.execute(f"PRAGMA {setting}")
        writer.execute("BEGIN")
        writer.executemany(f"INSERT INTO calls({', '.join(names)}) VALUES({', '.join('?' * len(names))})", rows())
        writer.execute(
            "INSERT INTO bodies(id, request, reply, raw) SELECT id, :request, :reply, :raw FROM calls ORDER BY id",
            bodies,
        )
        writer.execute("COMMIT")
    return time.perf_counter() - began


def shared(folder: Path, calls: int, out: Path) -> None:
    """Measure a run whose ledger holds that many calls of others."""
    run = folder / "run"
    world.timed("run", settings(folder, SHARING), "--out", run, "--to", "source")
    ledger = run / "ledger.sqlite"
    ledger.unlink(missing_ok=True)
    # In a process of its own: what this one once held would count as the peak of those that it starts.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seconds = pool.apply(bulk, (ledger, calls))
    found = {
        "status": world.timed("status", run),
        "open": python(OPEN, ledger),
        "look up": python(LOOK, ledger, str(LOOKED_UP)),
        "join": world.timed("run", run, "--to", "annotate"),
    }
    made = {"calls": calls, "seconds_to_write": round(seconds, 1), "looked_up": LOOKED_UP, "joined": 5 * SHARING}
    sys.exit(world.keep(out, {**made, "ledger_bytes": ledger.stat().st_size, **_told(found)}))


def _told(found: dict[str, world.Timed]) -> dict[str, object]:
    limits: dict[str, object] = {"limits": {"seconds": SECONDS, "peak_mb": BYTES / 1e6}}
    return limits | {
        name: {
            "seconds": round(one.seconds, 2),
            "cpu": round(one.cpu, 2),
            "peak_mb": round(one.peak / 1e6),
            **({"pass": one.seconds < SECONDS and one.peak < BYTES} if name in LIMITED else {}),
        }
        for name, one in found.items()
    }


def main() -> None:
    """Make it and measure it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instructions", type=int, default=80_000)
    parser.add_argument("--local", action="store_true", help="as if the weights lay on this machine")
    parser.add_argument("--keep", type=Path, default=None, help="folder to keep the run in")
    parser.add_argument("--bulk", type=int, default=0, help="calls of a ledger that is written at once")
    parser.add_argument("--out", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.keep) as place:
        folder = Path(place)
        if asked.bulk:
            shared(folder, asked.bulk, asked.out or BULK)
            return
        run = folder / "run"
        here = str(Path(__file__).parent)  # where the scripted endpoint is
        os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
        toml = settings(folder, asked.instructions, "scripted" if asked.local else "collecting.far:load")
        world.timed("run", toml, "--out", run, "--to", "source")
        ledger, calls = run / "ledger.sqlite", 5 * asked.instructions
        made = killed(run, int(KILLED_AT * calls))
        there = done(ledger)
        found = {
            "made": made,
            "resume": world.timed(*annotated(run)),
            "status": world.timed("status", run),
            "open": python(OPEN, ledger),
            "look up": python(LOOK, ledger, str(calls)),
        }
        size = ledger.stat().st_size
        for name in ("responses", "annotations"):
            (run / f"{name}.parquet").unlink()
        found["rebuild"] = world.timed(*annotated(run))
    code = world.keep(
        asked.out or RESULT,
        {
            "calls": calls,
            "ledger_bytes": size,
            "models": "local" if asked.local else "endpoints",
            "durable_calls_per_second": round(there / made.seconds),
            "made_by_resume": calls - there,
            **_told(found),
        },
        f"resume {found['resume'].seconds:.1f} s and {found['resume'].peak / 1e6:.0f} MB, "
        f"status {found['status'].seconds:.1f} s and {found['status'].peak / 1e6:.0f} MB",
    )
    sys.exit(code)


if __name__ == "__main__":
    main()
