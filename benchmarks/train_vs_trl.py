"""Training speed, memory and exactness beside TRL's DPOTrainer: the same model, data, adapters and machine, in turn.

    python benchmarks/train_vs_trl.py [--env FOLDER] [--only WORD] [--check WORD] [--size 2b]

A LLaVA-shaped random model (hidden 512, six layers, 256 image tokens, LoRA r 64, fp32 on a processor), four responses
and six pairs per instruction. TRL lives in an environment of its own, made here from the package index under the same
pins. TRL's time is that of `DPOTrainer.train()` alone, without loading; ours is a whole call of `train`: loading,
reading pictures, checks, reference, three epochs with optimiser and logging, saving, divided by instructions × epochs,
so that an epoch carries a third of the reference and of all the rest. TRL trains without gradient checkpointing
(which is faster) and with either six pairs or one pair in a forward: the faster of the two is compared with. Writes
`benchmarks/results/train_vs_trl.json` and `.md`.

With `--size 2b` or `7b` a model of that many weights in bf16, for a machine with a GPU, which both sides then use; how
long each kernel takes for our attention is measured too. Writes `train_vs_trl_2b.json` and `.md`. Not run yet: no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SIDES = HERE / "training"
sys.path.insert(0, str(SIDES))
from shapes import SIZES, Shape, write_world  # noqa: E402

TRL = "1.16.0"
RESULTS = HERE / "results"
EPOCHS = 3


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison; `theirs` are instructions that TRL is timed on, `least` the wanted ratio or None.

    Each instruction is an optimiser step of TRL's. The first of a process also warms up allocator and kernels, which
    ours spreads over all of its steps, so TRL gets several.
    """

    name: str
    shape: Shape
    theirs: int
    least: float | None


CASES = (
    Case("P 290, R 60, vocabulary 32,000", Shape(32_000, 290, 60, 24), 3, 15.0),
    Case("P 290, R 60, vocabulary 2,000", Shape(2_000, 290, 60, 24), 3, 5.0),
    Case("P 600, R 100, vocabulary 32,000", Shape(32_000, 600, 100, 12), 3, None),
    Case("P 1100, R 100, vocabulary 32,000", Shape(32_000, 1100, 100, 8), 3, None),
    Case("P 1100, R 300, vocabulary 32,000", Shape(32_000, 1100, 300, 6), 3, None),
)
ON_GPU = ((290, 60, 8.0), (600, 100, None), (1100, 100, None), (1100, 300, None))
"""P, R and the wanted ratio."""


def cases(size: str) -> list[Case]:
    """What is compared with a model of that size."""
    if size == "small":
        return list(CASES)
    return [
        Case(f"{size}, P {prompt}, R {reply}", Shape(32_000, prompt, reply, 64, size), 32, wanted)
        for prompt, reply, wanted in ON_GPU
    ]


def result_of(size: str) -> Path:
    """Where results are kept, without the ending."""
    return RESULTS / ("train_vs_trl" if size == "small" else f"train_vs_trl_{size}")


def environment(folder: Path) -> Path:
    """TRL's interpreter; its environment is made if it is not there."""
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        print(f"installing trl {TRL} into {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        pins = HERE.parent / "constraints.txt"
        packages = [f"trl=={TRL}", "torch", "transformers", "peft", "pillow", "safetensors"]
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-c", str(pins), *packages], check=True)
        (folder / ".ready").touch()
    return python


MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": "2147483647", "MALLOC_MMAP_THRESHOLD_": "1073741824", "THP_MEM_ALLOC_ENABLE": "1",
}  # fmt: skip
"""What every run of ours sets for itself on a processor (`train/_memory.py`), as TRL's user could set it by hand."""


