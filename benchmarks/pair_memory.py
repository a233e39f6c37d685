"""Does pairing hold a run in memory? Seconds and peak resident set of `run --from pair --to pair` at N and at 10 N.

    python benchmarks/pair_memory.py [--small 20000] [--large 200000] [--folder FOLDER]

The tables of a finished run are written straight: four responses of 100 words to each instruction, judged once, with
three aspects and a rationale for each. Each pairing is one command in a process of its own. Writes
`benchmarks/results/pair_memory.json`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
from pathlib import Path

from collecting import world

from vlfeedback import config, tables
from vlfeedback.ids import hash_id
from vlfeedback.pair import ASPECTS
from vlfeedback.records import Annotation, Instruction, Rating, Response
from vlfeedback.run_folder import RunFolder

RESULT = Path(__file__).parent / "results" / "pair_memory.json"
RATIO = 1.2
"""Most that ten times the run may take in memory. What grows is an index of some bytes a row."""
K = 4
WORDS = (
    "the",
    "table",
    "stands",
    "by",
    "a",
    "window",
    "and",
    "holds",
    "one",
    "cup",
    "of",
    "tea",
    "that",
    "nobody",
    "has",
    "touched",
)


def rows_of(number: int, chance: random.Random) -> tuple[Instruction, list[Response], Annotation]:
    """An instruction with its answers and a judgement."""
    name = hash_id("i", number)
    answers = [
        Response(hash_id("r", number, k), name, f"model-{k}", " ".join(chance.choices(WORDS, k=100)), "stop")
        for k in range(K)
    ]
    ratings = tuple(
        Rating(one.id, aspect, chance.randint(1, 5), " ".join(chance.choices(WORDS, k=15)))
        for one in answers
        for aspect in ASPECTS
    )
    judged = Annotation(hash_id("a", number), name, "judge", "vlfeedback", None, "ok", ratings, hash_id("c", number))
    return Instruction(name, f"What does sign {number} say?", (), "signs"), answers, judged


def write(folder: Path, count: int) -> None:
    """A run folder with so many instructions, all judged."""
    run = RunFolder.create(folder, config.parse({"pair": {"use": "all_pairs"}}, "pair_memory"))
    chance = random.Random(0)
    writers = {
        name: tables.Writer(run.table(name), record, room="exchange")
        for name, record in (("instructions", Instruction), ("responses", Response), ("annotations", Annotation))
    }
    for number in range(count):
        instruction, answers, judged = rows_of(number, chance)
        writers["instructions"].add(instruction)
        for one in answers:
            writers["responses"].add(one)
        writers["annotations"].add(judged)
    for writer in writers.values():
        writer.close()


def main() -> None:
    """Pair both runs and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", type=int, default=20_000)
    parser.add_argument("--large", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, default=None, help="where the runs are made")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    found: dict[int, world.Timed] = {}
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        for count in (asked.small, asked.large):
            run = Path(place) / str(count)
            # In a process of its own: what this one once held would count as the peak of those that it starts.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(write, (run, count))
            found[count] = world.timed("run", run, "--from", "pair", "--to", "pair")
    small, large = found[asked.small], found[asked.large]
    ratio = large.peak / small.peak
    more = {"small": asked.small, "large": asked.large, "seconds_small": round(small.seconds, 1)}
    more |= {"seconds_large": round(large.seconds, 1), "peak_small_mb": round(small.peak / 1e6, 1)}
    more |= {"peak_large_mb": round(large.peak / 1e6, 1), "ratio": round(ratio, 3), "limit": RATIO}
    words = f"peak at {asked.large:,} instructions {large.peak / 1e6:.0f} MB, {ratio:.2f} times that at {asked.small:,}"
    sys.exit(world.keep(asked.out, {**more, "pass": ratio <= RATIO}, words))


if __name__ == "__main__":
    main()
