"""Calls, tokens, GPU hours and dollars of a collection, from assumptions that you replace by your own.

    python benchmarks/capacity.py                                  the table of docs/scale.md
    python benchmarks/capacity.py --set judge_out=350 --set pool_in_rate=20000
    python benchmarks/capacity.py --head-ms 1.2                    with what benchmarks/ray_overhead.py measured

Everything is arithmetic: tokens per call × calls ÷ tokens a second of one GPU. The rates are no measurements of ours:
put in what `vllm bench serve` says of your model on your GPU. Tokens per call come from `vlfeedback plan --pilot 200`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Attributes are per call, tokens; rates are tokens a second of one GPU; prices are dollars."""

    k: float = 4  # responses per instruction
    orders: float = 1  # judgements per instruction
    picture: float = 1000  # tokens of a picture
    instruction: float = 60
    response: float = 150
    rubric: float = 900  # of the judge's prompt, the same for all: read from the prefix cache
    judge_out: float = 600
    pool_in_rate: float = 12000  # a model of 7 billion weights, one GPU of 80 GB
    pool_out_rate: float = 2500
    judge_in_rate: float = 1500  # a model of 72 billion weights on four GPUs, a quarter of what the four do
    judge_out_rate: float = 300
    gpu_hour: float = 2.5
    api_in: float = 2.5  # a judge behind an API instead, per million tokens
    api_out: float = 10.0


@dataclass(frozen=True, slots=True)
class Needs:
    """What a collection takes."""

    calls: float
    tokens_in: float
    tokens_out: float
    pool_hours: float
    judge_hours: float
    gpu_dollars: float
    api_dollars: float


def needs(instructions: int, given: Assumptions) -> Needs:
    """What so many instructions take.

    Args:
        instructions: ≥ 0.
        given: All that is assumed.
    Returns:
        GPU hours of pool and judge; dollars with both on GPUs, and with the pool on GPUs and the judge behind an API.
    """
    asked, judged = instructions * given.k, instructions * given.orders
    pool_in = given.picture + given.instruction
    judge_in = given.rubric + given.picture + given.instruction + given.k * given.response
    pool_seconds = pool_in / given.pool_in_rate + given.response / given.pool_out_rate
    judge_seconds = (judge_in - given.rubric) / given.judge_in_rate + given.judge_out / given.judge_out_rate
    pool_hours, judge_hours = asked * pool_seconds / 3600, judged * judge_seconds / 3600
    api = judged * (judge_in * given.api_in + given.judge_out * given.api_out) / 1e6
    return Needs(
        calls=asked + judged,
        tokens_in=asked * pool_in + judged * judge_in,
        tokens_out=asked * given.response + judged * given.judge_out,
        pool_hours=pool_hours,
        judge_hours=judge_hours,
        gpu_dollars=(pool_hours + judge_hours) * given.gpu_hour,
        api_dollars=pool_hours * given.gpu_hour + api,
    )


def table(given: Assumptions, head_ms: float | None = None) -> str:
    """The table of docs/scale.md, as Markdown."""
    sizes, gpus = (80_000, 1_000_000), (8, 16, 32, 64)
    found = [needs(size, given) for size in sizes]
    rows = [
        ("calls", [f"{one.calls:,.0f}" for one in found]),
        ("tokens in / out, millions", [f"{one.tokens_in / 1e6:,.0f} / {one.tokens_out / 1e6:,.0f}" for one in found]),
        ("GPU hours of the pool", [f"{one.pool_hours:,.0f}" for one in found]),
        ("GPU hours of the judge", [f"{one.judge_hours:,.0f}" for one in found]),
        ("dollars, all on GPUs", [f"{one.gpu_dollars:,.0f}" for one in found]),
        ("dollars, the judge behind an API", [f"{one.api_dollars:,.0f}" for one in found]),
    ]
    for count in gpus:
        hours = [(one.pool_hours + one.judge_hours) / count for one in found]
        pace = [f"{h:,.1f} h, {one.calls / h / 3600:,.0f} calls/s" for h, one in zip(hours, found, strict=True)]
        rows.append((f"on {count} GPUs", pace))
    if head_ms is not None:
        bound = [f"{one.calls * head_ms / 3.6e6:,.1f} h" for one in found]
        rows.append((f"at least, for the head at {head_ms:g} ms per call", bound))
    lines = ["| | 80,000 instructions | 1,000,000 instructions |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows)])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", dest="changes")
    parser.add_argument("--head-ms", type=float)
    asked = parser.parse_args()
    known = {field.name for field in fields(Assumptions)}
    changes: dict[str, float] = {}
    for change in asked.changes:
        name, _, number = change.partition("=")
        try:
            changes[name] = float(number)
        except ValueError:
            parser.error(f"--set {change}: write NAME=NUMBER")
        if name not in known or changes[name] <= 0:
            parser.error(f"--set {change}: numbers above 0 for one of {', '.join(sorted(known))}")
    print(table(replace(Assumptions(), **changes), asked.head_ms))


if __name__ == "__main__":
    main()