def said(command: Sequence[str], **settings: str) -> dict[str, Any]:
    """Run one side; the last line it prints is JSON."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment = {**os.environ, **offline, **settings}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


class Bench:
    """Both sides on one world."""

    def __init__(self, folder: Path, case: Case, trl: Path) -> None:
        self.case, self._trl = case, trl
        self.world = folder / case.name.replace(",", "").replace(" ", "_")
        self._out = folder / f"{self.world.name}_out"
        write_world(self.world, case.shape)

    def ours(self, *options: str) -> dict[str, Any]:
        """This project's side."""
        with tempfile.TemporaryDirectory() as fresh:
            return said([sys.executable, str(SIDES / "ours.py"), str(self.world), fresh, *options])

    def theirs(self, *options: str, **settings: str) -> dict[str, Any]:
        """TRL's side."""
        return said([str(self._trl), str(SIDES / "theirs.py"), str(self.world), str(self._out), *options], **settings)

    def speed(self) -> dict[str, Any]:
        """Seconds per instruction of both, ours before and after TRL's: machines drift."""
        first = self.ours("--epochs", str(EPOCHS))
        together = self.theirs("--instructions", str(self.case.theirs), "--batch", "6")
        single = self.theirs("--instructions", str(self.case.theirs), "--batch", "1")
        kept = self.theirs("--instructions", str(self.case.theirs), "--batch", "1", **MEMORY)
        again = self.ours("--epochs", str(EPOCHS))
        mine = (first["seconds_per_instruction"] + again["seconds_per_instruction"]) / 2
        best = min(one["seconds_per_instruction"] for one in (together, single))
        return {
            "case": self.case.name, **asdict(self.case.shape), "wanted": self.case.least, "layout": first["layout"],
            "ours_seconds": mine, "ours_runs": [first, again], "trl_six_pairs_at_once": together,
            "trl_pair_by_pair": single, "trl_pair_by_pair_memory_kept": kept, "times_faster": best / mine,
            "times_faster_memory_kept": min(best, kept["seconds_per_instruction"]) / mine,
        }  # fmt: skip

    def memory(self, speed: dict[str, Any]) -> dict[str, Any]:
        """Peak memory above the loaded model, both sides."""
        loaded = self.ours("--load-only")["loaded_bytes"]
        mine = max(run["peak_bytes"] for run in speed["ours_runs"]) - loaded
        theirs = {
            name: speed[name]["peak_bytes"] - speed[name]["loaded_bytes"]
            for name in ("trl_six_pairs_at_once", "trl_pair_by_pair")
        }
        return {
            "ours_bytes": mine, "trl_bytes": theirs,
            "share_of_six_pairs_at_once": mine / theirs["trl_six_pairs_at_once"],
            "share_of_pair_by_pair": mine / theirs["trl_pair_by_pair"],
        }  # fmt: skip

    def exactness(self) -> dict[str, Any]:
        """Loss and gradient of all six pairs of one instruction with the same adapters, both sides."""
        import torch
        from safetensors.torch import load_file

        adapter = self.world / "adapter.safetensors"
        with tempfile.TemporaryDirectory() as fresh:
            mine = said([sys.executable, str(SIDES / "ours.py"), str(self.world), fresh, "--adapter", str(adapter)])
            found = load_file(Path(fresh) / "gradient.safetensors")
        other = self.theirs("--instructions", "1", "--batch", "6", "--adapter", str(adapter))
        truth = load_file(self._out / "gradient.safetensors")
        if found.keys() != truth.keys():
            raise SystemExit("the two sides train different adapters")
        ours, theirs = (torch.cat([one[name].flatten() for name in sorted(one)]) for one in (found, truth))
        return {
            "loss": mine["loss"], "trl_loss": other["loss"], "rows": mine["rows"], "trl_rows": other["rows"],
            "losses": mine["losses"], "trl_losses": other["losses"],
            "relative_gradient_error": float((ours - theirs).norm() / theirs.norm()),
        }  # fmt: skip

    def extremes(self, speed: dict[str, Any]) -> dict[str, Any]:
        """TRL given the best and the worst response only, one pair of six, beside all six of ours."""
        other = self.theirs("--instructions", "6", "--batch", "1", "--pairs", "extremes")
        seconds = other["seconds_per_instruction"]
        return {"trl_seconds": seconds, "wanted": 2.0, "times_faster": seconds / speed["ours_seconds"]}

    def savings(self) -> dict[str, Any]:
        """Each saving switched off in turn, in one process."""
        return said([sys.executable, str(SIDES / "savings.py"), str(self.world)])

    def kernels(self) -> dict[str, Any]:
        """How long each kernel takes for the attention of one layer, forward and backward."""
        shape, size = self.case.shape, SIZES[self.case.shape.size]
        sizes = {"prompt": shape.prompt, "reply": shape.reply, "heads": size.heads, "width": size.hidden // size.heads}
        options = [f"--{name}={value}" for name, value in sizes.items()]
        return said([sys.executable, str(SIDES / "attention.py"), *options])


def machine() -> dict[str, Any]:
    """What this ran on."""
    import torch
    import transformers

    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(), "python": platform.python_version(), "torch": torch.__version__,
        "transformers": transformers.__version__, "trl": TRL,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }  # fmt: skip


def page(result: dict[str, Any]) -> str:
    """The tables for people."""
    gpu = result["machine"].get("gpu", "")
    lines = [
        "# Training beside TRL",
        "",
        f"`{result['command']}`, {result['machine']['cores']} cores, torch {result['machine']['torch']}, "
        f"transformers {result['machine']['transformers']}, trl {TRL}{', ' if gpu else ''}{gpu}; raw numbers "
        "in the `.json` beside this.",
        "",
        "Seconds per instruction (four responses, six pairs):",
        "",
        "| case | ours | TRL, six pairs at once | TRL, pair by pair | times faster | wanted | memory kept | times |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in result["speed"]:
        wanted = f"≥ {one['wanted']:g}" if one["wanted"] else ""
        lines.append(
            f"| {one['case']} | {one['ours_seconds']:.2f} | "
            f"{one['trl_six_pairs_at_once']['seconds_per_instruction']:.1f} | "
            f"{one['trl_pair_by_pair']['seconds_per_instruction']:.1f} | **{one['times_faster']:.1f}** | {wanted} | "
            f"{one['trl_pair_by_pair_memory_kept']['seconds_per_instruction']:.1f} | "
            f"**{one['times_faster_memory_kept']:.1f}** |"
        )
    lines += [
        "",
        "Memory kept: pair by pair, with the allocator's settings that ours makes for itself on a processor and that "
        f"nobody makes for TRL (`{' '.join(f'{name}={value}' for name, value in MEMORY.items())}`).",
    ]
    memory, exact, extremes, savings = (result[name] for name in ("memory", "exactness", "extremes", "savings"))
    lines += [
        "",
        f"TRL with the best and the worst response only: {extremes['trl_seconds']:.2f} s for its one pair, "
        f"{extremes['times_faster']:.1f} times what our six take (wanted ≥ 2).",
        "",
        f"Peak memory above the loaded model: {memory['ours_bytes'] / 1e9:.2f} GB; "
        f"{memory['share_of_six_pairs_at_once']:.2f} of TRL with six pairs at once (wanted ≤ 0.33), "
        f"{memory['share_of_pair_by_pair']:.2f} of TRL pair by pair (wanted ≤ 1).",
        "",
        f"The same adapters and six pairs: loss {exact['loss']:.7f}, TRL {exact['trl_loss']:.7f}; "
        f"relative error of the gradient {exact['relative_gradient_error']:.1e}.",
        "",
        *attention(result.get("kernels")),
        "One step with each saving switched off, seconds and times slower:",
        "",
        "| | seconds | times |",
        "|---|---|---|",
        *(
            f"| {name} | {savings['seconds'][name]:.2f} | {times:.2f} |"
            for name, times in savings["times_slower"].items()
        ),
        "",
        f"The arithmetic of a step at the best rate of matrix products measured here "
        f"({savings['peak_rate'] / 1e9:.0f} GFLOP/s) takes {savings['bound_seconds']:.2f} s: "
        f"{savings['share_of_bound']:.0%} of the step (wanted ≥ 80 %; formula in docs/rooms/train.md). Its products "
        f"and its attention alone take {savings['kernels_seconds']:.2f} s: with all else free the share would be "
        f"{savings['share_of_bound_of_kernels_alone']:.0%}.",
        "",
    ]
    return "\n".join(lines)


def attention(kernels: dict[str, Any] | None) -> list[str]:
    """The table of kernels, where there is one."""
    if kernels is None:
        return []
    rows = [
        f"| {name} | {found if isinstance(found, str) else f'{found:.2f}'} |"
        for name, found in kernels["milliseconds"].items()
    ]
    return ["Attention of one layer, forward and backward, milliseconds:", "", "| kernel | |", "|---|---|", *rows, ""]


def judged(result: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """What was wanted: the number in words, and whether it holds."""
    memory, savings = result["memory"], result["savings"]
    found = {
        one["case"]: (f"{one['times_faster']:.1f} times faster, wanted {one['wanted']:g}",
                      one["times_faster"] >= one["wanted"])
        for one in result["speed"] if one["wanted"]
    }  # fmt: skip
    shares = (memory["share_of_six_pairs_at_once"], memory["share_of_pair_by_pair"])
    found["memory"] = (f"{shares[0]:.2f} and {shares[1]:.2f} of TRL's peak", shares[0] <= 1 / 3 and shares[1] <= 1)
    error = result["exactness"]["relative_gradient_error"]
    limit = 0.05 if result["machine"].get("gpu") else 1e-4  # in bf16 both sides round each product
    found["exactness"] = (f"relative gradient error {error:.1e}", error <= limit)
    times = result["extremes"]["times_faster"]
    found["extremes"] = (f"{times:.1f} times faster than TRL's one pair", times >= 2)
    found["bound"] = (f"{savings['share_of_bound']:.0%} of the arithmetic bound", savings["share_of_bound"] >= 0.8)
    return found


def check(word: str, size: str) -> None:
    """Say what the last run found, and end with 1 where it is not what was wanted."""
    path = result_of(size).with_suffix(".json")
    if not path.exists():
        sys.exit(f"{path.name} is not there: it has not been measured")
    found = judged(json.loads(path.read_text(encoding="utf-8")))
    chosen = {name: one for name, one in found.items() if word in name}
    for name, (words, _) in chosen.items():
        print(f"{name}: {words}")
    sys.exit(0 if chosen and all(good for _, good in chosen.values()) else 1)


def main() -> None:
    """Run everything, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--env", type=Path, default=HERE.parent / "build" / "trl", help="TRL's environment")
    parser.add_argument("--only", default="", help="cases with this word in their name; writes nothing")
    parser.add_argument("--check", metavar="WORD", help="what the last run found of this, and whether it was wanted")
    parser.add_argument(
        "--size", choices=tuple(SIZES), default="small", help="of the model; other than small: on a GPU"
    )
    given = parser.parse_args()
    if given.check is not None:
        check(given.check, given.size)
    trl = environment(given.env)
    with tempfile.TemporaryDirectory() as folder:
        first, *others = [Bench(Path(folder), case, trl) for case in cases(given.size) if given.only in case.name]
        speed = first.speed()
        command = " ".join(["python benchmarks/train_vs_trl.py", *sys.argv[1:]])
        result: dict[str, Any] = {
            "command": command, "machine": machine(), "speed": [speed],
            "memory": first.memory(speed), "exactness": first.exactness(), "extremes": first.extremes(speed),
            "savings": first.savings(), **({} if given.size == "small" else {"kernels": first.kernels()}),
        }  # fmt: skip
        kept = None if given.only else result_of(given.size)
        keep(result, kept)
        for bench in others:  # the long ones last, and what is known is written
            result["speed"].append(bench.speed())
            keep(result, kept)
    print(page(result))


def keep(result: dict[str, Any], path: Path | None) -> None:
    """Say how the last case ended, and write what is known, if there is somewhere to."""
    last = result["speed"][-1]
    print(f"{last['case']}: {last['times_faster']:.1f} times faster", flush=True)
    if path is not None:
        path.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
